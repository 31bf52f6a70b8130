"""Functions that build a call of each operation.

A call is a value: it can be run, summarized, planned and raced, by several clients too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, Unpack

from service.client.answers import Result
from service.client.arrays import Kind, Operand, Tensor, kind_of


class Options(TypedDict, total=False):
    """Fields of every operation; the service chooses those that are left out.

    `dtype` is that of nested lists and numbers, `deadline_ms` shortens the service's deadline.
    """

    strategy: str
    device: str
    dtype: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """An operation, its operands by name, and its fields.

    The result is of the kind of the first operand. `listed` operands have positions for names.
    """

    op: str
    operands: Mapping[str, Operand]
    fields: Mapping[str, Any]
    listed: bool = False
    kinds: tuple[Kind, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the kinds of the operands, or raise a TypeError."""
        object.__setattr__(self, "kinds", tuple(map(kind_of, self.operands.values())))

    @property
    def first(self) -> Operand:
        """The first operand, whose kind the result has."""
        return next(iter(self.operands.values()))


def matmul(a: Tensor, b: Operand, **options: Unpack[Options]) -> Call[Tensor]:
    """Product of two matrices, or of batches of them, by the rules of `torch.matmul`."""
    return Call("matmul", {"a": a, "b": b}, _given(options))


def einsum(
    equation: str,
    first: Tensor,
    *others: Operand,
    optimize: str | Sequence[Any] | None = None,
    **options: Unpack[Options],
) -> Call[Tensor]:
    """Sum of products by an `equation`, with the grammar of `torch.einsum`.

    `optimize` is `auto`, `greedy`, `optimal`, `none`, or a path: pairs of positions.
    """
    fields = _given(options, equation=equation, optimize=optimize)
    return Call("einsum", _numbered(first, *others), fields, listed=True)


def norm(
    x: Tensor,
    *,
    ord: float | str | None = None,  # its name in torch and numpy
    dim: int | Sequence[int] | None = None,
    keepdim: bool | None = None,
    kind: Literal["auto", "vector", "matrix"] | None = None,
    **options: Unpack[Options],
) -> Call[Tensor]:
    """Norm of vectors or matrices, by the rules of `torch.linalg.norm`; `ord` may be infinite."""
    if isinstance(ord, float) and math.isinf(ord):
        ord = "inf" if ord > 0 else "-inf"
    return Call("norm", {"x": x}, _given(options, ord=ord, dim=dim, keepdim=keepdim, kind=kind))


def broadcast(
    first: Tensor,
    *others: Operand,
    op: str | None = None,
    views: Sequence[str | None] | None = None,
    to: Sequence[int] | None = None,
    **options: Unpack[Options],
) -> Call[Tensor]:
    """Elementwise `op` (`add`, `div`, `lt`, ...) of operands that are aligned from the right.

    `views` indexes each operand first (`":,None"`); `to` expands the result.
    """
    fields = _given(options, op=op, views=views, to=to)
    return Call("broadcast", _numbered(first, *others), fields, listed=True)


def _numbered(*operands: Operand) -> dict[str, Operand]:
    """Return the operands by position."""
    return {str(position): operand for position, operand in enumerate(operands)}


def _given(options: Options, **fields: object) -> dict[str, object]:
    """Return the fields that are not None."""
    return {name: value for name, value in {**options, **fields}.items() if value is not None}
