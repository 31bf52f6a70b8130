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
from service.planning.planner import Plan
from service.registry import Inferred, Op, Recheck

# Products of so many float32 numbers are in the range of float64.
MAX_FACTORS: Final = 6
DIGITS: Final = 53  # of float64, in bits
# A sum that cancels to less than this share of its terms' magnitudes has no digit in float64 that
# can be relied on, either.
NOISE: Final = 2.0**-40
# Powers of two up to this one, and their reciprocals, are normal numbers of float64.
MAX_EXPONENT: Final = 1000
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
    suspect = _outside(recheck, result)
    if recheck.extent is not None:
        extent = recheck.extent(operands)
        suspect &= (extent > 0) & (extent < inf)
    if not suspect.any() or _is_explained(recheck, operands, result):
        return unchanged
    wide, is_held = compute_again(recheck, plan.op, plan.inferred, operands)
    better = wide.to(result.dtype)
    limits, name = torch.finfo(result.dtype), describe(result.dtype).name
    # A strategy is not called wrong for its rounding.
    rtol = 8 * limits.eps if plan.is_auto else limits.eps**0.5
    near = torch.isclose(result, better, rtol=rtol, atol=0, equal_nan=True)
    lost = suspect & is_held & ~near
    beyond = suspect & is_held & ~better.isfinite()
    warnings = []
    if lost.any():
        again = f"by {recheck.by!r} in float64"
        left = f"intermediate values of {used!r} left the range of {name}"
        warnings.append(
            f"{_share(lost)} computed again {again}: {left}"
            if plan.is_auto
            else f"{_share(lost)} wrong: {left}; auto computes again {again}"
        )
    if beyond.any():
        wider = describe(WIDE.get(operands[0].dtype, result.dtype)).name
        holds = (beyond & wide.isfinite()).any()
        warnings.append(
            f"{_share(beyond)} beyond the greatest {name}, {limits.max:.6g}"
            + (f'; "dtype": "{wider}" holds more' if holds else "")
        )
    if plan.is_auto and lost.any():
        return Review(torch.where(lost, better, result), recheck.by, tuple(warnings))
    return replace(unchanged, warnings=tuple(warnings))


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
    if operands[0].dtype == wide[0].dtype or len(wide) > MAX_FACTORS:
        exponents = [frexp(_greatest(x))[1] for x in wide]
        wide = [_times_power(x, -e) for x, e in zip(wide, exponents, strict=True)]
    result = strategy.run(inferred, wide)
    magnitude = strategy.run(inferred, [x.abs() for x in wide])
    # A sum of multiples of one number is exact, up to a limit; if that is 0, terms underflow.
    limit = 2.0**DIGITS * prod(map(_least_bit, wide))
    is_exact = (magnitude <= limit) & (limit > 0)
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


def _is_explained(recheck: Recheck, operands: Sequence[Tensor], result: Tensor) -> bool:
    """Return whether the operands as a whole explain a suspect result.

    Operands that are not finite do. A result of 0 is right if no product of elements that are not 0
    underflows.
    """
    if recheck.extent is None and not all(bool(x.isfinite().all()) for x in operands):
        return True
    if recheck.scales_with != "each operand" or not bool(result.isfinite().all()):
        return False
    return not _may_underflow(operands, result.dtype)


def _may_underflow(operands: Sequence[Tensor], dtype: torch.dtype) -> bool:
    """Return whether a product of elements that are not 0, one of each operand, may underflow."""
    least = 1.0
    for x in operands:
        sizes = x.abs()
        least *= min(1.0, sizes.masked_fill(sizes == 0, inf).min().item())
    return least < torch.finfo(dtype).tiny


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
