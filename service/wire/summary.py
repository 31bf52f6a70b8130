"""What can be said of a tensor without sending it."""

import hashlib
import math
from typing import Final

import torch

from service.call import Tensor
from service.wire.tensors import to_bytes

CORNER: Final = 4


def extremes(tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """The least and the greatest finite element; None for complex numbers, or if there is none."""
    finite = tensor[torch.isfinite(tensor)]
    if tensor.is_complex() or not finite.numel():
        return None
    # bool has no order in torch.
    ordered = finite.to(torch.uint8) if tensor.dtype == torch.bool else finite
    return ordered.min().to(tensor.dtype), ordered.max().to(tensor.dtype)


def mean(tensor: Tensor) -> Tensor | None:
    """The mean of the finite elements, summed in float64; None if there is none."""
    finite = tensor[torch.isfinite(tensor)]
    if not finite.numel():
        return None
    finite = finite.to(torch.complex128 if tensor.is_complex() else torch.float64)
    scale = _scale(finite)
    return (finite / scale).mean() * scale


def frobenius(tensor: Tensor) -> Tensor:
    """The root of the sum of squares in float64; it is infinite only if the root itself is."""
    magnitudes = tensor.abs() if tensor.is_complex() else tensor.to(torch.float64)
    magnitudes = magnitudes.to(torch.float64)
    scale = _scale(magnitudes[torch.isfinite(magnitudes)])
    return (magnitudes / scale).square().sum().sqrt() * scale


def nonfinite(tensor: Tensor) -> dict[str, int]:
    """How many elements are NaN and infinities; of complex numbers, how many parts."""
    parts = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return {
        "nan": int(torch.isnan(parts).sum()),
        "posinf": int(torch.isposinf(parts).sum()),
        "neginf": int(torch.isneginf(parts).sum()),
    }


def corner(tensor: Tensor) -> Tensor:
    """At most 4 by 4 elements: the first of the last two axes, at index 0 of the others."""
    if not tensor.numel():
        return tensor.new_empty(0)
    last = tensor[(0,) * max(tensor.dim() - 2, 0)]
    return last[tuple(slice(CORNER) for _ in last.shape)]


def digest(tensor: Tensor) -> str:
    """SHA-256 of the little-endian bytes, row by row."""
    return hashlib.sha256(to_bytes(tensor)).hexdigest()


def _scale(finite: Tensor) -> float:
    """A power of two near the largest magnitude: dividing by it changes no digit of a sum."""
    if not finite.numel():
        return 1.0
    largest = float(
        torch.view_as_real(finite).abs().max() if finite.is_complex() else finite.abs().max()
    )
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
