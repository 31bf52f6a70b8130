"""The JSON codec: requests to calls, whole or while they arrive, and responses."""

from dataclasses import replace

import orjson
import pytest
import torch

from service.codecs.json import codec, plain
from service.codecs.json.codec import INLINE_COMMAS, SHORT_BYTES
from service.core.call import Outcome
from service.core.response import JOINED_BYTES
from service.core.timing import PHASES
from service.errors import DuplicateKeyError
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from tests.unit.codecs.encoding import stopwatch_of
from tests.unit.codecs.json.decoding import (
    CODEC,
    CONTEXT,
    PADDING,
    bits,
    decode,
    decode_error,
    without_compiled_code,
)

LISTED = replace(norm, operands=None)

BODY = b'{"a": [[1]], "b": [[2]]}'


@pytest.mark.parametrize("text", [BODY, BODY[:-1], b"\xef\xbb\xbf" + BODY, b"[1]"])
def test_a_view_is_read_as_bytes_are(text: bytes) -> None:
    """A worker decodes a body in shared memory; errors are the same."""
    body = text + PADDING
    if text == BODY:
        assert [x.tolist() for x in decode(memoryview(body)).operands] == [[[1.0]], [[2.0]]]
    else:
        assert decode_error(memoryview(body)).detail == decode_error(body).detail


def test_long_words_are_not_cached() -> None:
    """Fields are cached only if their names and values are short."""
    word = "x" * SHORT_BYTES
    before = plain._fields.cache_info().misses
    for field in (f'"{word}": 1', f'"strategy": "{word}"'):
        decode_error(f'{{"a": [[1]], "b": [[1]], {field}}}')
    assert plain._fields.cache_info().misses == before
    numbers = ", ".join(["1"] * SHORT_BYTES)
    decode(f'{{"a": [[{numbers}]], "b": [[1]], "deadline_ms": 789}}')
    assert plain._fields.cache_info().misses == before + 1


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


@pytest.mark.parametrize("padding", [b"", PADDING], ids=["small", "large"])
def test_fields_of_the_query_string_are_joined(padding: bytes) -> None:
    """The call is that of a body with all fields; a field in both places is refused."""
    body = b'{"a": [[1]], "b": [[2]], "dtype": "int8"}' + padding
    call = CODEC.decode(body, matmul, CONTEXT, {"strategy": "loops", "deadline_ms": "7"})
    assert (call.strategy, call.deadline_ms) == ("loops", 7)
    assert {x.dtype for x in call.operands} == {torch.int8}
    call = CODEC.decode(body, matmul, CONTEXT, {"dtype": "null"})
    assert {x.dtype for x in call.operands} == {torch.int8}
    with pytest.raises(DuplicateKeyError, match="'dtype' stands in the body and in the query"):
        CODEC.decode(body, matmul, CONTEXT, {"strategy": "loops", "dtype": "int8"})


OUTCOME = Outcome("norm", torch.tensor([1.5, 2.0]), "torch", "cpu", 2, True, ("careful",))


def test_an_answer_holds_the_payload_and_the_envelope() -> None:
    """The fields are those of the contract, in that order."""
    watch = stopwatch_of(1500)
    response = CODEC.encode(OUTCOME, "nested", watch, "id-1")
    (text,) = response.chunks
    answer = orjson.loads(text)
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
    phases = {f"{name}_ms": ns / 1e6 for name, ns in zip(PHASES, watch.phases, strict=True)}
    assert phases["compute_ms"] == 0.0015
    total = {"total_ms": sum(watch.phases) / 1e6}
    rest = {"threads": 2, "warm": True, "executor": "inline"}
    assert answer["timing"] == phases | total | rest
    headers = dict(response.headers)
    assert headers.keys() == {b"content-type", b"content-length", b"server-timing"}
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(text)).encode()
    assert b"compute;dur=0.0015," in headers[b"server-timing"]


def test_a_long_answer_is_not_joined() -> None:
    """Joining it would cost a copy; the chunks are those of the text."""
    outcome = replace(OUTCOME, result=torch.ones(JOINED_BYTES))
    response = CODEC.encode(outcome, "nested", stopwatch_of(), "id")
    assert len(response.chunks) > 1
    text = b"".join(response.chunks)
    assert dict(response.headers)[b"content-length"] == str(len(text)).encode()
    assert orjson.loads(text)["result"]["data"] == [1.0] * JOINED_BYTES


def test_an_explanation_stands_under_the_name_of_the_operation() -> None:
    """Such as the one of `broadcast`."""
    outcome = replace(OUTCOME, explanation={"axes": ({"axis": -1},)})
    response = CODEC.encode(outcome, "nested", stopwatch_of(), "id")
    answer = orjson.loads(b"".join(response.chunks))
    assert answer["norm"] == {"axes": [{"axis": -1}]}


MODERATE = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]%b}' + PADDING


@pytest.mark.parametrize(
    "fields", [b"", b', "dtype": "int64"', b', "output": "flat"', b', "deadline_ms": 1000']
)
def test_try_decode_and_decode_give_the_same_call(fields: bytes) -> None:
    """For a tiny body and for one of moderate length."""
    for body in (MODERATE % fields, (MODERATE % fields).strip()):
        found, expected = CODEC.try_decode(body, matmul, CONTEXT), decode(body)
        assert found is not None
        assert replace(found, operands=()) == replace(expected, operands=())
        for one, other in zip(found.operands, expected.operands, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(MODERATE % b', "dtype": "int9"', id="wrong"),
        pytest.param(b'{"a": [1, 2' + PADDING, id="no JSON"),
        pytest.param(b"\xef\xbb\xbf" + MODERATE % b"", id="byte order mark"),
        pytest.param(MODERATE % b', "output": "nes\\u0074ed"', id="an escape"),
        pytest.param(b'{"a": [[1.0000000596046448]], "b": [[1]]}' + PADDING, id="a tie"),
        pytest.param(b'{"a": [["NaN"]], "b": [[1]]}' + PADDING, id="a word in an array"),
        pytest.param(b'{"a": "%b", "b": 1}' % (b"[" * SHORT_BYTES), id="brackets in a word"),
    ],
)
def test_try_decode_leaves_slow_bodies_to_a_thread(body: bytes) -> None:
    """Wrong bodies, and those that are read as a whole."""
    assert CODEC.try_decode(body, matmul, CONTEXT) is None


@pytest.mark.parametrize(("commas", "is_read"), [(INLINE_COMMAS, True), (INLINE_COMMAS + 1, False)])
def test_many_values_beside_arrays_are_left_to_a_thread(
    monkeypatch: pytest.MonkeyPatch, commas: int, is_read: bool
) -> None:
    """Each is looked at by itself; those in arrays are not."""
    read: list[object] = []
    monkeypatch.setattr(codec, "_extracted_call", lambda *arguments: read.append(arguments))
    numbers = b",".join([b"1"] * (INLINE_COMMAS + 2))
    body = b'{"a": [%b], "b": [[1]], "x": [%b1]}' % (numbers, b"1," * (commas - 2))
    assert CODEC.try_decode(body, matmul, CONTEXT) is None
    assert bool(read) == is_read


def test_without_compiled_code_longer_bodies_are_left_to_a_thread() -> None:
    """Short ones are decoded at once."""
    body = b'{"a": [[1]], "b": [[2]]}'
    with without_compiled_code():
        assert CODEC.try_decode(body.ljust(SHORT_BYTES), matmul, CONTEXT) is not None
        assert CODEC.try_decode(body.ljust(SHORT_BYTES + 1), matmul, CONTEXT) is None
    assert CODEC.try_decode(body.ljust(SHORT_BYTES + 1), matmul, CONTEXT) is not None


@pytest.mark.parametrize(
    ("body", "query"),
    [
        pytest.param(b'{"a": [[1, 2.5]], "b": [[3], [4]]}', {}, id="plain"),
        pytest.param(b'{"a": [[1, 2.5]], "b": [[3], [4]]}', {"dtype": "float64"}, id="query"),
        pytest.param(b'{"a": [[1, 2.5]], "b": [[3], ["NaN"]]}', {}, id="words"),
        pytest.param(b'{"a": [[1.0000000596046448]], "b": [[1]]}', {}, id="a tie"),
    ],
)
def test_a_body_is_read_while_it_arrives(body: bytes, query: dict[str, str]) -> None:
    """Nothing is read before it has arrived; the call is that of the whole body."""
    buffer = bytearray(len(body))
    reading = CODEC.begin(buffer, matmul, CONTEXT)
    assert reading is not None
    for end in range(1, len(body) + 1):
        buffer[end - 1] = body[end - 1]
        reading.feed(end)
    found, expected = reading.decode(CONTEXT, query), CODEC.decode(body, matmul, CONTEXT, query)
    assert replace(found, operands=()) == replace(expected, operands=())
    for one, other in zip(found.operands, expected.operands, strict=True):
        assert bits(one) == bits(other)


def test_a_reading_that_is_stopped_lets_go_of_the_buffer() -> None:
    """Which cannot be resized while it is read."""
    buffer = bytearray(b'{"a": [[1, 2')
    reading = CODEC.begin(buffer, matmul, CONTEXT)
    assert reading is not None
    reading.feed(4)
    with pytest.raises(BufferError):
        buffer.append(0)
    reading.stop()
    buffer.append(0)


def test_without_compiled_code_a_body_is_read_when_it_is_whole() -> None:
    """There is nothing to feed."""
    with without_compiled_code():
        assert CODEC.begin(bytearray(10), matmul, CONTEXT) is None
