"""Operands of a command: shapes as they are typed, and random numbers of those shapes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from service.codecs import Reading
from service.codecs.json.nested import check_size
from service.codecs.request import Operand, ShapeOperand
from service.core.call import Shape, Tensor
from service.core.dtypes import BOOL, COMPLEX, INTEGERS, Dtype
from service.errors import InvalidFieldError, quote
from service.registry import Op

SIZE: Final = "n"
_SHAPE: Final = re.compile(r"(?:[0-9]{1,18}|n)(?:[x×](?:[0-9]{1,18}|n))*")
# Integers stay small, so that products of a few hundred of them fit most dtypes.
INTEGERS_BELOW: Final = 10


@dataclass(frozen=True, slots=True)
class RandomOperand:
    """Random numbers of a shape: from 0 to 1, integers from 0 to 9, or true and false."""

    pointer: str
    shape: Shape
    reading: Reading
    generator: torch.Generator
    dtype: Dtype | None = None

    def read(self, dtype: Dtype) -> tuple[Tensor, None]:
        """The tensor; LimitExceededError before one is made that is over a limit."""
        check_size(self.shape, self.pointer, self.reading)
        return random_tensor(self.shape, dtype.torch, self.generator), None


def random_tensor(shape: Shape, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Uniform numbers; of one sign, so that sums do not cancel and every error can be judged."""
    if dtype in BOOL:
        return torch.randint(2, shape, generator=generator).to(dtype)
    if dtype in INTEGERS:
        return torch.randint(INTEGERS_BELOW, shape, generator=generator).to(dtype)
    if dtype in COMPLEX:
        parts = torch.rand((*shape, 2), generator=generator, dtype=dtype.to_real())
        return torch.view_as_complex(parts)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.rand(shape, generator=generator, dtype=wide).to(dtype)


def parse_shapes(texts: Sequence[str], size: int | None = None) -> tuple[Shape, ...]:
    """Shapes such as 5x784, or () for a number; where there is a `size`, `n` stands for it."""
    return tuple(_parse_shape(text, size) for text in texts)


def _parse_shape(text: str, size: int | None) -> Shape:
    if text == "()":
        return ()
    found = _SHAPE.fullmatch(text)
    if found is None or (size is None and SIZE in text):
        raise InvalidFieldError(
            f"a shape is sizes joined by x, or () for a number; there was {quote(text)}",
            hint="such as 5x784" if found is None else "n stands for the size in a --sweep",
        )
    parts = text.replace("×", "x").replace(SIZE, str(size)).split("x")
    return tuple(map(int, parts))


def random_operands(
    op: Op[Any], shapes: Sequence[Shape], reading: Reading, seed: int
) -> Mapping[str, Operand]:
    """Operands by name; the same seed and shapes give the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: RandomOperand(f"/{name}", shape, reading, generator)
        for name, shape in _named(op, shapes)
    }


def shape_operands(op: Op[Any], shapes: Sequence[Shape]) -> Mapping[str, Operand]:
    """Operands of a plan, by name: shapes alone."""
    return {name: ShapeOperand(f"/{name}", shape, None) for name, shape in _named(op, shapes)}


def _named(op: Op[Any], shapes: Sequence[Shape]) -> Sequence[tuple[str, Shape]]:
    if op.operands is None:
        return [(f"operands/{number}", shape) for number, shape in enumerate(shapes)]
    if len(shapes) != len(op.operands):
        raise InvalidFieldError(
            f"{op.name} takes {len(op.operands)} operands, {' and '.join(op.operands)}; "
            f"--shapes has {len(shapes)}",
            hint="one shape for each operand, such as 5x784",
        )
    return list(zip(op.operands, shapes, strict=True))
