"""The JSON codec: requests to calls with either parser, and responses."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs import READERS, WRITERS, Body, DecodeContext
from service.codecs.base import THREAD_TEXT_BYTES
from service.codecs.json import fast_path as quick
from service.codecs.json import parsers
from service.codecs.json.codec import GLANCE_ROWS, JsonCodec
from service.codecs.json.document import read_document
from service.codecs.json.parsers import LARGE_BYTES
from service.core.call import Call, Outcome
from service.core.dtypes import DTYPES
from service.core.timing import Timings, timing_json
from service.errors import ServiceError
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from service.registry import Op

CONTEXT = DecodeContext(max_elements=100_000, dtype=DTYPES["float32"], max_deadline_ms=1000)
LISTED = replace(norm, operands=None)
CODEC = JsonCodec()
# White space is no part of the document, and makes it large enough for the other engine.
PADDING = b" " * LARGE_BYTES
BODY = b'{"a": [[1]], "b": [[2]]}'


def decode(body: Body | str, op: Op[Any] = matmul, context: DecodeContext = CONTEXT) -> Call:
    """Return the call of a body."""
    return CODEC.decode(body.encode() if isinstance(body, str) else body, op, context)


def error_of(
    body: Body | str, op: Op[Any] = matmul, context: DecodeContext = CONTEXT
) -> ServiceError:
    """Return the error that a body raises."""
    with pytest.raises(ServiceError) as caught:
        decode(body, op, context)
    return caught.value


@pytest.mark.parametrize("text", [BODY, BODY[:-1], b"\xef\xbb\xbf" + BODY, b"[1]"])
def test_a_view_is_read_as_bytes_are(text: bytes) -> None:
    """A worker decodes a body in shared memory; errors are the same."""
    body = text + PADDING
    if text == BODY:
        assert [x.tolist() for x in decode(memoryview(body)).operands] == [[[1.0]], [[2.0]]]
    else:
        assert error_of(memoryview(body)).detail == error_of(body).detail


def test_long_words_are_not_cached() -> None:
    """Fields are cached only if their names and values are short."""
    word = "x" * LARGE_BYTES
    before = quick._fields.cache_info().misses
    for field in (f'"{word}": 1', f'"strategy": "{word}"'):
        error_of(f'{{"a": [[1]], "b": [[1]], {field}}}')
    assert quick._fields.cache_info().misses == before
    decode('{"a": [[1]], "b": [[1]], "deadline_ms": 789}' + " " * LARGE_BYTES)
    assert quick._fields.cache_info().misses == before + 1


def test_codecs_are_found_by_media_type() -> None:
    """Each codec is registered under its own media type."""
    for table in (READERS, WRITERS):
        assert table["application/json"].media_type == "application/json"


@pytest.mark.parametrize("padding", [b"", PADDING], ids=["small", "large"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_body_becomes_a_call(padding: bytes, kind: type[bytes | bytearray]) -> None:
    """Operands in order, in the default dtype, and defaults of the other fields."""
    call = decode(kind(b'{"b": [[3], [4.5]], "a": [[1, 2]]}' + padding))
    assert [x.tolist() for x in call.operands] == [[[1, 2]], [[3], [4.5]]]
    assert {x.dtype for x in call.operands} == {torch.float32}
    assert (call.op, call.strategy, call.device) == ("matmul", "auto", "auto")
    assert (call.output, call.deadline_ms, call.warnings) == ("nested", None, ())


@pytest.mark.parametrize("padding", [b"", PADDING], ids=["small", "large"])
def test_operands_of_a_list_are_read_one_by_one(padding: bytes) -> None:
    """A list of lists is several tensors, not one."""
    body = b'{"operands": [[1, 2], [[3, 4]], 5, {"dtype": "int64", "data": [6]}], "dim": [0]}'
    call = decode(body + padding, LISTED)
    assert [x.tolist() for x in call.operands] == [[1, 2], [[3, 4]], 5, [6]]
    assert call.params["dim"] == (0,)


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
    error = error_of(body)
    assert error.code == "malformed-json"
    assert words in error.detail


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("before", ["", '"NaN", ', "1e400, ", '1e400, "\\"NaN", '])
def test_a_bare_nonfinite_number_is_refused_with_a_hint(word: str, before: str) -> None:
    """The hint is to write "NaN" in quotes."""
    error = error_of(f'{{"a": [{before}{word}], "b": [1]}}')
    assert error.code == "malformed-json"
    assert error.hint is not None
    assert '"NaN"' in error.hint


def test_malformed_utf8_is_refused_with_the_byte() -> None:
    """The position counts bytes."""
    error = error_of('{"é": "'.encode() + b'\xff"}')
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


@pytest.mark.parametrize("padding", ["", PADDING.decode()], ids=["small", "large"])
@pytest.mark.parametrize(("body", "pointer"), DUPLICATES)
def test_a_duplicate_key_is_refused_with_its_place(body: str, pointer: str, padding: str) -> None:
    """At any depth, after escapes are resolved."""
    error = error_of(body + padding)
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
@pytest.mark.parametrize("padding", ["", PADDING.decode()], ids=["small", "large"])
def test_nesting_over_the_limit_is_refused(body: str, padding: str) -> None:
    """In any part of the body, before other errors."""
    assert error_of(body + padding).code == "nesting-too-deep"


@pytest.mark.parametrize("padding", ["", PADDING.decode()], ids=["small", "large"])
def test_the_limit_on_nesting_counts_the_body_and_the_lists(padding: str) -> None:
    """One object and two lists are three levels; brackets in strings are none."""
    body = '{"a": [[1]], "b": [[1]], "device": "[[[{{{"}' + padding
    assert decode(body, context=replace(CONTEXT, max_nesting=3)).device == "[[[{{{"
    assert error_of(body, context=replace(CONTEXT, max_nesting=2)).code == "nesting-too-deep"


def test_a_limit_on_nesting_beyond_the_recursion_limit_is_refused() -> None:
    """Python's recursion limit is 1000."""
    with pytest.raises(ValueError, match="at most 500"):
        replace(CONTEXT, max_nesting=501)


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
@pytest.mark.parametrize("padding", ["", PADDING.decode()], ids=["small", "large"])
def test_a_document_that_is_no_object_is_refused(body: str, kind: str, padding: str) -> None:
    """The error has the kind of the document."""
    error = error_of(body + padding)
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
    error = error_of(f'{{"a": [[1, {2**60}, {10**30}], [5, {number}, 1.5]], "b": 1}}')
    assert (error.code, error.places[0].pointer) == ("value-out-of-range", "/a/1/1")
    assert error_of(f'{{"x": [1], "ord": {number}}}', norm).code == "invalid-field"


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
        [(x.dtype, x.shape, b"".join(CODEC.result(x, "base64"))) for x in call.operands],
        call.params,
        call.warnings,
    )


@given(BODIES, st.sampled_from([matmul, replace(matmul, operands=("a",)), LISTED]))
def test_both_parsers_give_the_same_call_or_error(body: dict[str, Any], op: Op[Any]) -> None:
    """Equal values and warnings, or the same error at the same place."""
    text = json.dumps(body).encode()
    assert ending(text, op) == ending(text + PADDING, op)


@given(BODIES, st.data())
def test_a_damaged_body_gives_a_call_or_a_service_error(
    body: dict[str, Any], data: st.DataObject
) -> None:
    """Changed, removed or added bytes raise no other exception with either parser."""
    text = bytearray(json.dumps(body).encode())
    at = data.draw(st.integers(0, len(text) - 1))
    to = data.draw(st.integers(at, min(at + 8, len(text))))
    text[at:to] = data.draw(
        st.binary(max_size=4) | st.sampled_from([b"[", b"}", b'"', b"\\", b"1e999", b"NaN", b","])
    )
    op: Op[Any] = data.draw(st.sampled_from([matmul, norm, LISTED]))
    for padding in (b"", PADDING):
        assert ending(bytes(text) + padding, op)


@given(st.binary(max_size=60))
def test_random_bytes_raise_a_service_error(body: bytes) -> None:
    """They are no request."""
    assert error_of(body).detail


def test_a_parser_in_use_is_not_reused() -> None:
    """Objects of its last document hold it; the other parser reads the next one."""
    body = b'{"a": [1]}' + PADDING
    parsers.drop_parsers()
    parsers.read_large(body, ("a",))
    (kept,) = parsers._PARSERS
    document = kept.parse(b'{"kept": 1}')
    assert parsers.read_large(body, ("a",)) is None
    assert read_document(body, ("a",), CONTEXT) == {"a": [1]}
    del document
    assert parsers.read_large(body, ("a",)) is not None


OUTCOME = Outcome("norm", torch.tensor([1.5, 2.0]), "torch", "cpu", 2, True, ("careful",))


def test_an_answer_holds_the_payload_and_the_envelope() -> None:
    """The fields are those of the contract, in that order."""
    payload = CODEC.result(OUTCOME.result, "nested")
    answer = orjson.loads(
        b"".join(CODEC.answer(OUTCOME, payload, Timings(compute_ns=1500), "id-1").chunks)
    )
    assert list(answer) == [
        "op",
        "result",
        "strategy",
        "device",
        "warnings",
        "request_id",
        "timing",
    ]
    assert answer["op"] == "norm"
    assert answer["result"] == {"shape": [2], "dtype": "float32", "data": [1.5, 2.0]}
    assert (answer["strategy"], answer["device"]) == ("torch", "cpu")
    assert (answer["warnings"], answer["request_id"]) == (["careful"], "id-1")
    phases = orjson.loads(b"{%b}" % timing_json(Timings(compute_ns=1500).texts()))
    assert answer["timing"] == phases | {"threads": 2, "warm": True, "lane": "inline"}


def test_an_explanation_stands_under_the_name_of_the_operation() -> None:
    """Such as the one of `broadcast`."""
    outcome = replace(OUTCOME, explanation={"axes": ({"axis": -1},)})
    answer = orjson.loads(b"".join(CODEC.answer(outcome, (b"{}",), Timings(), "id").chunks))
    assert answer["norm"] == {"axes": [{"axis": -1}]}


def test_an_object_with_many_keys_is_left_to_the_small_parser() -> None:
    """simdjson searches all keys for each of them."""
    keys = {f"k{number}": 1 for number in range(parsers.MAX_KEYS)}
    assert parsers.read_large(orjson.dumps(keys), ("a",)) == keys
    assert parsers.read_large(orjson.dumps(keys | {"one more": 1}), ("a",)) is None


GLANCED = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]%b}' + PADDING


@pytest.mark.parametrize(
    "fields", [b"", b', "dtype": "int64"', b', "output": "flat"', b', "deadline_ms": 1000']
)
def test_try_decode_and_decode_give_the_same_call(fields: bytes) -> None:
    """For a tiny body and for one of moderate length."""
    for body in (GLANCED % fields, (GLANCED % fields).strip()):
        found, expected = CODEC.try_decode(body, matmul, CONTEXT), decode(body)
        assert found is not None
        assert replace(found, operands=()) == replace(expected, operands=())
        for one, other in zip(found.operands, expected.operands, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GLANCED % b', "dtype": "int9"', id="wrong"),
        pytest.param(b'{"a": [1, 2' + PADDING, id="no JSON"),
        pytest.param(b"\xef\xbb\xbf" + GLANCED % b"", id="byte order mark"),
        pytest.param(b'{"a": [%b[1]], "b": [[1]]}' % (b"[1]," * GLANCE_ROWS), id="many rows"),
        pytest.param(b'{"a": 1, "b": 1, "x": [%b1]}' % (b"1," * GLANCE_ROWS), id="a long list"),
        pytest.param(b'{"a": "%b", "b": 1}' % (b"[" * GLANCE_ROWS), id="brackets in a word"),
        pytest.param(GLANCED % b"" + b" " * THREAD_TEXT_BYTES, id="long"),
    ],
)
def test_try_decode_leaves_slow_bodies_to_a_thread(body: bytes) -> None:
    """Wrong bodies, and those with many parts."""
    assert CODEC.try_decode(body, matmul, CONTEXT) is None
