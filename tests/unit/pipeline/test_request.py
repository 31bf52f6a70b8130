"""Requests of any kind: their ids, the memory of their bodies, and their deadlines."""

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter_ns

import pytest
import torch

from service.codecs import READERS, number_text
from service.codecs.base import SlowTextError
from service.core.call import Call
from service.core.timing import DECODE, Stopwatch
from service.errors import (
    BodyTooLargeError,
    DrainingError,
    InvalidElementError,
    OutOfMemoryError,
    OverloadedError,
    WarmingUpError,
)
from service.pipeline import request as module
from service.pipeline.operation import OperationEndpoint, OperationRequest
from service.pipeline.request import STREAMED_BYTES, request_id_of
from service.pipeline.service import COUNTED_BYTES, DRAINING, TRIM_BYTES, WARMING, Service
from tests.rigs.request_bodies import JSON, SAFETENSORS


def begin(service: Service, length: int = 0, **headers: str) -> OperationRequest:
    """Return a request of a product, with these headers."""
    raw = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    endpoint = OperationEndpoint(service, service.engine.registry["matmul"])
    return endpoint.negotiate(raw).begin("mine", length)


@pytest.mark.parametrize("given", [b"a", b"A.b_c-9", b"x" * 64])
def test_the_id_of_the_client(given: bytes) -> None:
    """An id of letters, digits and a few signs is repeated."""
    assert request_id_of(given) == given.decode()


@pytest.mark.parametrize("given", [None, b"", b"x" * 65, b"a b", b"a\n", b"\xe9"])
def test_an_id_of_the_service(given: bytes | None) -> None:
    """Without a valid id, each request gets one that no other has."""
    found = [request_id_of(given) for _ in range(1000)]
    assert len({*found}) == 1000
    assert all(len(each) == 32 and int(each, 16) for each in found)


@pytest.mark.parametrize(("phase", "error"), [(WARMING, WarmingUpError), (DRAINING, DrainingError)])
def test_no_request_begins_unless_calls_are_taken(
    service: Service, phase: str, error: type[Exception]
) -> None:
    """The error says whether the service starts or ends."""
    service.state = phase  # type: ignore[assignment]  # one of its literals
    with pytest.raises(error):
        begin(service)


def test_bytes_in_flight(service: Service) -> None:
    """Large bodies are counted until they are released, and chunks as they come."""
    small = begin(service, COUNTED_BYTES)
    assert (len(small.buffer), service.inflight.held) == (COUNTED_BYTES, 0)
    large = begin(service, COUNTED_BYTES + 1)
    assert (len(large.buffer), service.inflight.held) == (COUNTED_BYTES + 1, COUNTED_BYTES + 1)
    for size in (10, COUNTED_BYTES, 100_000, 200_000):
        small.count(size, "more was sent")
    assert service.inflight.held == 200_000 + COUNTED_BYTES + 1
    with pytest.raises(OverloadedError):
        begin(service, 2**24)
    for each in (small, large, large):
        each.release()
    assert service.inflight.held == 0


def test_large_bodies_are_followed_by_a_trim(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered, refused or left: their memory is returned. Small ones leave too little behind."""
    trims: list[None] = []
    monkeypatch.setattr(Service, "trim_memory_later", lambda _: trims.append(None))
    begin(service, TRIM_BYTES).release()
    assert not trims
    begin(service, TRIM_BYTES + 1).release()
    assert len(trims) == 1
    chunks = begin(service)
    chunks.count(TRIM_BYTES + 1, "more was sent")
    with pytest.raises(BodyTooLargeError):
        chunks.count(2**40, "more was sent")
    assert len(trims) == 2


def test_a_body_over_the_limit(service: Service) -> None:
    """The error states the limit and what was found, and nothing is held any more."""
    service.settings = service.settings.model_copy(update={"max_body_bytes": 100_000})
    with pytest.raises(BodyTooLargeError) as caught:
        begin(service, 100_001)
    limit = "the body may have 100000 bytes (SERVICE_MAX_BODY_BYTES); "
    assert caught.value.detail == f"{limit}Content-Length is 100001"
    request = begin(service, 90_000)
    with pytest.raises(BodyTooLargeError) as caught:
        request.count(100_001, "more was sent")
    assert caught.value.detail == f"{limit}more was sent"
    assert service.inflight.held == 0


def test_a_refused_body_takes_no_memory(service: Service) -> None:
    """Its length is compared before there is a buffer."""
    size = service.settings.max_body_bytes + 1
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            begin(service, size)
        assert tracemalloc.get_traced_memory()[1] < size / 10
    finally:
        tracemalloc.stop()


def text_of(length: int, **fields: object) -> bytes:
    """Return a body of this length: a product of a matrix with three columns."""
    fields = {"a": [[0.5, 1, -2e-3]] * (length // 20), "b": [[1.0]] * 3} | fields
    return json.dumps(fields).encode().ljust(length)


@pytest.mark.parametrize(
    ("length", "headers", "reads"),
    [
        (STREAMED_BYTES - 1, {}, False),
        (STREAMED_BYTES, {}, True),
        (STREAMED_BYTES, {"content_encoding": "gzip"}, False),
        (STREAMED_BYTES, {"content_type": SAFETENSORS}, False),
    ],
)
def test_long_text_is_read_while_it_arrives(
    service: Service, length: int, headers: dict[str, str], reads: bool
) -> None:
    """Shorter text, compressed text and bytes of tensors are read when they are whole."""
    request = begin(service, length, **headers)
    assert (request.reading is not None) == reads
    request.release()


@pytest.mark.parametrize(
    "ends", [(), (1,), (100_000, 100_001, 1_200_000), range(0, 1_400_000, 14_001)]
)
async def test_what_was_read_is_the_call(service: Service, ends: Sequence[int]) -> None:
    """The call is that of the whole text, wherever it was cut; the text is read once."""
    text = text_of(1_400_000)
    request = begin(service, len(text))
    reading = request.reading
    assert reading is not None
    before = 0
    for end in ends:
        request.buffer[before:end] = text[before:end]
        reading.feed(end)
        before = end
    request.buffer[before:] = text[before:]
    request.start(request.buffer, b"")
    request.prepare()
    assert request.reading is None
    assert request.call is not None
    expected = READERS[JSON].decode(text, request.negotiated.op, service.context)
    assert request.call.operands[0].shape == (len(text) // 20, 3)
    for found, each in zip(request.call.operands, expected.operands, strict=True):
        assert torch.equal(found, each)
    with pytest.raises(ValueError, match="it is over"):
        reading.decode(service.context)
    request.release()


@pytest.mark.parametrize("decoded", [True, False])
async def test_a_released_request_reads_no_more(service: Service, decoded: bool) -> None:
    """Its buffer is no longer held: a bytearray that is held cannot change its length."""
    text = text_of(STREAMED_BYTES)
    request = begin(service, len(text))
    buffer, reading = request.buffer, request.reading
    assert reading is not None
    buffer[:] = text
    reading.feed(len(text) - 1)
    with pytest.raises(BufferError):
        buffer.clear()
    if decoded:
        request.start(buffer, b"")
        request.decode()
    else:
        request.release()
        request.release()
        with pytest.raises(ValueError, match="there is no text"):
            reading.feed(len(text))
    buffer.clear()
    assert request.reading is None
    request.release()
    assert service.inflight.held == 0


def test_without_compiled_code_text_is_read_when_whole(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is the same."""
    text = text_of(STREAMED_BYTES)
    expected = READERS[JSON].decode(text, service.engine.registry["matmul"], service.context)
    monkeypatch.setattr(number_text, "compiled", None)
    request = begin(service, len(text))
    assert request.reading is None
    request.buffer[:] = text
    request.start(request.buffer, b"")
    assert torch.equal(request.decode().operands[0], expected.operands[0])
    request.release()


def test_slow_text_is_read_here_only_for_stored_arrays(service: Service) -> None:
    """A worker that dies could store its result twice, and would read operands again."""
    service.context = replace(service.context, max_slow_bytes=2**20)
    text = text_of(2**20 + 1, b=[["1", 1, 1]])
    for may_wait, error in ((False, SlowTextError), (True, InvalidElementError)):
        request = begin(service, len(text))
        request.buffer[:] = text
        request.start(request.buffer, b"")
        request.may_wait = may_wait
        with pytest.raises(error):
            request.prepare()
        request.release()


def test_no_memory_for_a_body(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error states its size, and its share of the bytes in flight is given back."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "bytearray", fail, raising=False)
    with pytest.raises(OutOfMemoryError, match="there is no memory for a body of 2097152 bytes"):
        begin(service, 2**21)
    assert service.inflight.held == 0


def test_the_rest_of_a_deadline(service: Service) -> None:
    """It is that of the call or of the server, less the time until the last mark."""
    request = begin(service)
    request.start(b"", b"")
    deadline_ms = service.settings.deadline_ms
    assert request.left_ms == deadline_ms
    now = perf_counter_ns()
    request.watch = Stopwatch([(DECODE, now), (DECODE, now + 300_000_000)])
    assert request.left_ms == deadline_ms - 300
    operands = (torch.eye(2), torch.eye(2))
    for stated, left in ((1000, 700), (301, 1), (100, 1)):
        request.call = Call("matmul", operands, {}, deadline_ms=stated)
        assert request.left_ms == left
