"""Arithmetic that requests ask for: the precision of float32 products, and the same bits again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import torch

from service.core.validators import boolean, choice

IEEE: Final = "ieee"
TF32: Final = "tf32"
BF16X3: Final = "bf16x3"
# Precisions of float32 products. ieee: factors have 24 bits. tf32: factors are rounded to 11 bits.
# bf16x3: each factor is a sum of two bfloat16 numbers, 16 bits in all, and the smallest of the four
# partial products is left out.
PRECISIONS: Final = (IEEE, TF32, BF16X3)
FIELDS: Final = ("precision", "deterministic")

# The precision that kernels of this service multiply in, which is an argument of theirs.
_precision: ContextVar[str] = ContextVar("precision", default=IEEE)
_parse_precision: Final = choice("precision", PRECISIONS)
_parse_deterministic: Final = boolean("deterministic")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Fields of a request about its arithmetic; None for one that it does not have."""

    precision: str | None = None
    deterministic: bool | None = None

    @property
    def is_reduced(self) -> bool:
        """True if float32 products are to be less exact than IEEE 754 has them."""
        return self.precision not in (None, IEEE)

    @property
    def stated(self) -> dict[str, object]:
        """The fields that the request has, which the answer repeats."""
        found = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def settings(self) -> list[str]:
        """The statements of torch that have it compute so. There is none for bf16x3."""
        found = []
        if self.precision == TF32:
            found.append(f'torch.backends.cuda.matmul.fp32_precision = "{TF32}"')
        if self.deterministic:
            found.append("torch.use_deterministic_algorithms(True)")
        return found


def precision_of(arithmetic: Arithmetic | None) -> str:
    """Return the precision of a call, which is IEEE where it asks for none."""
    return IEEE if arithmetic is None else arithmetic.precision or IEEE


def parse_arithmetic(given: Mapping[str, object]) -> Arithmetic | None:
    """Return what these fields ask of arithmetic; None if that is nothing."""
    if not ("precision" in given or "deterministic" in given):
        return None
    return Arithmetic(
        _parse_precision(given["precision"]) if "precision" in given else None,
        _parse_deterministic(given["deterministic"]) if "deterministic" in given else None,
    )


def kernel_precision() -> str:
    """Return the precision that kernels of this service multiply float32 in."""
    return _precision.get()


@contextmanager
def computing(arithmetic: Arithmetic | None, kind: str) -> Iterator[None]:
    """Compute as asked for on a `kind` of device.

    On a GPU that takes settings of torch, which are those of the whole process: only the process of
    the device computes there, one call at a time. Elsewhere there is nothing to set: float32
    products are exact, and no strategy has an algorithm that is not deterministic.
    """
    if arithmetic is None or kind != "cuda":
        yield
        return
    precision = precision_of(arithmetic)
    token = _precision.set(precision)
    torch.backends.cuda.matmul.fp32_precision = TF32 if precision == TF32 else IEEE
    torch.use_deterministic_algorithms(bool(arithmetic.deterministic))
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.backends.cuda.matmul.fp32_precision = IEEE
        _precision.reset(token)
