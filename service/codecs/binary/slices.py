"""Tensors over the bytes of a body, by the names of an operation's operands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.codecs.base import Buffer, DecodeContext
from service.codecs.json.nested import check_size
from service.codecs.json_pointer import escape
from service.codecs.query import read_query
from service.codecs.request import Fields, check_fields, complete_call
from service.codecs.tensor_bytes import from_buffer
from service.core.call import Call, Shape, Tensor
from service.core.dtypes import Dtype
from service.errors import MissingFieldError, Place, UnknownFieldError, quote
from service.registry import Op


@dataclass(slots=True)
class TensorSlice:
    """Where a tensor lies in a buffer: elements of `dtype`, row by row, from `offset` on.

    With `column_major` they lie column by column: the first axis varies fastest.
    """

    dtype: Dtype
    shape: Shape
    offset: int
    column_major: bool = False

    def read(self, buffer: Buffer, pointer: str) -> Tensor:
        """The tensor in that buffer."""
        return from_buffer(
            buffer,
            self.dtype,
            self.shape,
            pointer,
            offset=self.offset,
            column_major=self.column_major,
        )


@dataclass(slots=True)
class SliceOperand:
    """An operand that waits to be looked at: it is not copied unless it is not aligned."""

    tensor_slice: TensorSlice
    buffer: Buffer
    pointer: str

    @property
    def dtype(self) -> Dtype:
        """The dtype that the body states."""
        return self.tensor_slice.dtype

    def read(self, dtype: Dtype) -> tuple[Tensor, None]:
        """The tensor over the bytes of the body; none of them is lost."""
        return self.tensor_slice.read(self.buffer, self.pointer), None


def pointer_of(name: str, op: Op[Any]) -> str:
    """Where an operand would stand in a JSON body."""
    return f"/{escape(name)}" if op.operands is not None else f"/operands/{escape(name)}"


def check_names(names: Sequence[str], op: Op[Any]) -> None:
    """Raise an error for names that a list of operands does not have: `0`, `1`, ... are right.

    Those of an operation with named operands are checked with its other fields.
    """
    if op.operands is not None:
        return
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
    """A checked call but for its data: fields, and where each operand lies in its buffer.

    It is `uniform` if all operands are of one dtype, so that nothing is left to promote.
    """

    fields: Fields
    operands: tuple[tuple[str, str, TensorSlice], ...]
    uniform: bool


def decode_header(
    slices: Mapping[str, TensorSlice], op: Op[Any], context: DecodeContext, query: Mapping[str, str]
) -> DecodedHeader:
    """The recipe of a call on these tensors, with the fields of the query string."""
    check_names(list(slices), op)
    names = op.operands if op.operands is not None else [str(i) for i in range(len(slices))]
    # The operation's own come first, in its order; it refuses the others.
    ordered = dict.fromkeys((*(name for name in names if name in slices), *slices))
    for name in ordered:
        check_size(slices[name].shape, pointer_of(name, op), context)
    fields = check_fields(op, read_query(query, op, context), ordered, context)
    dtypes = {tensor_slice.dtype.torch for tensor_slice in slices.values()}
    return DecodedHeader(
        fields,
        tuple((name, pointer_of(name, op), slices[name]) for name in ordered),
        uniform=len(dtypes) == 1 and not context.shapes,
    )


def call_from_header(
    header: DecodedHeader, buffers: Mapping[str, Buffer], op: Op[Any], context: DecodeContext
) -> Call:
    """The call of a recipe on the data of these buffers, one for each operand."""
    if header.uniform:
        tensors = [
            tensor_slice.read(buffers[name], pointer)
            for name, pointer, tensor_slice in header.operands
        ]
        return header.fields.call(op, tuple(tensors))
    operands = [
        SliceOperand(tensor_slice, buffers[name], pointer)
        for name, pointer, tensor_slice in header.operands
    ]
    return complete_call(op, header.fields, operands, context)


def call_from_slices(
    slices: Mapping[str, tuple[TensorSlice, Buffer]],
    op: Op[Any],
    context: DecodeContext,
    query: Mapping[str, str],
) -> Call:
    """The call on these tensors, each in its buffer, with the fields of the query string."""
    header = decode_header(
        {name: tensor_slice for name, (tensor_slice, _) in slices.items()}, op, context, query
    )
    return call_from_header(
        header, {name: buffer for name, (_, buffer) in slices.items()}, op, context
    )
