"""How far a result is from its float64 reference."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a result is from the float64 reference: an element disagrees by rtol and atol."""

    max_abs_error: float
    max_rel_error: float
    disagreeing: int
    worst: tuple[int, ...] | None

    @property
    def agrees(self) -> bool:
        """Whether no element disagrees."""
        return self.disagreeing == 0


def agreement(result: Array, reference: Array, *, rtol: float, atol: float) -> Agreement:
    """Compare a result with its reference, element by element; NaN agrees with NaN.

    An element disagrees where |result - reference| > atol + rtol * |reference|.
    """
    if reference.size == 0:
        return Agreement(0.0, 0.0, 0, None)
    with np.errstate(all="ignore"):
        same = (result == reference) | (np.isnan(result) & np.isnan(reference))
        error = np.where(same, 0.0, np.abs(result - reference))
        error = np.where(np.isnan(error), np.inf, error)
        size = np.abs(reference)
        relative = np.where(same, 0.0, error / size)
        wrong = ~same & ~(error <= atol + rtol * size)
    index = np.unravel_index(int(error.argmax()), error.shape)
    return Agreement(
        max_abs_error=float(error.max()),
        max_rel_error=float(relative.max()),
        disagreeing=int(wrong.sum()),
        worst=tuple(map(int, index)) if error.max() > 0 else None,
    )
