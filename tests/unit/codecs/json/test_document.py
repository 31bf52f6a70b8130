"""Strict JSON: positions of errors, unique keys, nesting, and numbers beyond float64."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs import number_text
from service.codecs.base import SlowTextError
from service.codecs.json.writer import result_json
from service.core.dtypes import DTYPES
from service.errors import ServiceError
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from service.registry import Op
from tests.unit.codecs.json.decoding import (
    CONTEXT,
    decode,
    decode_error,
    without_compiled_code,
)

pytestmark = pytest.mark.usefixtures("reader")

LISTED = replace(norm, operands=None)

MALFORMED = [
    pytest.param(b"", "empty", id="nothing"),
    pytest.param(b" \n ", "empty", id="white space"),
    pytest.param(b"\xef\xbb\xbf{}", "byte order mark", id="byte order mark"),
    pytest.param(b'\xef\xbb\xbf{"a": [1], "b": [1]}', "byte order mark", id="before a request"),
    pytest.param(b'{"a": [1], "b": [1], "device": tru}', "found 'tru}'", id="beside arrays"),
    pytest.param(
        b'{"a": [1,\n2,,3]}', "line 2, column 3 (character 12); found ',3]}'", id="commas"
    ),
    pytest.param(b'{"a": [1, 2', "character 11); it ends there", id="cut short"),
    pytest.param(b'{"a": 1} x', "found 'x'", id="text after it"),
    pytest.param(b'{"a": 01}', "leading zero", id="leading zero"),
    pytest.param(b'{"a": tru}', "found 'tru}'", id="half a word"),
    pytest.param(b'{"a": "\\ud800"}', "surrogate", id="half a surrogate pair"),
    pytest.param('{"é": [1, x]}'.encode(), "character 10); found 'x]}'", id="after a wide letter"),
    pytest.param(b'{"a": 1e400, "b": x}', "line 1, column 19", id="after a huge number"),
]


@pytest.mark.parametrize(("body", "words"), MALFORMED)
def test_malformed_json_is_refused_with_the_position(body: bytes, words: str) -> None:
    """The detail has the position and the text there."""
    error = decode_error(body)
    assert error.code == "malformed-json"
    assert words in error.detail


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("before", ["", '"NaN", ', "1e400, ", '1e400, "\\"NaN", '])
def test_a_bare_nonfinite_number_is_refused_with_a_hint(word: str, before: str) -> None:
    """The hint is to write "NaN" in quotes."""
    error = decode_error(f'{{"a": [{before}{word}], "b": [1]}}')
    assert error.code == "malformed-json"
    assert error.hint is not None
    assert '"NaN"' in error.hint


def test_malformed_utf8_is_refused_with_the_byte() -> None:
    """The position counts bytes."""
    error = decode_error('{"é": "'.encode() + b'\xff"}')
    assert error.code == "invalid-utf8"
    assert "byte 8 of the body (0xff)" in error.detail


DUPLICATES = [
    pytest.param('{"a": [1], "b": [1], "a": [1]}', "/a", id="operand"),
    pytest.param('{"a": [1], "b": [1], "\\u0061": [1]}', "/a", id="by an escape"),
    pytest.param('{"a": {"data": [1], "data": [1]}, "b": [1]}', "/a/data", id="in a tensor"),
    pytest.param('{"a": [1], "b": [{"x": 1, "x": 2}]}', "/b/0/x", id="in an element"),
    pytest.param('{"a": [1], "x/y~": {"z": {"q": 1, "q": 2}}}', "/x~1y~0/z/q", id="in a field"),
    pytest.param('{"a:": ":", "x": "::", "a:": ""}', "/a:", id="beside colons in strings"),
    pytest.param('{"a": [1e3, {"x": 1.5, "x": 2}]}', "/a/1/x", id="beside numbers"),
]


@pytest.mark.parametrize(("body", "pointer"), DUPLICATES)
def test_a_duplicate_key_is_refused_with_its_place(body: str, pointer: str) -> None:
    """At any depth, after escapes are resolved."""
    error = decode_error(body)
    assert error.code == "duplicate-key"
    assert error.places[0].pointer == pointer


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"operands": [[1], {"dtype": "int8", "data": [1]}], "dim": 0}', id="plain"),
        pytest.param(
            '{"operands": [{"dtype": "int8", "b64": "AQ\\u003d=", "shape": [1]}]}', id="escape"
        ),
        pytest.param('{"operands": [["NaN", 1]], "ord": "fro", "keepdim": true}', id="words"),
    ],
)
def test_unique_keys_are_accepted(body: str) -> None:
    """Colons and escapes in strings are no pairs."""
    assert decode(body, LISTED).operands


DATA = '{"data":'


def deep(left: str, right: str, levels: int = 64) -> str:
    """Return a number inside many lists or objects."""
    return f"{left * levels}1{right * levels}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("[" * 100_000, id="open brackets"),
        pytest.param('{"a":' * 100_000, id="open braces"),
        pytest.param("[" * 300 + "]" * 300, id="an array"),
        pytest.param(f'{{"a": {deep("[", "]")}, "b": 1}}', id="an operand"),
        pytest.param(f'{{"a": [1, [{deep("[", "]")}]], "b": 1}}', id="a ragged operand"),
        pytest.param(f'{{"a": {{"shape": {deep("[", "]")}}}}}', id="a shape"),
        pytest.param(deep('{"q":', "}", 65), id="an unknown field"),
        pytest.param(f'{{"a": {deep(DATA, "}", 200)}}}', id="data in data"),
    ],
)
def test_nesting_over_the_limit_is_refused(body: str) -> None:
    """In any part of the body, before other errors."""
    assert decode_error(body).code == "nesting-too-deep"


def test_the_limit_on_nesting_counts_the_body_and_the_lists() -> None:
    """One object and two lists are three levels; brackets in strings are none."""
    body = '{"a": [[1]], "b": [[1]], "device": "[[[{{{"}'
    assert decode(body, context=replace(CONTEXT, max_nesting=3)).device == "[[[{{{"
    assert decode_error(body, context=replace(CONTEXT, max_nesting=2)).code == "nesting-too-deep"


@pytest.mark.parametrize(
    ("op", "operands", "depth"),
    [
        pytest.param(matmul, '"a": [[1]], "b": [1]', 3, id="array"),
        pytest.param(matmul, '"a": {"data": [[1]]}, "b": [1]', 4, id="data"),
        pytest.param(LISTED, '"operands": [[[1]]]', 4, id="array in a list"),
        pytest.param(LISTED, '"operands": [{"data": [[1]]}]', 5, id="data in a list"),
        pytest.param(matmul, '"a": [1], "b": [["x"]]', 3, id="words"),
        pytest.param(LISTED, '"operands": [[1]], "dim": [[[0]]]', 4, id="field"),
    ],
)
def test_an_error_of_nesting_comes_first(op: Op[Any], operands: str, depth: int) -> None:
    """Before an error of a field, from the first level over the limit on."""
    body = f'{{{operands}, "dtype": "int9"}}'
    error = decode_error(body, op, replace(CONTEXT, max_nesting=depth))
    assert error.code != "nesting-too-deep"
    error = decode_error(body, op, replace(CONTEXT, max_nesting=depth - 1))
    assert error.code == "nesting-too-deep"


def test_a_typed_array_of_javascript_is_refused_with_a_hint() -> None:
    """JSON.stringify writes it as an object."""
    error = decode_error('{"a": {"data": {"0": 1, "1": 2}}, "b": [1]}')
    assert error.hint is not None
    assert "Array.from" in error.hint


@pytest.mark.parametrize(
    ("body", "is_plain"),
    [
        pytest.param('{"a": [1, 2], "b": [1]}', True, id="plain"),
        pytest.param('{"a": [1, 2], "b": {"data": [1]}}', True, id="object"),
        pytest.param('{"a": [1, 2], "b": [1], "device": "\\u0063"}', False, id="escape"),
        pytest.param('{"a": [1, 2], "b": -0}', False, id="negative zero"),
        pytest.param('{"a": [1, 2], "b": ["NaN"]}', False, id="words"),
        pytest.param('{"a": [1, 2], "b": [1.0000000596046448]}', False, id="tie"),
        pytest.param('{"a": [0.5, 16777217], "b": [1.82731694e10]}', True, id="exact ties"),
    ],
)
def test_long_text_that_is_not_plain_is_left_to_another_process(body: str, is_plain: bool) -> None:
    """Only arrays that compiled code reads are decoded in any length."""
    context = replace(CONTEXT, max_slow_bytes=len(body))
    decode(body, context=context)
    context = replace(context, max_slow_bytes=len(body) - 1)
    if is_plain and number_text.compiled is not None:
        decode(body, context=context)
    else:
        with pytest.raises(SlowTextError):
            decode(body, context=context)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("[]", "a list"),
        ("1", "a number"),
        ('"x"', "a string"),
        ("null", "null"),
        ("true", "a boolean"),
    ],
)
def test_a_document_that_is_no_object_is_refused(body: str, kind: str) -> None:
    """The error has the kind of the document."""
    error = decode_error(body)
    assert error.code == "invalid-field"
    assert error.detail.endswith(f"it was {kind}")


def test_an_integer_of_many_digits_is_read_as_a_float() -> None:
    """JavaScript writes 1e20 in digits."""
    digits = 10**25
    call = decode(f'{{"a": [{digits}], "b": [1]}}')
    assert call.operands[0].tolist() == [torch.tensor(1e25).item()]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "-" + "9" * 400])
def test_a_number_beyond_float64_is_refused_with_its_place(number: str) -> None:
    """It is valid JSON, but no dtype holds it; other large integers are accepted."""
    error = decode_error(f'{{"a": [[1, {2**60}, {10**30}], [5, {number}, 1.5]], "b": 1}}')
    assert (error.code, error.places[0].pointer) == ("value-out-of-range", "/a/1/1")
    assert decode_error(f'{{"x": [1], "ord": {number}}}', norm).code == "invalid-field"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["NaN", "Infinity", "float64", "int8", "complex64", "1", "AAAA", "a:b", '"\\']
    )
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["shape", "dtype", "data", "b64", "x"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)

NUMBERS = st.sampled_from(
    [0, 1, -1.5, 1.0, 2**24 + 1, 2**53 + 1, 2**63, 2**64, 1e39, 300, 1e16, 1e300]
)

ROWS = st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=3)

TENSORS = st.fixed_dictionaries(
    {"data": ROWS | st.lists(NUMBERS, max_size=4) | NUMBERS},
    optional={
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "dtype": st.sampled_from(list(DTYPES)),
    },
)

OPERANDS = JSON_VALUES | ROWS | TENSORS

BODIES = st.fixed_dictionaries(
    {"a": OPERANDS},
    optional={
        "b": OPERANDS,
        "operands": st.lists(OPERANDS, max_size=3),
        "dtype": st.sampled_from([*DTYPES, "FP32", "no"]),
        "device": JSON_VALUES,
        "strategy": st.sampled_from(["torch", "auto", "no"]),
        "dim": JSON_VALUES,
    },
)


def ending(body: bytes, op: Op[Any]) -> object:
    """Return the call or the error of a body in a form that can be compared."""
    try:
        call = decode(body, op)
    except ServiceError as error:
        return (error.code, error.places)
    return (
        [(x.dtype, x.shape, b"".join(result_json(x, "base64"))) for x in call.operands],
        call.params,
        call.warnings,
    )


@given(BODIES, st.sampled_from([matmul, replace(matmul, operands=("a",)), LISTED]))
def test_compiled_code_changes_no_call_or_error(body: dict[str, Any], op: Op[Any]) -> None:
    """Equal values and warnings, or the same error at the same place."""
    text = json.dumps(body).encode()
    with without_compiled_code():
        expected = ending(text, op)
    assert ending(text, op) == expected


@given(BODIES, st.data())
def test_a_damaged_body_gives_a_call_or_a_service_error(
    body: dict[str, Any], data: st.DataObject
) -> None:
    """Changed, removed or added bytes raise no other exception, and the same in both ways."""
    text = bytearray(json.dumps(body).encode())
    at = data.draw(st.integers(0, len(text) - 1))
    to = data.draw(st.integers(at, min(at + 8, len(text))))
    text[at:to] = data.draw(
        st.binary(max_size=4) | st.sampled_from([b"[", b"}", b'"', b"\\", b"1e999", b"NaN", b","])
    )
    op: Op[Any] = data.draw(st.sampled_from([matmul, norm, LISTED]))
    with without_compiled_code():
        expected = ending(bytes(text), op)
    assert ending(bytes(text), op) == expected


@given(st.binary(max_size=60))
def test_random_bytes_raise_a_service_error(body: bytes) -> None:
    """They are no request."""
    assert decode_error(body).detail


def test_no_memory_for_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that orjson has no memory for is not malformed."""

    def fail(_: bytes) -> None:
        raise orjson.JSONDecodeError("Not enough memory to allocate buffer for parsing", "", 0)

    monkeypatch.setattr(orjson, "loads", fail)
    with pytest.raises(MemoryError):
        decode('{"a": [[1]], "b": [[true]]}')
