"""What can be said of a tensor without sending it."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Final

import torch

from service.codecs.tensor_bytes import to_bytes
from service.core.call import Tensor

CORNER: Final = 4
PART: Final = 2**20


def extremes(tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """The least and the greatest finite element; None for complex numbers, or if there is none."""
    if tensor.is_complex():
        return None
    # bool has no order in torch.
    ordered = torch.uint8 if tensor.dtype == torch.bool else tensor.dtype
    found = [torch.stack(part.to(ordered).aminmax()) for part in _finite(tensor)]
    if not found:
        return None
    both = torch.stack(found)
    return both.min().to(tensor.dtype), both.max().to(tensor.dtype)


def mean(tensor: Tensor) -> Tensor | None:
    """The mean of the finite elements, summed in float64; None if there is none."""
    scale = _scale(tensor)
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    sums = [((part.to(wide) / scale).sum(), part.numel()) for part in _finite(tensor)]
    if not sums:
        return None
    count = sum(number for _, number in sums)
    return torch.stack([total for total, _ in sums]).sum() / count * scale


def frobenius(tensor: Tensor) -> Tensor:
    """The root of the sum of squares in float64; it is infinite only if the root itself is."""
    scale = _scale(tensor)
    squares = []
    for part in _parts(tensor):
        real = part.abs() if part.is_complex() else part
        squares.append((real.double() / scale).square().sum())
    return torch.stack(squares).sum().sqrt() * scale


def nonfinite(tensor: Tensor) -> dict[str, int]:
    """How many elements are NaN and infinities; of complex numbers, how many parts."""
    counts = dict.fromkeys(("nan", "posinf", "neginf"), 0)
    for part in _parts(tensor):
        numbers = torch.view_as_real(part.resolve_conj()) if part.is_complex() else part
        counts["nan"] += int(torch.isnan(numbers).sum())
        counts["posinf"] += int(torch.isposinf(numbers).sum())
        counts["neginf"] += int(torch.isneginf(numbers).sum())
    return counts


def corner(tensor: Tensor) -> Tensor:
    """At most 4 by 4 elements: the first of the last two axes, at index 0 of the others."""
    if not tensor.numel():
        return tensor.new_empty(0)
    last = tensor[(0,) * max(tensor.dim() - 2, 0)]
    return last[tuple(slice(CORNER) for _ in last.shape)]


def digest(tensor: Tensor) -> str:
    """SHA-256 of the little-endian bytes, row by row."""
    return hashlib.sha256(to_bytes(tensor)).hexdigest()


def _parts(tensor: Tensor) -> Sequence[Tensor]:
    """The elements a few at a time, so that no copy is as large as a result in a file may be."""
    return torch.split(tensor.reshape(-1), PART)


def _finite(tensor: Tensor) -> Iterator[Tensor]:
    """The finite elements of each part that has some."""
    for part in _parts(tensor):
        finite = part[torch.isfinite(part)]
        if finite.numel():
            yield finite


def _scale(tensor: Tensor) -> float:
    """A power of two near the largest magnitude: dividing by it changes no digit of a sum."""
    largest = 0.0
    for part in _finite(tensor):
        real = torch.view_as_real(part.resolve_conj()) if part.is_complex() else part
        largest = max(largest, float(real.double().abs().max()))
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
