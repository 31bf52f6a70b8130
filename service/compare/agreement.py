"""Agreement of results with their references."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from service.compare.reference import Basis, Reference
from service.core.call import Tensor
from service.core.dtypes import BOOL, INTEGERS

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Errors of the checked elements of all results, and how many are beyond rtol and atol.

    An error in ulp is in units in the last place: multiples of the distance between two numbers of
    the result's dtype at the reference.
    """

    max_abs_error: float
    max_rel_error: float
    disagreeing: int
    worst: tuple[int, ...] | None  # the largest error, among those that disagree if any do
    max_ulp_error: float = 0.0
    median_abs_error: float = 0.0
    median_rel_error: float = 0.0
    median_ulp_error: float = 0.0
    basis: Basis | None = None
    worst_result: str = ""  # the name of the result that `worst` is in, if results have names

    @property
    def agrees(self) -> bool:
        """True if no element disagrees."""
        return self.disagreeing == 0


class _Errors(NamedTuple):
    """Errors of the checked elements of a result, in a row, and which of them are too large."""

    absolute: Array
    relative: Array
    units: Array
    wrong: Array


def agreement(
    results: Sequence[Tensor], references: Sequence[Reference], *, rtol: float, atol: float
) -> Agreement:
    """Compare results with their references, element by element; NaN agrees with NaN.

    An element disagrees where |result - reference| > atol + rtol * |reference|. The figures are of
    the elements of all results together.
    """
    parts = [_errors(*pair, rtol, atol) for pair in zip(results, references, strict=True)]
    absolute, relative, units, wrong = map(np.concatenate, zip(*parts, strict=True))
    basis = replace(
        references[0].basis,
        checked=sum(each.basis.checked for each in references),
        elements=sum(each.basis.elements for each in references),
    )
    if absolute.size == 0:
        return Agreement(0.0, 0.0, 0, None, basis=basis)
    found = Agreement(
        max_abs_error=float(absolute.max()),
        max_rel_error=float(relative.max()),
        disagreeing=int(wrong.sum()),
        worst=None,
        max_ulp_error=float(units.max()),
        median_abs_error=float(np.median(absolute)),
        median_rel_error=float(np.median(relative)),
        median_ulp_error=float(np.median(units)),
        basis=basis,
    )
    if found.max_abs_error == 0:
        return found
    suspects = np.where(wrong, absolute, 0.0) if wrong.any() else absolute
    reference, worst = _place(references, int(suspects.argmax()))
    return replace(found, worst=worst, worst_result=reference.name)


def _errors(result: Tensor, reference: Reference, rtol: float, atol: float) -> _Errors:
    found, high = reference.pick(result), reference.high
    with np.errstate(all="ignore"):
        same = (found == high) & (reference.low == 0) | (np.isnan(found) & np.isnan(high))
        error = np.where(same, 0.0, _distance(found, high, reference.low))
        error = np.where(np.isnan(error), np.inf, error)
        size = np.abs(high * 1.0)
        relative, units = (
            np.where(same | (error == 0), 0.0, error / unit)
            for unit in (size, _ulp(size, reference.dtype))
        )
        relative = np.where(np.isnan(relative), np.inf, relative)
        units = np.where(np.isnan(units), np.inf, units)
        # An infinite reference has an infinite tolerance: only the same infinity agrees with it.
        wrong = ~same & ~(np.isfinite(error) & (error <= atol + rtol * size))
    return _Errors(*(np.reshape(x, -1) for x in (error, relative, units, wrong)))


def _place(references: Sequence[Reference], position: int) -> tuple[Reference, tuple[int, ...]]:
    """Return the result of a checked element, which is counted through all, and its index there."""
    ends = np.cumsum([each.high.size for each in references])
    number = int(np.searchsorted(ends, position, side="right"))
    reference = references[number]
    within = position - int(ends[number]) + reference.high.size
    index = np.unravel_index(within, reference.high.shape)
    return reference, tuple(int(axis[i]) for axis, i in zip(reference.grid, index, strict=True))


def _distance(x: Array, high: Array, low: Array) -> Array:
    """Return |x - (high + low)|; for integers the difference is exact before it is rounded."""
    if x.dtype.kind == high.dtype.kind == "i":
        a, b = x.astype(np.uint64), high.astype(np.uint64)
        return np.asarray(np.where(x > high, a - b, b - a), np.float64)
    if x.dtype.kind == "b":
        return np.asarray(x != high, np.float64)
    return np.asarray(np.abs((x - high) - low))


def _ulp(size: Array, dtype: torch.dtype) -> Array:
    """Return the distance of two numbers of `dtype` at a magnitude; 1 for integers and bool.

    That of complex numbers is the distance of two real ones.
    """
    if dtype in INTEGERS | BOOL:
        return np.ones_like(size)
    kind = torch.finfo(dtype.to_real() if dtype.is_complex else dtype)
    exponents = np.frexp(np.maximum(size, kind.smallest_normal))[1]
    return np.asarray(np.ldexp(kind.eps, exponents - 1))
