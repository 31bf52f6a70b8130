"""Elements of a tensor: accepted values of each dtype, and the first wrong element."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.json.writer import result_json
from service.codecs.tensor_bytes import from_bytes, to_bytes
from service.core.call import Tensor
from service.core.dtypes import DTYPES
from service.operations.norm.strategies import op as norm
from tests.unit.codecs.json.decoding import (
    CODEC,
    OPERAND_CONTEXT,
    bits,
    read,
    read_error,
)

NAN, INF = math.nan, math.inf

pytestmark = pytest.mark.usefixtures("reader")


def tensor(values: object, dtype: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return the expected tensor, made by torch."""
    made = torch.tensor(values, dtype=DTYPES[dtype].torch)
    return made if shape is None else made.reshape(shape)


VALUES = [
    pytest.param("1.5", "float32", 1.5, id="number"),
    pytest.param("[]", "float32", [], id="empty"),
    pytest.param("[[]]", "float32", [[]], id="empty row"),
    pytest.param("[[], []]", "int8", [[], []], id="empty rows"),
    pytest.param("[]", "bool", [], id="no booleans"),
    pytest.param("[[1, 2], [3, 4]]", "float32", [[1, 2], [3, 4]], id="integers for float"),
    pytest.param("[1, 2.5]", "float64", [1, 2.5], id="mixed"),
    pytest.param("[-0.0, 5e-324, 1e-400]", "float64", [-0.0, 5e-324, 0.0], id="small"),
    pytest.param("[1e-45, -1e-40]", "float32", [1e-45, -1e-40], id="subnormal"),
    pytest.param('["NaN", "Infinity", "-Infinity", 1]', "float32", [NAN, INF, -INF, 1], id="words"),
    pytest.param('["NaN", 1.5]', "bfloat16", [NAN, 1.5], id="words in bfloat16"),
    pytest.param('["-Infinity", 1.5, 3]', "float64", [-INF, 1.5, 3], id="words in float64"),
    pytest.param("[1.0, -2e2]", "int16", [1, -200], id="whole floats"),
    pytest.param('["-128", 127, "0", 1.0]', "int8", [-128, 127, 0, 1], id="strings of digits"),
    pytest.param(
        f"[{2**53 + 1}, {-(2**63)}, 1.0]", "int64", [2**53 + 1, -(2**63), 1], id="digits and floats"
    ),
    pytest.param(f"[{2**63 - 1}]", "int64", [2**63 - 1], id="greatest"),
    pytest.param(f'["{2**63 - 1}"]', "int64", [2**63 - 1], id="greatest in a string"),
    pytest.param("[true, false]", "bool", [True, False], id="booleans"),
    pytest.param("true", "bool", True, id="one boolean"),
    pytest.param("[[true], [false]]", "float32", [[1.0], [0.0]], id="booleans for floats"),
    pytest.param("[true, false]", "bfloat16", [1.0, 0.0], id="booleans for bfloat16"),
    pytest.param("[true, false]", "int64", [1, 0], id="booleans for integers"),
    pytest.param("true", "uint8", 1, id="one boolean for an integer"),
    pytest.param("[1, 2]", "complex64", 1 + 2j, id="one pair"),
    pytest.param("[[1, -0.0], [0.5, 3]]", "complex128", [complex(1, -0.0), 0.5 + 3j], id="pairs"),
    pytest.param('[["NaN", 1]]', "complex64", [complex(NAN, 1)], id="words in pairs"),
    pytest.param("[]", "complex64", [], id="no pairs"),
    pytest.param("[1e20, 1e300]", "float64", [1e20, 1e300], id="large floats"),
    pytest.param(str(10**20), "float64", 1e20, id="digits for a float"),
    pytest.param(f"[{2**63}, 0]", "float32", [2.0**63, 0], id="unsigned for a float"),
    pytest.param(f"[{2**63}, -1]", "float32", [2.0**63, -1], id="unsigned and negative"),
    pytest.param("[16777216, 0.1]", "float32", [16777216, 0.1], id="last exact"),
    pytest.param("[33554432]", "float32", [33554432], id="exact beyond"),
]


@pytest.mark.parametrize(("text", "dtype", "values"), VALUES)
def test_values_are_read_exactly(text: str, dtype: str, values: object) -> None:
    """Bit for bit and without a warning, as a plain array and as data of an object."""
    expected = bits(tensor(values, dtype))
    for form in (text, f'{{"data": {text}}}', f'{{"dtype": "{dtype}", "data": {text}}}'):
        x, warnings = read(form, dtype=dtype)
        assert bits(x) == expected
        assert warnings == ()


@pytest.mark.parametrize(
    ("shape", "dtype", "data", "values"),
    [
        pytest.param([2, 2], "float32", "[1, 2, 3, 4]", [[1, 2], [3, 4]], id="flat"),
        pytest.param([2, 2], "float32", "[[1, 2], [3, 4]]", [[1, 2], [3, 4]], id="nested"),
        pytest.param([], "int8", "7", 7, id="number"),
        pytest.param([], "int8", "[7]", 7, id="number in a list"),
        pytest.param([1, 1], "bool", "[true]", [[True]], id="one boolean"),
        pytest.param([0, 3], "int8", "[]", torch.empty(0, 3), id="empty"),
        pytest.param([3, 0], "int8", "[]", torch.empty(3, 0), id="empty and flat"),
        pytest.param([2, 0, 3], "int8", "[[], []]", torch.empty(2, 0, 3), id="empty in between"),
        pytest.param([2], "complex64", "[1, 2, 3, 4]", [1 + 2j, 3 + 4j], id="flat parts"),
        pytest.param([1, 2], "complex64", "[[1, 2], [3, 4]]", [[1 + 2j, 3 + 4j]], id="flat pairs"),
        pytest.param([1, 1], "complex64", "[[[1, 2]]]", [[1 + 2j]], id="nested pairs"),
        pytest.param([], "complex64", "[1, 2]", 1 + 2j, id="one pair"),
        pytest.param([0], "complex64", "[]", [], id="no pairs"),
    ],
)
def test_data_with_a_shape_are_nested_or_flat(
    shape: list[int], dtype: str, data: str, values: Any
) -> None:
    """The tensor has the stated shape."""
    form = f'{{"shape": {shape}, "dtype": "{dtype}", "data": {data}}}'
    x, _ = read(form)
    expected = values if isinstance(values, Tensor) else tensor(values, dtype)
    assert bits(x) == bits(expected.to(DTYPES[dtype].torch))


ERRORS = [
    pytest.param("[[1, 2], [3]]", "float32", "ragged-array", "/x/1", id="ragged"),
    pytest.param("[[1], [2, 3]]", "float32", "ragged-array", "/x/1", id="longer"),
    pytest.param("[[[1, 2]], [[3]]]", "float32", "ragged-array", "/x/1/0", id="ragged inside"),
    pytest.param("[[1], 2]", "float32", "ragged-array", "/x/1", id="number after a list"),
    pytest.param("[1, 2, [3]]", "float32", "ragged-array", "/x/2", id="list after a number"),
    pytest.param("[[1, 2], [3, [4]]]", "float32", "ragged-array", "/x/1/1", id="list deeper"),
    pytest.param("[[1], [[2, 3]]]", "float32", "ragged-array", "/x/1/0", id="lists deeper"),
    pytest.param("[[], [1]]", "float32", "ragged-array", "/x/1", id="empty and not"),
    pytest.param("[[], 1]", "float32", "ragged-array", "/x/1", id="empty and a number"),
    pytest.param('[[], ""]', "float32", "ragged-array", "/x/1", id="empty and a string"),
    pytest.param("[[1, 2], [3, null]]", "float32", "invalid-element", "/x/1/1", id="null"),
    pytest.param("null", "float32", "invalid-element", "/x", id="null alone"),
    pytest.param("[1, true]", "float32", "invalid-element", "/x/1", id="boolean"),
    pytest.param("[2, true]", "int8", "invalid-element", "/x/1", id="boolean among integers"),
    pytest.param("[true, 2.5]", "float32", "invalid-element", "/x/0", id="number among others"),
    pytest.param(
        "[[true, false]]", "complex64", "invalid-element", "/x/0/0", id="booleans for a pair"
    ),
    pytest.param("[0, 1]", "bool", "invalid-element", "/x/0", id="number for boolean"),
    pytest.param("[true, 1]", "bool", "invalid-element", "/x/1", id="number among booleans"),
    pytest.param('["true"]', "bool", "invalid-element", "/x/0", id="string for boolean"),
    pytest.param('[1, "2"]', "float32", "invalid-element", "/x/1", id="string"),
    pytest.param('["nan"]', "float64", "invalid-element", "/x/0", id="another word"),
    pytest.param('["NaN"]', "int32", "invalid-element", "/x/0", id="word for integer"),
    pytest.param('["01"]', "int32", "invalid-element", "/x/0", id="leading zero"),
    pytest.param('["+1"]', "int32", "invalid-element", "/x/0", id="plus sign"),
    pytest.param('["1 "]', "int32", "invalid-element", "/x/0", id="white space"),
    pytest.param('["\u0661"]', "int32", "invalid-element", "/x/0", id="digit of another script"),
    pytest.param("[{}]", "int32", "invalid-element", "/x/0", id="object"),
    pytest.param("[[1, {}]]", "float32", "invalid-element", "/x/0/1", id="object inside"),
    pytest.param("[null]", "int32", "invalid-element", "/x/0", id="null for integer"),
    pytest.param("[1, 2, 3]", "complex64", "invalid-element", "/x", id="no pairs"),
    pytest.param("5", "complex64", "invalid-element", "/x", id="no pair"),
    pytest.param(
        '[[1, 2], [3, "x"]]', "complex64", "invalid-element", "/x/1/1", id="string in pair"
    ),
    pytest.param("[1, 1e39]", "float32", "value-out-of-range", "/x/1", id="infinite in float32"),
    pytest.param("[[1, -1e39]]", "complex64", "value-out-of-range", "/x/0/1", id="infinite part"),
    pytest.param("[65520]", "float16", "value-out-of-range", "/x/0", id="infinite in float16"),
    pytest.param("[3.4e38]", "bfloat16", "value-out-of-range", "/x/0", id="infinite in bfloat16"),
    pytest.param('["Infinity", 1e39]', "float32", "value-out-of-range", "/x/1", id="after a word"),
    pytest.param("[1, 1.5]", "int32", "value-out-of-range", "/x/1", id="fraction"),
    pytest.param('["1", 1.5]', "int32", "value-out-of-range", "/x/1", id="fraction after a string"),
    pytest.param("[127, 128]", "int8", "value-out-of-range", "/x/1", id="over int8"),
    pytest.param("[-1]", "uint8", "value-out-of-range", "/x/0", id="negative"),
    pytest.param(
        '["1", "300"]', "uint8", "value-out-of-range", "/x/1", id="over uint8 in a string"
    ),
    pytest.param(f"[{2**63}]", "int64", "value-out-of-range", "/x/0", id="over int64"),
    pytest.param(f"[1.5, {10**20}]", "int64", "value-out-of-range", "/x/0", id="fraction first"),
    pytest.param(f"[{10**20}]", "int64", "value-out-of-range", "/x/0", id="far over int64"),
    pytest.param(f'["-{10**200}"]', "int64", "value-out-of-range", "/x/0", id="very far"),
    pytest.param("[1e16]", "int64", "value-out-of-range", "/x/0", id="float without all digits"),
    pytest.param("[1e300]", "int64", "value-out-of-range", "/x/0", id="large float"),
]


@pytest.mark.parametrize(("text", "dtype", "code", "pointer"), ERRORS)
def test_a_wrong_element_is_refused_with_the_first_place(
    text: str, dtype: str, code: str, pointer: str
) -> None:
    """As a plain array, and in data of an object."""
    error = read_error(text, dtype=dtype)
    assert (error.code, error.places[0].pointer) == (code, pointer)
    inside = read_error(f'{{"data": {text}}}', dtype=dtype)
    assert inside.places[0].pointer == pointer.replace("/x", "/x/data", 1)


@pytest.mark.parametrize(
    ("text", "dtype", "detail"),
    [
        ("[[1, 2, 3], [4]]", "float32", "row 1 has 1 item, row 0 has 3"),
        ("[[[1, 2]], [[3, 4, 5]]]", "float32", "row 1, 0 has 3 items, row 0, 0 has 2"),
        ("[[1], 2]", "float32", "row 1 is a single element, row 0 is a list"),
        ("[1, [2]]", "float32", "row 1 is a list, row 0 is a single element"),
        ('["x"]', "float32", "float32 needs a number; /x/0 is the string 'x'"),
        ("[1, true]", "float32", "float32 needs a number; /x/1 is a boolean"),
        ("[1.5]", "bool", "bool needs true or false; /x/0 is a number"),
        ("[300]", "int8", "300 is not in the range of int8, -128 to 127"),
        ("[1e39]", "float32", "1e+39 would become infinite in float32"),
        ('["-' + "9" * 50 + '"]', "int8", "an integer beyond -2^128 is not in the range"),
        (
            "[9007199254740993.0]",
            "int64",
            "9007199254740992.0 is 2^53 or beyond, where int64 needs every digit",
        ),
        ("[-9223372036854775809]", "int8", "-9223372036854775808 is not in the range of int8"),
        ("[1e16]", "int64", "1e+16 is 2^53 or beyond, where int64 needs every digit"),
        ("[1, 2, 3]", "complex64", "in x that axis has size 3"),
        ("5", "complex64", "in x that axis is missing"),
    ],
)
def test_an_error_has_what_was_found(text: str, dtype: str, detail: str) -> None:
    """The detail has the expected and the found value."""
    assert detail in read_error(text, dtype=dtype).detail


def test_a_shape_mismatch_names_both_shapes() -> None:
    """The stated shape and that of the data."""
    error = read_error('{"shape": [2, 3], "data": [1, 2]}')
    assert "states shape (2, 3); its data has shape (2,)" in error.detail
    assert error.hint is not None
    assert "6 numbers" in error.hint


def test_large_documents_are_read_exactly() -> None:
    """Floats, integers, and integers with one float at the end."""
    context = replace(OPERAND_CONTEXT, max_elements=10**6)
    for values in (
        np.random.default_rng(0).standard_normal((20, 30)),
        np.arange(600).reshape(20, 30),
        np.append(np.arange(599).astype(object), 0.5).reshape(20, 30),
    ):
        body = json.dumps({"x": values.tolist(), "dtype": "float64"}).encode()
        x = CODEC.decode(body, norm, context).operands[0]
        assert bits(x) == bits(torch.from_numpy(values.astype(np.float64)))


RAW = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: st.tuples(
        st.just(dtype),
        st.lists(st.integers(0, 3), max_size=3).map(tuple),
        st.randoms(use_true_random=False),
    )
)


@given(RAW, st.sampled_from(["nested", "flat", "base64"]))
def test_every_result_can_be_sent_back_bit_for_bit(
    raw: tuple[Any, tuple[int, ...], Any], output: str
) -> None:
    """Random bytes of every dtype; text keeps that an element is NaN, base64 its bits."""
    dtype, shape, random = raw
    count = math.prod(shape) * dtype.itemsize
    data = bytearray(random.randbytes(count))
    if dtype.kind == "bool":
        data = bytearray(byte & 1 for byte in data)
    x = from_bytes(data, dtype, shape, "/x")
    body = b'{"x": %b}' % b"".join(result_json(x, output))
    call = CODEC.decode(body, norm, OPERAND_CONTEXT)
    assert bits(call.operands[0]) == bits(x)
    assert output != "base64" or bytes(to_bytes(call.operands[0])) == data
    assert call.warnings == ()
