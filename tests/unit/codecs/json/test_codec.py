"""The JSON codec: requests to calls with either parser, and responses."""

from dataclasses import replace

import orjson
import pytest
import torch

from service.codecs.base import THREAD_TEXT_BYTES
from service.codecs.json import plain
from service.codecs.json.codec import INLINE_ROWS
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
    decode,
    decode_error,
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
    decode('{"a": [[1]], "b": [[1]], "deadline_ms": 789}' + " " * SHORT_BYTES)
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
        pytest.param(b'{"a": [%b[1]], "b": [[1]]}' % (b"[1]," * INLINE_ROWS), id="many rows"),
        pytest.param(b'{"a": 1, "b": 1, "x": [%b1]}' % (b"1," * INLINE_ROWS), id="a long list"),
        pytest.param(b'{"a": "%b", "b": 1}' % (b"[" * INLINE_ROWS), id="brackets in a word"),
        pytest.param(MODERATE % b"" + b" " * THREAD_TEXT_BYTES, id="long"),
    ],
)
def test_try_decode_leaves_slow_bodies_to_a_thread(body: bytes) -> None:
    """Wrong bodies, and those with many parts."""
    assert CODEC.try_decode(body, matmul, CONTEXT) is None
