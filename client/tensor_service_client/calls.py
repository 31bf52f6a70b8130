"""Functions that build a call of each operation.

A call is a value: it can be run, summarized, planned and raced, by several clients too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    SupportsFloat,
    SupportsIndex,
    TypedDict,
    Unpack,
)

from tensor_service_client.answers import Result
from tensor_service_client.arrays import DeviceLike, DtypeLike, Kind, Operand, Tensor, kind_of
from tensor_service_client.operands import field_value, named, operand_of

Precision = Literal["ieee", "tf32", "bf16x3"]
INFINITE: Final = {"Infinity": "inf", "-Infinity": "-inf"}  # words of torch.linalg


class Options(TypedDict, total=False):
    """Fields of every operation; the service chooses those that are left out.

    `dtype` is that of nested lists and numbers, `deadline_ms` shortens the service's deadline.
    `precision` is that of float32 products. `deterministic` asks for the same bits each time.
    """

    strategy: str
    device: DeviceLike
    precision: Precision
    deterministic: bool
    dtype: DtypeLike
    deadline_ms: SupportsIndex


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """An operation, its operands by name, and its fields.

    The result is of the kind of the first operand. `listed` operands have positions for names. An
    upstream gradient is `beside` them.
    """

    op: str
    operands: Mapping[str, Operand]
    fields: Mapping[str, Any]
    listed: bool = False
    beside: Mapping[str, Operand] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Convert the operands and find their kinds, or raise an InvalidArgumentError."""
        found, beside = named(operand_of, self.operands), named(operand_of, self.beside)
        object.__setattr__(self, "operands", found)
        object.__setattr__(self, "beside", beside)
        object.__setattr__(self, "kinds", tuple(map(kind_of, [*found.values(), *beside.values()])))

    @property
    def first(self) -> Operand:
        """The first operand, whose kind the result has."""
        return next(iter(self.operands.values()))


def matmul(a: Tensor, b: Operand, **options: Unpack[Options]) -> Call[Tensor]:
    """Product of two matrices, or of batches of them, by the rules of `torch.matmul`."""
    return Call("matmul", {"a": a, "b": b}, given(options))


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
    fields = given(options, equation=equation, optimize=optimize)
    return Call("einsum", _numbered(first, *others), fields, listed=True)


def norm(
    x: Tensor,
    *,
    ord: SupportsFloat | str | None = None,  # its name in torch and numpy
    dim: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdim: bool | None = None,
    kind: Literal["auto", "vector", "matrix"] | None = None,
    **options: Unpack[Options],
) -> Call[Tensor]:
    """Norm of vectors or matrices, by the rules of `torch.linalg.norm`; `ord` may be infinite."""
    fields = given(options, ord=ord, dim=dim, keepdim=keepdim, kind=kind)
    if isinstance(order := fields.get("ord"), str):
        fields["ord"] = INFINITE.get(order, order)
    return Call("norm", {"x": x}, fields)


def broadcast(
    first: Tensor,
    *others: Operand,
    op: str | None = None,
    views: Sequence[str | None] | None = None,
    to: Sequence[SupportsIndex] | None = None,
    **options: Unpack[Options],
) -> Call[Tensor]:
    """Elementwise `op` (`add`, `div`, `lt`, ...) of operands that are aligned from the right.

    `views` indexes each operand first (`":,None"`); `to` expands the result.
    """
    fields = given(options, op=op, views=views, to=to)
    return Call("broadcast", _numbered(first, *others), fields, listed=True)


def _numbered(*operands: Operand) -> dict[str, Operand]:
    """Return the operands by position."""
    return {str(position): operand for position, operand in enumerate(operands)}


def given(options: Mapping[str, Any], **fields: object) -> dict[str, Any]:
    """Return the fields that are not None, as JSON has them."""
    chosen = {**options, **fields}.items()
    return named(field_value, {name: value for name, value in chosen if value is not None})
