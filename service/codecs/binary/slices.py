"""Tensors inside a buffer, by the names of an operation's operands.

A header that was decoded once is reused for all bodies that begin with the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch

from service.codecs.base import Buffer, DecodeContext
from service.codecs.json.nested import check_size
from service.codecs.query import read_query
from service.codecs.request import (
    Fields,
    Operand,
    WholeOperand,
    casts_booleans,
    check_fields,
    complete_call,
)
from service.codecs.tensor_bytes import from_buffer
from service.core.call import Call, Shape, Tensor
from service.core.dtypes import Dtype
from service.errors import MissingFieldError, Place, UnknownFieldError, escape, quote
from service.registry import Op

# Decoded headers up to this length are cached: clients send the same shapes again.
CACHED_HEADER_BYTES: Final = 1024


@dataclass(slots=True)
class TensorSlice:
    """Position of a tensor in a buffer: elements of `dtype` in row-major order from `offset` on.

    With `column_major` the first axis varies fastest.
    """

    dtype: Dtype
    shape: Shape
    offset: int
    column_major: bool = False

    def read(self, buffer: Buffer, pointer: str) -> Tensor:
        """Return the tensor over that buffer."""
        order: Literal["C", "F"] = "F" if self.column_major else "C"
        return from_buffer(buffer, self.dtype, self.shape, pointer, self.offset, order=order)


@dataclass(slots=True)
class SliceOperand(WholeOperand):
    """An operand over a part of a buffer, copied only if it is not aligned."""

    tensor_slice: TensorSlice
    buffer: Buffer
    pointer: str

    @property
    def dtype(self) -> Dtype:
        """The dtype stated in the body."""
        return self.tensor_slice.dtype

    def read(self, dtype: Dtype) -> tuple[Tensor, None]:
        """Return the tensor over the buffer; no digits are lost."""
        return self.tensor_slice.read(self.buffer, self.pointer), None


def pointer_of(name: str, op: Op[Any]) -> str:
    """Return the pointer that an operand would have in a JSON body."""
    is_field = op.operands is not None or name in op.optional
    return f"/{escape(name)}" if is_field else f"/operands/{escape(name)}"


def check_names(names: Sequence[str], op: Op[Any]) -> None:
    """Check that the operands of an operation that takes a list are named `0`, `1`, ...

    Names for other operations are checked with their fields.
    """
    if op.operands is not None:
        return
    names = [name for name in names if name not in op.optional]
    wanted = [str(index) for index in range(len(names))]
    if unknown := [name for name in names if not (name.isascii() and name.isdigit())]:
        raise UnknownFieldError(
            f"the operands of {op.name} are named 0, 1, ...; the body has {quote(unknown[0])}",
            places=[Place(pointer_of(name, op), "unknown operand") for name in unknown],
        )
    if missing := [name for name in wanted if name not in names]:
        raise MissingFieldError(
            f"the body has {len(names)} operands, and none is named {missing[0]}",
            hint="name them 0, 1, ... in order",
            places=[Place(pointer_of(name, op), "missing") for name in missing],
        )


@dataclass(slots=True)
class DecodedHeader:
    """A checked call without its data: fields, and the slice of each operand.

    `operands` has name, pointer and slice of each; `inline` ones stand in the query string and
    follow them. The header is `uniform` if all operands are of one dtype, so that nothing has to be
    promoted.
    """

    fields: Fields
    operands: tuple[tuple[str, str, TensorSlice], ...]
    uniform: bool
    inline: tuple[Operand, ...] = ()


def decode_header(
    slices: Mapping[str, TensorSlice], op: Op[Any], context: DecodeContext, query: Mapping[str, str]
) -> DecodedHeader:
    """Return the checked call on these tensors, with the fields of the query string."""
    check_names(list(slices), op)
    names = op.operands if op.operands is not None else [str(i) for i in range(len(slices))]
    # Operands of the operation come first, in its order; `check_fields` refuses the others.
    ordered = dict.fromkeys((*(name for name in names if name in slices), *slices))
    for name in ordered:
        check_size(slices[name].shape, pointer_of(name, op), context)
    given = read_query(query, op, context)
    inline = _inline_operands(given, op, context, len(slices))
    fields = check_fields(op, given, ordered, context)
    dtypes = {tensor_slice.dtype.torch for tensor_slice in slices.values()}
    return DecodedHeader(
        fields,
        tuple((name, pointer_of(name, op), slices[name]) for name in ordered),
        uniform=len(dtypes) == 1
        and not inline
        and not context.shapes
        and not (torch.bool in dtypes and casts_booleans(fields.dtype)),
        inline=inline,
    )


def _inline_operands(
    given: dict[str, object], op: Op[Any], context: DecodeContext, count: int
) -> tuple[Operand, ...]:
    """Take the operands that stand in other fields, which follow `count` of the body."""
    # It imports npy, which imports this module.
    from service.codecs.json.operands import open_operand  # noqa: PLC0415

    casts = given.get("dtype") is not None
    return tuple(
        open_operand(value, pointer, context, casts=casts)
        for pointer, value in op.take_inline(given, count)
    )


def call_from_header(
    header: DecodedHeader, buffers: Iterable[Buffer], op: Op[Any], context: DecodeContext
) -> Call:
    """Return the call of a header on the data in these buffers, one for each operand in order."""
    pairs = zip(header.operands, buffers, strict=False)  # a buffer may repeat without end
    if header.uniform:
        tensors = [
            tensor_slice.read(buffer, pointer) for (_, pointer, tensor_slice), buffer in pairs
        ]
        return header.fields.call(op, tuple(tensors))
    operands: list[Operand] = [
        SliceOperand(tensor_slice, buffer, pointer) for (_, pointer, tensor_slice), buffer in pairs
    ]
    return complete_call(op, header.fields, [*operands, *header.inline], context)


def call_from_slices(
    slices: Mapping[str, tuple[TensorSlice, Buffer]],
    op: Op[Any],
    context: DecodeContext,
    query: Mapping[str, str],
) -> Call:
    """Return the call on these tensors, each in its buffer, with the fields of the query string."""
    header = decode_header(
        {name: tensor_slice for name, (tensor_slice, _) in slices.items()}, op, context, query
    )
    buffers = [slices[name][1] for name, _, _ in header.operands]
    return call_from_header(header, buffers, op, context)
