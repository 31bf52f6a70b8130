"""Strict JSON: positions of errors, unique keys, nesting, and numbers beyond float64."""

from dataclasses import replace

import pytest
import torch

from service.operations.norm.strategies import op as norm
from tests.unit.codecs.json.decoding import (
    CONTEXT,
    PADDING,
    PARSERS,
    decode,
    decode_error,
)

LISTED = replace(norm, operands=None)

MALFORMED = [
    pytest.param(b"", "empty", id="nothing"),
    pytest.param(b" \n ", "empty", id="white space"),
    pytest.param(b"\xef\xbb\xbf{}", "byte order mark", id="byte order mark"),
    pytest.param(b"\xef\xbb\xbf{}" + PADDING, "byte order mark", id="byte order mark, large"),
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


@PARSERS
@pytest.mark.parametrize(("body", "pointer"), DUPLICATES)
def test_a_duplicate_key_is_refused_with_its_place(body: str, pointer: str, padding: str) -> None:
    """At any depth, after escapes are resolved."""
    error = decode_error(body + padding)
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
@PARSERS
def test_nesting_over_the_limit_is_refused(body: str, padding: str) -> None:
    """In any part of the body, before other errors."""
    assert decode_error(body + padding).code == "nesting-too-deep"


@PARSERS
def test_the_limit_on_nesting_counts_the_body_and_the_lists(padding: str) -> None:
    """One object and two lists are three levels; brackets in strings are none."""
    body = '{"a": [[1]], "b": [[1]], "device": "[[[{{{"}' + padding
    assert decode(body, context=replace(CONTEXT, max_nesting=3)).device == "[[[{{{"
    assert decode_error(body, context=replace(CONTEXT, max_nesting=2)).code == "nesting-too-deep"


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
@PARSERS
def test_a_document_that_is_no_object_is_refused(body: str, kind: str, padding: str) -> None:
    """The error has the kind of the document."""
    error = decode_error(body + padding)
    assert error.code == "invalid-field"
    assert error.detail.endswith(f"it was {kind}")


def test_an_integer_of_many_digits_is_read_as_a_float() -> None:
    """JavaScript writes 1e20 in digits."""
    digits = 10**25
    for padding in ("", PADDING.decode()):
        call = decode(f'{{"a": [{digits}], "b": [1]}}{padding}')
        assert call.operands[0].tolist() == [torch.tensor(1e25).item()]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "-" + "9" * 400])
def test_a_number_beyond_float64_is_refused_with_its_place(number: str) -> None:
    """It is valid JSON, but no dtype holds it; other large integers are accepted."""
    error = decode_error(f'{{"a": [[1, {2**60}, {10**30}], [5, {number}, 1.5]], "b": 1}}')
    assert (error.code, error.places[0].pointer) == ("value-out-of-range", "/a/1/1")
    assert decode_error(f'{{"x": [1], "ord": {number}}}', norm).code == "invalid-field"
