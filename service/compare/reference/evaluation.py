"""Evaluation of a reference: how, at which cost, and the function that computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# A number as float64, and what is missing in it; integers are missing nothing.
Pair = tuple[Array, Array]

# A reference takes about this long at most, for a sample of the result if need be; if already a few
# elements take longer, it may take the second time.
BUDGET_NS: Final = 60_000_000
LIMIT_NS: Final = 150_000_000
EXACT: Final = "exact arithmetic"
LONG_BITS: Final = np.finfo(np.longdouble).nmant + 1  # 64 on x86, 113 or 53 on others
LONG: Final = f"floats of {LONG_BITS} bits"
# Nanoseconds of an operation on one number of that type.
LONG_NS: Final = 5
LONG_POWER_NS: Final = 500


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A way to compute a reference, and its estimated time."""

    method: str
    cost_ns: float
    compute: Callable[[], Pair]


def exactly(cost_ns: float, compute: Callable[[], Array]) -> Evaluation:
    """Return the evaluation of values that are not rounded."""

    def pair() -> Pair:
        values = compute()
        return values, np.zeros_like(values)

    return Evaluation(EXACT, cost_ns, pair)


def in_long(cost_ns: float, compute: Callable[[], Array]) -> Evaluation:
    """Return the evaluation of values in numpy's longest floats."""
    return Evaluation(LONG, cost_ns, lambda: _pair(compute()))


def _pair(x: Array) -> Pair:
    """Return long values as float64 and the rest."""
    parts = np.ascontiguousarray(x).reshape(x.shape)
    if x.dtype.kind == "c":
        pairs = (_pair(parts.real), _pair(parts.imag))
        high, low = (re + 1j * im for re, im in zip(*pairs, strict=True))
        return high, low
    with np.errstate(all="ignore"):
        high = parts.astype(np.float64)
        low = np.where(np.isfinite(high), parts - high, 0.0).astype(np.float64)
    return high, low


def lengthen(x: Array) -> Array:
    """Return numbers in numpy's longest floats."""
    return x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)
