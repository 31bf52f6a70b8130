"""Second computation of results whose intermediate values left the range of their dtype.

Squares, partial sums and products of a few operands overflow or underflow where the result itself
would not: in float32 the 2-norm of [1e20, 1e20] becomes infinite, that of [1e-30, 1e-30] becomes 0.
A check of the result finds this. It is then computed again in float64, and where that may not be
enough, on operands that are scaled by powers of two, which change no digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import frexp, inf, prod
from typing import Any, Final

import torch

from service.core.call import Spec, Tensor
from service.core.dtypes import WIDE, describe
from service.planning.plan import Plan
from service.registry import Inferred, Op, Recheck

# Products of so many float32 numbers are in the range of float64.
MAX_FACTORS: Final = 6
DIGITS: Final = 53  # of float64, in bits
# A sum that cancels to less than this share of its terms' magnitudes has no digit in float64 that
# can be relied on, either.
NOISE: Final = 2.0**-40
# Powers of two up to this one, and their reciprocals, are normal numbers of float64.
MAX_EXPONENT: Final = 1000
# Numbers of a result are computed exactly up to so many factors, which take about 30 ms.
MAX_EXACT: Final = 20_000
# Room for the sums of any number of terms.
HEADROOM: Final = 100


@dataclass(frozen=True, slots=True)
class Review:
    """A result after its second computation, the strategy that it is from, and warnings."""

    result: Tensor
    strategy: str
    warnings: tuple[str, ...] = ()


def recheck_of(op: Op[Any], inferred: Inferred) -> Recheck | None:
    """Return the check of a result; None if it is empty, or in a dtype that is exact."""
    sizes = (*inferred.shape, *(size for spec in inferred.specs for size in spec.shape))
    return op.recheck(inferred) if inferred.dtype in WIDE and 0 not in sizes else None


def unreviewed(plan: Plan, result: Tensor, reason: str) -> Review:
    """Return a suspect result as it is, with the reason why it is not computed again."""
    warning = (
        "numbers of the result are not finite or close to 0, perhaps because intermediate values "
        f"left the range of the dtype; it is not computed again to find out: {reason}"
    )
    return Review(result, plan.strategy.name, (warning,))


def is_suspect(recheck: Recheck, result: Tensor) -> bool:
    """Return whether a result has to be reviewed.

    A sum takes 11 us for 512 x 512 numbers, where `isfinite` takes 340.
    """
    if recheck.bounds is None:
        total = result.sum().item()
        # An infinity or a NaN less itself is NaN. Finite numbers may have an infinite sum.
        return total - total != 0 and not bool(result.isfinite().all())
    least, greatest = recheck.bounds
    if result.numel() == 1:
        return not least <= abs(result.item()) <= greatest
    low, high = result.abs().aminmax()
    return not (least <= low.item() and high.item() <= greatest)


def review(plan: Plan, operands: Sequence[Tensor], result: Tensor) -> Review:
    """Return a suspect result with the numbers mended that intermediate values spoiled.

    The result of a strategy that has been named stays, with a warning.
    """
    recheck, used = plan.recheck, plan.strategy.name
    assert recheck is not None  # noqa: S101  # it has found the result suspect
    unchanged = Review(result, used)
    suspect = _suspects(recheck, operands, result)
    count = int(suspect.sum())
    if not count:
        return unchanged
    is_exact = 0 < count * recheck.factors <= MAX_EXACT
    if is_exact:
        wide, is_held = _compute_exactly(recheck, operands, result, suspect)
        again, by = "exactly", used
    elif recheck.extent is None and not all(bool(x.isfinite().all()) for x in operands):
        return unchanged  # they explain the result
    else:
        wide, is_held = compute_again(recheck, plan.op, plan.inferred, operands)
        again, by = f"by {recheck.by!r} in float64", recheck.by
    better = wide.to(result.dtype)
    eps, name = torch.finfo(result.dtype).eps, describe(result.dtype).name
    # A strategy is not called wrong for its rounding.
    near = torch.isclose(
        result, better, rtol=8 * eps if plan.is_auto else eps**0.5, atol=0, equal_nan=True
    )
    lost = suspect & is_held & ~near
    warnings = []
    if lost.any():
        left = f"intermediate values of {used!r} left the range of {name}"
        warnings.append(
            f"{_share(lost)} computed again {again}: {left}"
            if plan.is_auto
            else f"{_share(lost)} wrong: {left}; auto computes again {again}"
        )
    warnings += _beyond(suspect & is_held & ~better.isfinite(), wide, operands[0].dtype, result)
    uncertain = suspect & ~is_held & _outside(recheck, result)
    if uncertain.any() and not is_exact:
        warnings.append(
            f"{_share(uncertain)} not certain: intermediate values of {used!r} may have left the "
            f"range of {name}, and float64 is not exact enough to tell"
        )
    if plan.is_auto and lost.any():
        return Review(torch.where(lost, better, result), by, tuple(warnings))
    return replace(unchanged, warnings=tuple(warnings))


def _suspects(recheck: Recheck, operands: Sequence[Tensor], result: Tensor) -> Tensor:
    """Return a mask of the numbers that intermediate values may have spoiled."""
    suspect = _outside(recheck, result)
    if recheck.is_chain:
        if may_leave_range(operands, result.dtype):
            return torch.ones_like(suspect)
        if result.isfinite().all():  # so each 0 comes from one
            return torch.zeros_like(suspect)
    if recheck.extent is not None:
        extent = recheck.extent(operands)
        suspect &= (extent > 0) & (extent < inf)
    return suspect


def _beyond(mask: Tensor, wide: Tensor, dtype: torch.dtype, result: Tensor) -> list[str]:
    """Return a warning about the numbers in a mask, which are beyond the dtype of the result."""
    if not mask.any():
        return []
    name, greatest = describe(result.dtype).name, torch.finfo(result.dtype).max
    wider = describe(WIDE.get(dtype, result.dtype)).name
    holds = f'; "dtype": "{wider}" holds more' if (mask & wide.isfinite()).any() else ""
    return [f"{_share(mask)} beyond the greatest {name}, {greatest:.6g}{holds}"]


def _compute_exactly(
    recheck: Recheck, operands: Sequence[Tensor], result: Tensor, suspect: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the result with exact numbers where it is suspect, and a mask of those."""
    assert recheck.exact is not None  # noqa: S101  # it has factors
    wide, is_held = result.to(WIDE[result.dtype], copy=True), torch.zeros_like(suspect)
    indices = [tuple(index) for index in suspect.nonzero().tolist()]
    for index, number in zip(indices, recheck.exact(operands, indices), strict=True):
        if number is not None:
            wide[index] = torch.tensor(number, dtype=wide.dtype)
            is_held[index] = True
    return wide, is_held


def compute_again(
    recheck: Recheck, op: Op[Any], inferred: Inferred, operands: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the result in float64 or complex128, and a mask of the numbers that can be relied on.

    These are finite, or beyond float64 although they come from finite numbers; and they are more
    than the errors of terms that cancel or underflow.
    """
    strategy = op.strategies[recheck.by]
    wide = [x.to(WIDE.get(x.dtype, x.dtype)) for x in operands]
    specs = tuple(Spec(tuple(x.shape), x.dtype) for x in wide)
    inferred = replace(inferred, specs=specs, dtype=WIDE[inferred.dtype])
    if recheck.scales_with == "all operands":
        result = strategy.run(inferred, wide)
        is_finite = result.isfinite()
        if is_finite.all():
            return result, is_finite
        reduced = strategy.run(inferred, [_times_power(x, -HEADROOM) for x in wide])
        is_held = is_finite | reduced.isfinite()
        return torch.where(is_finite, result, _times_power(reduced, HEADROOM)), is_held
    exponents = [0] * len(wide)
    is_whole = True
    if operands[0].dtype == wide[0].dtype or len(wide) > MAX_FACTORS:
        exponents = [frexp(_greatest(x))[1] for x in wide]
        scaled = [_times_power(x, -e) for x, e in zip(wide, exponents, strict=True)]
        is_whole = all(bool(((x == 0) == (y == 0)).all()) for x, y in zip(wide, scaled))
        wide = scaled
    result = strategy.run(inferred, wide)
    magnitude = strategy.run(inferred, [x.abs() for x in wide])
    # A sum of multiples of one number is exact, up to a limit; if that is 0, terms underflow.
    limit = 2.0**DIGITS * prod(map(_least_bit, wide))
    is_exact = (magnitude <= limit) & (limit > 0 and is_whole)
    terms = inferred.multiply_adds / inferred.elements
    least = (magnitude * NOISE).clamp(min=terms * torch.finfo(torch.float64).tiny)
    is_held = result.isfinite() & (is_exact | (result.abs() >= least))
    return _times_power(result, sum(exponents)), is_held


def _outside(recheck: Recheck, result: Tensor) -> Tensor:
    """Return a mask of the numbers that are not finite, or outside of the bounds."""
    if recheck.bounds is None:
        return ~result.isfinite()
    least, greatest = recheck.bounds
    sizes = result.abs()
    return ~((least <= sizes) & (sizes <= greatest))


def may_leave_range(operands: Sequence[Tensor], dtype: torch.dtype) -> bool:
    """Return whether a product of elements that are not 0, one of each operand, may do so."""
    least, most = 1.0, 1.0
    for x in operands:
        sizes = x.abs()
        least *= min(1.0, sizes.masked_fill(sizes == 0, inf).min().item())
        most *= max(1.0, sizes.nan_to_num(nan=inf, posinf=inf).max().item())
    limits = torch.finfo(dtype)
    return least < limits.tiny or most > limits.max


def _parts(x: Tensor) -> Tensor:
    """Return a view of complex numbers as real ones; other tensors as they are."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def _greatest(x: Tensor) -> float:
    """Return the greatest magnitude, of the parts where numbers are complex."""
    return _parts(x).abs().max().item()


def _least_bit(x: Tensor) -> float:
    """Return the power of two that all numbers of a float64 tensor are multiples of."""
    mantissas, exponents = _parts(x).frexp()
    digits = (mantissas * 2.0**DIGITS).long()
    bits = torch.ldexp((digits & -digits).double(), exponents - DIGITS)
    return bits.masked_fill(digits == 0, inf).min().item()


def _times_power(x: Tensor, exponent: int) -> Tensor:
    """Return x times a power of two, which may itself be beyond float64."""
    parts = _parts(x)  # torch multiplies by 0 too, where a factor is complex
    while exponent:
        step = max(-MAX_EXPONENT, min(MAX_EXPONENT, exponent))
        parts, exponent = parts * 2.0**step, exponent - step
    return torch.view_as_complex(parts) if x.is_complex() else parts


def _share(mask: Tensor) -> str:
    """Return the number of elements in a mask as a subject with its verb."""
    if mask.numel() == 1:
        return "the result is"
    count = int(mask.sum())
    return f"{count} of {mask.numel()} numbers {'is' if count == 1 else 'are'}"
