"""JSON bodies of products of two square matrices, sized to reach each executor."""

import json
import re
from typing import Any, Final

import numpy as np

# A JSON body from here on is read by a thread, or by a worker process if it is not plain.
PADDING: Final = b" " * 1_100_000
SIZE: Final = 24


def square(size: int = SIZE, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a square of numbers that float32 represents exactly."""
    return np.random.default_rng(seed).integers(-9, 9, (size, size)).astype(np.float64)


def product(size: int = SIZE, **fields: object) -> bytes:
    """Return the body of a product of two squares."""
    return json.dumps(
        {"a": square(size).tolist(), "b": square(size, 1).tolist(), **fields}
    ).encode()


def slow_text(body: bytes) -> bytes:
    """Return a long body with the same fields, of which a worker process reads the text.

    Its first key begins with an escape, which compiled code leaves to Python.
    """
    return re.sub(rb'{"(.)', lambda found: b'{"\\u%04x' % found[1][0], body, count=1) + PADDING
