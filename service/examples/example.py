"""The Example type, and operands that several examples use."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np


@dataclass(frozen=True, slots=True)
class Example:
    """A request body, and the expected parts of its response or problem document."""

    op: str
    name: str
    summary: str
    body: Mapping[str, Any]
    expected: Mapping[str, Any]


C: Final = [10, 20, 30]
TENS: Final = [[10, 10, 10], [20, 20, 20], [30, 30, 30]]
DIGITS: Final = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def base64(array: np.ndarray[Any, Any]) -> dict[str, object]:
    """Return the array as an operand in base64."""
    text = b64encode(array.tobytes()).decode()
    return {"shape": list(array.shape), "dtype": array.dtype.name, "b64": text}


def lesson_operands() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return five images of 784 pixels and the weights of ten classes: (5, 784), (784, 10)."""
    # No random numbers: numpy would load its generators for them alone, 2.5 MB.
    images = np.arange(5 * 784) * 37 % 256 / 255
    weights = np.arange(784 * 10) * 31 % 19 - 9
    return images.astype(np.float32).reshape(5, 784), weights.astype(np.int8).reshape(784, 10)
