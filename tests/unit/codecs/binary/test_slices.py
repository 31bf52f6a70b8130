"""Tensors inside a buffer, by the names of operands."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from service.codecs import DecodeContext
from service.codecs.binary.slices import (
    SliceOperand,
    TensorSlice,
    call_from_header,
    call_from_slices,
    check_names,
    decode_header,
    pointer_of,
)
from service.core.call import Spec
from service.core.dtypes import DTYPES
from service.errors import LimitExceededError, MissingFieldError, UnknownFieldError
from service.operations import REGISTRY

CONTEXT = DecodeContext(max_elements=100, dtype=DTYPES["float32"], max_deadline_ms=1000)
MATMUL, EINSUM = REGISTRY["matmul"], REGISTRY["einsum"]
ARRAY = np.arange(4, dtype=np.float32)
BUFFER = bytearray(4) + bytearray(ARRAY.tobytes())
VECTOR = TensorSlice(DTYPES["float32"], (4,), 4)
BYTES = TensorSlice(DTYPES["uint8"], (4,), 0)


def test_an_operand_is_a_part_of_the_buffer() -> None:
    """The tensor uses the memory of the buffer."""
    operand = SliceOperand(VECTOR, BUFFER, "/a")
    assert operand.dtype == DTYPES["float32"]
    tensor, lost = operand.read(DTYPES["float64"])
    assert (tensor.dtype, tensor.tolist(), lost) == (torch.float32, [0, 1, 2, 3], None)
    matrix = TensorSlice(DTYPES["float32"], (2, 2), 4, column_major=True)
    assert matrix.read(BUFFER, "/a").tolist() == [[0, 2], [1, 3]]


def test_pointers_are_those_of_a_json_body() -> None:
    """Listed operands are in the field `operands`."""
    assert pointer_of("a/b", MATMUL) == "/a~1b"
    assert pointer_of("0", EINSUM) == "/operands/0"


@pytest.mark.parametrize(
    ("names", "error", "pointers"),
    [
        (["0", "x"], UnknownFieldError, ["/operands/x"]),
        (["0", "\u0661"], UnknownFieldError, ["/operands/\u0661"]),
        (["0", "2"], MissingFieldError, ["/operands/1"]),
        (["0", "01"], MissingFieldError, ["/operands/1"]),
    ],
)
def test_names_of_a_list_are_numbers(
    names: list[str], error: type[Exception], pointers: list[str]
) -> None:
    """From 0 on, without a gap, in any order."""
    check_names(["1", "0"], EINSUM)
    check_names(names, MATMUL)
    with pytest.raises(error) as caught:
        check_names(names, EINSUM)
    assert [place.pointer for place in getattr(caught.value, "places", [])] == pointers


def test_a_header_is_reused_for_other_buffers() -> None:
    """Operands are in the order of the operation."""
    header = decode_header({"b": VECTOR, "a": VECTOR}, MATMUL, CONTEXT, {"strategy": "loops"})
    assert [name for name, _, _ in header.operands] == ["a", "b"]
    assert header.uniform
    for buffer in (BUFFER, bytearray(20)):
        call = call_from_header(header, [buffer, buffer], MATMUL, CONTEXT)
        assert call.strategy == "loops"
        assert [x.sum() for x in call.operands] == [6 if buffer is BUFFER else 0] * 2


def test_operands_of_two_dtypes_are_promoted() -> None:
    """The header is not uniform then."""
    slices = {"a": VECTOR, "b": BYTES}
    assert not decode_header(slices, MATMUL, CONTEXT, {}).uniform
    call = call_from_slices(
        {name: (each, BUFFER) for name, each in slices.items()}, MATMUL, CONTEXT, {}
    )
    assert [x.dtype for x in call.operands] == [torch.float32] * 2


def test_a_plan_has_specs() -> None:
    """Shapes and dtypes of the operands."""
    plan = replace(CONTEXT, shapes=True)
    call = call_from_slices({"a": (VECTOR, BUFFER), "b": (BYTES, BUFFER)}, MATMUL, plan, {})
    assert call.operands == ()
    assert call.operand_specs == (Spec((4,), torch.float32),) * 2


@pytest.mark.parametrize(
    ("slices", "error"),
    [
        ({"a": VECTOR}, MissingFieldError),
        ({"a": VECTOR, "b": VECTOR, "c": VECTOR}, UnknownFieldError),
        ({"a": VECTOR, "b": TensorSlice(DTYPES["int8"], (101,), 0)}, LimitExceededError),
    ],
)
def test_wrong_operands_are_refused_before_they_are_read(
    slices: dict[str, Any], error: type[Exception]
) -> None:
    """Names and sizes are checked by the header alone."""
    with pytest.raises(error):
        decode_header(slices, MATMUL, CONTEXT, {})
