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

from service.codecs import DecodeContext
from service.codecs.json.codec import JsonCodec
from service.codecs.json.parsers import LARGE_BYTES
from service.codecs.tensor_bytes import from_bytes, to_bytes
from service.core.call import Tensor
from service.core.dtypes import DTYPES
from service.errors import ServiceError
from service.operations.norm.strategies import op as norm

CONTEXT = DecodeContext(max_elements=1000, dtype=DTYPES["float32"], max_deadline_ms=1000)
CODEC = JsonCodec()
NAN, INF = math.nan, math.inf
# Both engines read every case.
ENGINES = pytest.mark.parametrize("padding", ["", " " * LARGE_BYTES], ids=["small", "large"])


def read(text: str, padding: str = "", **fields: object) -> tuple[Tensor, tuple[str, ...]]:
    """Return the one operand `x` of a JSON text, and the warnings."""
    rest = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
    call = CODEC.decode(f'{{"x": {text}{rest}}}{padding}'.encode(), norm, CONTEXT)
    return call.operands[0], call.warnings


def error_of(text: str, padding: str = "", **fields: object) -> ServiceError:
    """Return the error that operand `x` raises."""
    with pytest.raises(ServiceError) as caught:
        read(text, padding, **fields)
    return caught.value


def tensor(values: object, dtype: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return the expected tensor, made by torch."""
    made = torch.tensor(values, dtype=DTYPES[dtype].torch)
    return made if shape is None else made.reshape(shape)


def bits(x: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    """Return a value that is equal for equal tensors; -0.0 differs from 0.0, and all NaN are equal."""
    if x.is_complex():
        return x.dtype, x.shape, bits(torch.view_as_real(x))[2]
    if x.is_floating_point():
        x = x.masked_fill(x.isnan(), NAN)
    return x.dtype, x.shape, bytes(to_bytes(x))


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


@ENGINES
@pytest.mark.parametrize(("text", "dtype", "values"), VALUES)
def test_values_are_read_exactly(text: str, dtype: str, values: object, padding: str) -> None:
    """Bit for bit and without a warning, as a plain array and as data of an object."""
    expected = bits(tensor(values, dtype))
    for form in (text, f'{{"data": {text}}}', f'{{"dtype": "{dtype}", "data": {text}}}'):
        x, warnings = read(form, padding, dtype=dtype)
        assert bits(x) == expected
        assert warnings == ()


@ENGINES
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
    shape: list[int], dtype: str, data: str, values: Any, padding: str
) -> None:
    """The tensor has the stated shape."""
    form = f'{{"shape": {shape}, "dtype": "{dtype}", "data": {data}}}'
    x, _ = read(form, padding)
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
    pytest.param("[true]", "int8", "invalid-element", "/x/0", id="boolean for integer"),
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


@ENGINES
@pytest.mark.parametrize(("text", "dtype", "code", "pointer"), ERRORS)
def test_a_wrong_element_is_refused_with_the_first_place(
    text: str, dtype: str, code: str, pointer: str, padding: str
) -> None:
    """With both parsers, and in data of an object."""
    error = error_of(text, padding, dtype=dtype)
    assert (error.code, error.places[0].pointer) == (code, pointer)
    inside = error_of(f'{{"data": {text}}}', padding, dtype=dtype)
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
    assert detail in error_of(text, dtype=dtype).detail


@pytest.mark.parametrize(
    ("text", "dtype", "wider"),
    [
        ("[300]", "int8", "int16"),
        ("[200]", "int8", "int16"),
        ("[-1]", "uint8", "int16"),
        (f"[{2**40}]", "int32", "int64"),
        (f"[{2**63}]", "int64", "float64"),
        ("[0.5]", "int8", "float64"),
        ("[1e39]", "float32", "float64"),
        ("[70000]", "float16", "float32"),
        ("[1e39]", "bfloat16", "float64"),
        ("[true]", "float32", "bool"),
    ],
)
def test_a_hint_names_a_dtype_that_takes_the_value(text: str, dtype: str, wider: str) -> None:
    """The proposed dtype is tried."""
    hint = error_of(text, dtype=dtype).hint
    assert hint is not None
    assert f'"{wider}"' in hint
    assert read(text, dtype=wider)[0].dtype == DTYPES[wider].torch


@ENGINES
@pytest.mark.parametrize(
    ("text", "dtype", "words"),
    [
        (
            "[[1, 16777217]]",
            "float32",
            "x: float32 cannot hold the whole number 16777217 at /x/0/1",
        ),
        ("[0.5, 16777217]", "float32", "16777216 was used instead"),
        ("16777217.0", "float32", "the whole number 16777217 at /x:"),
        (f"[{2**53 + 1}]", "float64", f"{2**53 + 1} at /x/0: {2**53} was used"),
        (f"[0.5, {2**53 + 1}]", "float64", f"{2**53 + 1} at /x/1: {2**53} was used"),
        (f"[0.5, {2**63 + 1}]", "float32", f"{2**63 + 1} at /x/1: {2**63} was used"),
        (f"[{2**63 - 1}]", "float32", f"{2**63 - 1} at /x/0: {2**63} was used"),
        ("[257]", "bfloat16", "257 at /x/0: 256 was used"),
        ("[2049]", "float16", "2049 at /x/0: 2048 was used"),
        ("[[1, 16777217]]", "complex64", "16777217 at /x/0/1"),
    ],
)
def test_a_whole_number_that_loses_digits_adds_a_warning(
    text: str, dtype: str, words: str, padding: str
) -> None:
    """With the operand, the first such number, and the number used."""
    _, warnings = read(text, padding, dtype=dtype)
    assert len(warnings) == 1
    assert words in warnings[0]


@ENGINES
@pytest.mark.parametrize(
    "text",
    [
        "[0.1]",
        "[16777216.5]",
        "[0.5, 34603010.0]",
        "[1e30]",
        f"[{2**60}.0]",
        '[16777216.5, "NaN"]',
        str(10**20),
    ],
)
def test_other_rounded_numbers_add_no_warning(text: str, padding: str) -> None:
    """Fractions, large floats, and the shortest text of a float32, which a response may have."""
    assert read(text, padding)[1] == ()


@pytest.mark.parametrize(
    ("value", "dtype", "nearest"),
    [
        pytest.param(1 + 2**-8 + 2**-40, "bfloat16", 1 + 2**-7, id="above a tie"),
        pytest.param(1 + 2**-8, "bfloat16", 1, id="a tie"),
        pytest.param(-(1 + 3 * 2**-8 - 2**-40), "bfloat16", -(1 + 2**-7), id="below a tie"),
        pytest.param(1 + 2**-11 + 2**-40, "float16", 1 + 2**-10, id="above a tie of float16"),
        pytest.param(2.0**-134 * (1 + 2**-40), "bfloat16", 2.0**-133, id="subnormal"),
        pytest.param(1e-60, "bfloat16", 0, id="to zero"),
    ],
)
def test_numbers_are_rounded_once(value: float, dtype: str, nearest: float) -> None:
    """From float64 to the nearest, ties to even, not by way of another dtype."""
    assert read(repr(value), dtype=dtype)[0].item() == nearest
    assert read(f'[{value!r}, 1e4, "NaN"]', dtype=dtype)[0][0].item() == nearest


OBJECTS = [
    pytest.param({"data": [1], "size": 1}, "unknown-field", "/x/size", id="unknown key"),
    pytest.param({"data": [1], "a/b~c": 1}, "unknown-field", "/x/a~1b~0c", id="escaped key"),
    pytest.param({}, "missing-field", "/x/data", id="nothing"),
    pytest.param({"shape": [1], "dtype": "int8"}, "missing-field", "/x/data", id="no data"),
    pytest.param({"data": [1], "b64": "AA=="}, "invalid-field", "/x/b64", id="data twice"),
    pytest.param({"b64": "AA==", "shape": [1]}, "missing-field", "/x/dtype", id="bytes of what"),
    pytest.param({"b64": "AA==", "dtype": "int8"}, "missing-field", "/x/shape", id="no shape"),
    pytest.param({"data": [1], "dtype": "int7"}, "unknown-dtype", "/x/dtype", id="no dtype"),
    pytest.param({"data": [1], "dtype": None}, "unknown-dtype", "/x/dtype", id="null dtype"),
    pytest.param({"data": [1], "shape": 1}, "invalid-field", "/x/shape", id="no list"),
    pytest.param({"data": [1], "shape": [1, -1]}, "invalid-field", "/x/shape/1", id="negative"),
    pytest.param({"data": [1], "shape": [1.0]}, "invalid-field", "/x/shape/0", id="fraction"),
    pytest.param({"data": [1], "shape": [True]}, "invalid-field", "/x/shape/0", id="boolean"),
    pytest.param({"data": [1], "shape": [2]}, "shape-mismatch", "/x/data", id="too few"),
    pytest.param({"data": [[1, 2]], "shape": [2, 1]}, "shape-mismatch", "/x/data", id="turned"),
    pytest.param({"data": [[]], "shape": [0, 3]}, "shape-mismatch", "/x/data", id="empty, turned"),
    pytest.param({"data": [], "shape": [10**9] * 2}, "limit-exceeded", "/x", id="huge"),
    pytest.param({"data": [], "shape": [10**18] * 9}, "limit-exceeded", "/x", id="beyond 64 bits"),
    pytest.param({"data": [], "shape": [1] * 17}, "limit-exceeded", "/x", id="rank"),
    pytest.param({"data": {"data": [1]}}, "invalid-element", "/x/data", id="data in data"),
    pytest.param(
        {"shape": [1], "dtype": "complex64", "data": [1]},
        "shape-mismatch",
        "/x/data",
        id="half a pair",
    ),
    *(
        pytest.param({"b64": text, "shape": [1], "dtype": dtype}, code, "/x/b64", id=name)
        for name, text, dtype, code in [
            ("no text", 5, "int8", "invalid-field"),
            ("no base64", "A?==", "int8", "invalid-field"),
            ("no padding", "AA", "int8", "invalid-field"),
            ("white space", "AA==\n", "int8", "invalid-field"),
            ("other letters", "é", "int8", "invalid-field"),
            ("too many bytes", "AAA=", "int8", "shape-mismatch"),
            ("too few bytes", "AAA=", "float32", "shape-mismatch"),
            ("no boolean", "Ag==", "bool", "invalid-element"),
        ]
    ),
]


@ENGINES
@pytest.mark.parametrize(("value", "code", "pointer"), OBJECTS)
def test_an_object_that_is_no_tensor_is_refused_with_the_place(
    value: object, code: str, pointer: str, padding: str
) -> None:
    """Unknown, missing and contradictory keys."""
    error = error_of(json.dumps(value), padding)
    assert (error.code, error.places[0].pointer) == (code, pointer)


def test_a_shape_mismatch_names_both_shapes() -> None:
    """The stated shape and that of the data."""
    error = error_of('{"shape": [2, 3], "data": [1, 2]}')
    assert "states shape (2, 3); its data has shape (2,)" in error.detail
    assert error.hint is not None
    assert "6 numbers" in error.hint


@pytest.mark.parametrize("unit", ["[%s]", '{"dtype": "complex64", "data": [%s]}'])
def test_sizes_over_the_limits_are_refused_with_the_setting(unit: str) -> None:
    """Elements and rank; a pair is one element and adds no axis."""
    element = "1" if unit == "[%s]" else "[1, 1]"
    assert read(unit % ", ".join([element] * 1000))[0].numel() == 1000
    error = error_of(unit % ", ".join([element] * 1001))
    assert error.code == "limit-exceeded"
    assert "has 1001 elements; the limit is 1000 (SERVICE_MAX_ELEMENTS)" in error.detail
    assert read(unit % ("[" * 15 + element + "]" * 15))[0].dim() == 16
    error = error_of(unit % ("[" * 16 + element + "]" * 16))
    assert error.code == "limit-exceeded"
    assert "has rank 17; the limit is 16 (SERVICE_MAX_RANK)" in error.detail


def test_large_documents_are_read_exactly() -> None:
    """Floats, integers, and integers with one float at the end."""
    context = replace(CONTEXT, max_elements=10**6)
    for values in (
        np.random.default_rng(0).standard_normal((20, 30)),
        np.arange(600).reshape(20, 30),
        np.append(np.arange(599).astype(object), 0.5).reshape(20, 30),
    ):
        body = json.dumps({"x": values.tolist(), "dtype": "float64"}).encode()
        x = CODEC.decode(body, norm, context).operands[0]
        assert bits(x) == bits(torch.from_numpy(values.astype(np.float64)))


def test_bytes_and_tensor_share_memory() -> None:
    """In both directions."""
    data = bytearray(b"\1\0\2\0")
    x = from_bytes(data, DTYPES["int16"], (2,), "/x")
    data[0] = 7
    assert x.tolist() == [7, 2]
    assert bytes(to_bytes(x)) == bytes(data)
    assert bytes(to_bytes(x.flip(0))) == b"\2\0\7\0"


RAW = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: st.tuples(
        st.just(dtype),
        st.lists(st.integers(0, 3), max_size=3).map(tuple),
        st.randoms(use_true_random=False),
    )
)


@given(
    RAW, st.sampled_from(["nested", "flat", "base64"]), st.sampled_from([b"", b" " * LARGE_BYTES])
)
def test_every_result_can_be_sent_back_bit_for_bit(
    raw: tuple[Any, tuple[int, ...], Any], output: str, padding: bytes
) -> None:
    """Random bytes of every dtype; text keeps that an element is NaN, base64 its bits."""
    dtype, shape, random = raw
    count = math.prod(shape) * dtype.itemsize
    data = bytearray(random.randbytes(count))
    if dtype.kind == "bool":
        data = bytearray(byte & 1 for byte in data)
    x = from_bytes(data, dtype, shape, "/x")
    body = b'{"x": %b}%b' % (b"".join(CODEC.result(x, output)), padding)
    call = CODEC.decode(body, norm, CONTEXT)
    assert bits(call.operands[0]) == bits(x)
    assert output != "base64" or to_bytes(call.operands[0]) == data
    assert call.warnings == ()
