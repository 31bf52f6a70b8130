"""Agreement of a result with its float64 reference."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Errors of a result against its float64 reference, and the elements beyond rtol and atol."""

    max_abs_error: float
    max_rel_error: float
    disagreeing: int
    worst: tuple[int, ...] | None  # the largest error, among those that disagree if any do

    @property
    def agrees(self) -> bool:
        """True if no element disagrees."""
        return self.disagreeing == 0


def agreement(result: Array, reference: Array, *, rtol: float, atol: float) -> Agreement:
    """Compare a result with its reference, element by element; NaN agrees with NaN.

    An element disagrees where |result - reference| > atol + rtol * |reference|.
    """
    if reference.size == 0:
        return Agreement(0.0, 0.0, 0, None)
    with np.errstate(all="ignore"):
        same = (result == reference) | (np.isnan(result) & np.isnan(reference))
        error = np.where(same, 0.0, _distance(result, reference))
        error = np.where(np.isnan(error), np.inf, error)
        size = np.abs(reference * 1.0)
        relative = np.where(same, 0.0, error / size)
        relative = np.where(np.isnan(relative), np.inf, relative)
        # An infinite reference has an infinite tolerance: only the same infinity agrees with it.
        wrong = ~same & ~(np.isfinite(error) & (error <= atol + rtol * size))
    suspects = np.where(wrong, error, 0.0) if wrong.any() else error
    index = np.unravel_index(int(suspects.argmax()), error.shape)
    return Agreement(
        max_abs_error=float(error.max()),
        max_rel_error=float(relative.max()),
        disagreeing=int(wrong.sum()),
        worst=tuple(map(int, index)) if error.max() > 0 else None,
    )


def _distance(x: Array, y: Array) -> Array:
    """Return |x - y| in float64; for integers the difference is exact before it is rounded."""
    if x.dtype.kind == y.dtype.kind == "i":
        a, b = x.astype(np.uint64), y.astype(np.uint64)
        return np.where(x > y, a - b, b - a).astype(np.float64)
    return np.asarray(np.abs(x - y))
