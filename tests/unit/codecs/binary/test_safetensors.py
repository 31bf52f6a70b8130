"""safetensors: both directions against the format's own package, and malformed headers."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from service.codecs import DecodeContext
from service.codecs.binary.safetensors import SafetensorsCodec, header_text, read_header
from service.codecs.binary.slices import TensorSlice
from service.core.dtypes import DTYPES, parse_dtype
from service.errors import (
    DuplicateKeyError,
    LimitExceededError,
    MalformedBodyError,
    MissingFieldError,
    ServiceError,
    UnknownDtypeError,
    UnknownFieldError,
)
from service.operations import REGISTRY
from tests.rigs.request_bodies import (
    IN_SAFETENSORS,
    bits_of,
    entry,
    safetensors,
    safetensors_of,
    tensor_of,
)
from tests.unit.codecs.encoding import encode

CODEC = SafetensorsCodec()
CONTEXT = DecodeContext(max_elements=2**24, dtype=parse_dtype("float32"), max_deadline_ms=1000)
ONE = {"a": entry("F32", [1], 0, 4)}
BYTE = b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'


def operands(body: bytes, op: str = "broadcast", **query: str) -> tuple[torch.Tensor, ...]:
    """Return the operands of a call on that body."""
    return CODEC.decode(bytearray(body), REGISTRY[op], CONTEXT, query).operands


def read_slices(body: bytes) -> Mapping[str, TensorSlice]:
    """Return the tensors of that body by name."""
    return read_header(header_text(body), len(body))


@pytest.mark.parametrize("name", IN_SAFETENSORS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (1, 2, 3, 4)], ids=str)
def test_what_the_package_writes_is_read_bit_for_bit(name: str, shape: tuple[int, ...]) -> None:
    """Any dtype and rank."""
    tensor = tensor_of(name, shape)
    (found,) = operands(safetensors_of({"x": tensor}), "norm")
    assert (found.dtype, tuple(found.shape)) == (tensor.dtype, shape)
    assert bits_of(found) == bits_of(tensor)


@pytest.mark.parametrize("name", IN_SAFETENSORS)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
def test_what_is_written_the_package_reads(name: str, shape: tuple[int, ...]) -> None:
    """The tensor is aligned to 8 bytes; the metadata hold the envelope."""
    tensor = tensor_of(name, shape)
    answer = encode(CODEC, tensor)
    body = b"".join(answer.chunks)
    found = load(body)["result"]
    assert (found.dtype, tuple(found.shape)) == (tensor.dtype, shape)
    assert bits_of(found) == bits_of(tensor)
    length = int.from_bytes(body[:8], "little")
    assert length % 8 == 0
    metadata = json.loads(body[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["envelope"])["request_id"] == "id"
    (again,) = operands(body.replace(b'"result"', b'"x"     '), "norm")
    assert bits_of(again) == bits_of(tensor)


def test_operands_are_found_by_their_names() -> None:
    """Operands are in the order of the operation, not of the file."""
    a, b = torch.ones(2, 3), torch.zeros(3)
    found = operands(safetensors_of({"b": b, "a": a}), "matmul")
    assert [tuple(x.shape) for x in found] == [(2, 3), (3,)]
    numbered = {str(index): torch.full((1,), float(index)) for index in (10, *range(10))}
    listed = operands(safetensors_of(numbered), "broadcast")
    assert [x.item() for x in listed] == list(range(11))


def test_operands_are_promoted() -> None:
    """Promotion follows the rules for JSON, with a warning for a whole number that changes."""
    tensors = {"0": torch.tensor([2**24 + 1]), "1": torch.ones(1)}
    call = CODEC.decode(bytearray(safetensors_of(tensors)), REGISTRY["broadcast"], CONTEXT)
    assert {x.dtype for x in call.operands} == {torch.float32}
    assert "operand 0" in call.warnings[0]


def test_aligned_tensors_are_not_copied() -> None:
    """They use the memory of the body; data at an odd address are copied."""
    body = bytearray(safetensors_of({"x": torch.zeros(4, dtype=torch.float64)}))
    (x,) = CODEC.decode(body, REGISTRY["norm"], CONTEXT).operands
    body[-8:] = np.array([7.0]).tobytes()
    assert x[3] == 7
    header = b'{"x":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}  '
    assert (8 + len(header)) % 8
    (y,) = operands(safetensors(header, np.array([1.0, 2.0]).tobytes()), "norm")
    assert y.data_ptr() % 8 == 0
    assert (y @ y).item() == 5


def test_a_plan_reads_shapes() -> None:
    """A plan takes the shapes from the header."""
    context = DecodeContext(
        max_elements=4, dtype=parse_dtype("float32"), max_deadline_ms=1000, shapes=True
    )
    body = bytearray(safetensors_of({"x": torch.zeros(2, 2, dtype=torch.float64)}))
    (spec,) = CODEC.decode(body, REGISTRY["norm"], context).specs
    assert (spec.shape, spec.dtype) == ((2, 2), torch.float64)


@pytest.mark.parametrize(
    ("op", "tensors", "kind"),
    [
        ("matmul", {"a": torch.ones(1)}, MissingFieldError),
        ("matmul", {}, MissingFieldError),
        ("norm", {"x": torch.ones(1), "y": torch.ones(1)}, UnknownFieldError),
        ("broadcast", {}, MissingFieldError),
        ("broadcast", {"a": torch.ones(1)}, UnknownFieldError),
        ("broadcast", {"0": torch.ones(1), "2": torch.ones(1)}, MissingFieldError),
        ("broadcast", {"0": torch.ones(1), "01": torch.ones(1)}, MissingFieldError),
        ("broadcast", {"0": torch.ones(1), "\u0661": torch.ones(1)}, UnknownFieldError),
        ("broadcast", {str(i): torch.ones(1) for i in range(65)}, LimitExceededError),
        ("norm", {"x": torch.ones((1,) * 17)}, LimitExceededError),
    ],
)
def test_the_names_are_those_of_the_operands(
    op: str, tensors: dict[str, torch.Tensor], kind: type[ServiceError]
) -> None:
    """Every operand and no other."""
    with pytest.raises(kind):
        operands(safetensors_of(tensors), op)


def test_sizes_over_the_limits_are_refused() -> None:
    """Limits are checked before a tensor is created."""
    context = DecodeContext(max_elements=3, dtype=parse_dtype("float32"), max_deadline_ms=1000)
    body = bytearray(safetensors_of({"x": torch.ones(4)}))
    with pytest.raises(LimitExceededError):
        CODEC.decode(body, REGISTRY["norm"], context)
    huge = safetensors({"x": entry("F32", [0, 2**31, 2**31], 0, 0)})
    with pytest.raises(LimitExceededError, match=r"2\^58"):
        operands(huge, "norm")
    planning = DecodeContext(
        max_elements=2**99, dtype=parse_dtype("float32"), max_deadline_ms=1, shapes=True
    )
    with pytest.raises(LimitExceededError, match=r"2\^58"):
        CODEC.decode(bytearray(huge), REGISTRY["norm"], planning)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b'{"a":%b,"a":%b}' % (BYTE, BYTE), "a"),
        (b'{"a":%b,"\\u0061":%b}' % (BYTE, BYTE), "a"),
        (b'{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', "dtype"),
        (b'{"__metadata__":{"x":"1","x":"2"},"a":%b}' % BYTE, "x"),
    ],
)
def test_a_duplicate_name_is_refused(header: bytes, key: str) -> None:
    """Written plainly or with escapes, at any depth."""
    with pytest.raises(DuplicateKeyError, match=key):
        read_slices(safetensors(header, b"\0"))


def test_names_with_colons_and_escapes_are_no_duplicates() -> None:
    """Such names are read like others."""
    name = 'a:b"\\'
    header = {"__metadata__": {"k:": "v:\n"}, name: entry("U8", [1], 0, 1)}
    assert list(read_slices(safetensors(header, b"\0"))) == [name]
    plain = {"__metadata__": {"k:": "v:"}, "a:b": entry("U8", [1], 0, 1)}
    assert list(read_slices(safetensors(plain, b"\0"))) == ["a:b"]


@pytest.mark.parametrize("code", ["U16", "U32", "U64", "F8_E4M3", "f32", "", None, 32, [], "C128"])
def test_other_dtypes_are_refused(code: Any) -> None:
    """The error lists the dtypes that are read, and the one that holds unsigned integers."""
    with pytest.raises(UnknownDtypeError, match="BF16") as caught:
        read_slices(safetensors({"a": entry(code, [1], 0, 4)}, b"\0" * 4))
    holding = {"U16": "int32", "U32": "int64", "U64": "int64"}.get(str(code))
    assert (caught.value.hint is None) == (holding is None)
    assert (caught.value.hint or "").startswith(f"{holding} holds" if holding else "")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "0 bytes"),
        (b"\0" * 7, "7 bytes"),
        (b"\0" * 8, "not JSON"),
        (safetensors(ONE, length=2**63), "at most 65536"),
        (safetensors(b" " * 70000), "70000"),
        (safetensors(ONE, length=1000), "within a header"),
        (safetensors(b"{"), "not JSON"),
        (safetensors(b"[]"), "object"),
        (safetensors(b' {"a":1}'), "object"),
        (safetensors(b'"a"'), "object"),
        (safetensors(b"[" * 2000), "not JSON"),
        (safetensors(b'{"a":NaN}'), "not JSON"),
        (safetensors(b'{"a":"\xff"}'), "not JSON"),
        (safetensors({"__metadata__": 1}), "strings"),
        (safetensors({"__metadata__": {"a": 1}}), "strings"),
        (safetensors({"a": 1}), "no object of"),
        (safetensors({"a": {}}), "no object of"),
        (safetensors({"a": {**ONE["a"], "more": 1}}, b"\0" * 4), "no object of"),
        (safetensors({"a": entry("F32", 1, 0, 4)}, b"\0" * 4), "shape"),
        (safetensors({"a": entry("F32", [-1], 0, 4)}, b"\0" * 4), "shape"),
        (safetensors({"a": entry("F32", [1.0], 0, 4)}, b"\0" * 4), "shape"),
        (
            safetensors({"a": entry("F32", [1], 0, 4) | {"data_offsets": [0, 4.0]}}, b"\0" * 4),
            "data_offsets",
        ),
        (safetensors({"a": entry("F32", [True], 0, 4)}, b"\0" * 4), "shape"),
        (safetensors({"a": entry("F32", [1] * 65, 0, 4)}, b"\0" * 4), "shape"),
        (safetensors({"a": {**ONE["a"], "data_offsets": [0]}}, b"\0" * 4), "data_offsets"),
        (safetensors({"a": {**ONE["a"], "data_offsets": [0, 4, 8]}}, b"\0" * 4), "data_offsets"),
        (safetensors({"a": {**ONE["a"], "data_offsets": "04"}}, b"\0" * 4), "data_offsets"),
        (safetensors({"a": entry("F32", [1], 4, 0)}, b"\0" * 4), "data_offsets"),
        (safetensors({"a": entry("F32", [1], -4, 0)}, b"\0" * 4), "data_offsets"),
        (safetensors({"a": entry("F32", [2], 0, 4)}, b"\0" * 4), "takes 8 bytes"),
        (safetensors({"a": entry("F32", [2**62, 2**62], 0, 4)}, b"\0" * 4), "takes"),
        (safetensors(ONE), "end at"),
        (safetensors(ONE, b"\0" * 3), "end at"),
        (safetensors(ONE, b"\0" * 5), "end at"),
        (safetensors({}, b"\0"), "end at"),
        (safetensors({"a": entry("F32", [1], 4, 8)}, b"\0" * 8), "begins at 4"),
        (safetensors({**ONE, "b": entry("F32", [1], 0, 4)}, b"\0" * 4), "begins at 0"),
        (safetensors({**ONE, "b": entry("F32", [1], 2, 6)}, b"\0" * 6), "begins at 2"),
        (safetensors({**ONE, "b": entry("F32", [1], 8, 12)}, b"\0" * 12), "begins at 8"),
    ],
)
def test_a_malformed_file_is_refused_with_the_reason(body: bytes, why: str) -> None:
    """Lengths have to add up, and offsets have to follow one another."""
    with pytest.raises(MalformedBodyError) as caught:
        read_slices(body)
    assert why in caught.value.detail


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"]])
def test_offsets_may_be_in_any_order_and_empty_tensors_anywhere(names: list[str]) -> None:
    """The package allows both."""
    first, second = names
    header = {
        first: entry("U8", [2], 1, 3),
        second: entry("U8", [1], 0, 1),
        "empty": entry("F64", [0], 1, 1),
    }
    slices = read_slices(safetensors(header, b"\1\2\3"))
    assert slices[first].offset == slices[second].offset + 1


@pytest.mark.parametrize("depth", [4, 500, 1000])
@pytest.mark.parametrize("key", ["x", r"\u0078"])
def test_a_header_that_is_nested_too_deep_is_refused(depth: int, key: str) -> None:
    """Any depth, with and without escapes in keys."""
    shapes = "[" * depth + "]" * depth
    objects = f'{{"{key}":' * depth + "1" + "}" * depth
    for text in (f'{{"{key}":{{"dtype":"F32","data_offsets":[0,0],"shape":{shapes}}}}}', objects):
        with pytest.raises(MalformedBodyError, match="nested deeper"):
            read_slices(safetensors(text.encode()))


@given(st.binary(max_size=300), st.integers(0, 299))
def test_random_bytes_are_refused_or_read(noise: bytes, position: int) -> None:
    """Errors are those of the service, whatever the bytes."""
    good = safetensors_of({"0": torch.ones(2, 3)})
    for body in (noise, safetensors(noise), good[:position] + noise):
        with suppress(ServiceError):
            operands(body)


@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(IN_SAFETENSORS), st.lists(st.integers(0, 3), max_size=3)),
        max_size=5,
    )
)
def test_any_file_of_the_package_is_read(drawn: dict[str, tuple[str, list[int]]]) -> None:
    """Names and bytes of all tensors are kept."""
    tensors = {
        name: tensor_of(dtype, tuple(shape), index)
        for index, (name, (dtype, shape)) in enumerate(drawn.items())
    }
    body = safetensors_of(tensors)
    slices = read_slices(body)
    assert set(slices) == set(tensors)
    for name, tensor_slice in slices.items():
        bits = bits_of(tensors[name])
        assert (tensor_slice.dtype, tensor_slice.shape) == (
            DTYPES[drawn[name][0]],
            tuple(tensors[name].shape),
        )
        assert body[tensor_slice.offset : tensor_slice.offset + len(bits)] == bits
