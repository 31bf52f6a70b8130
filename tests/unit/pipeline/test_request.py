"""Requests of any kind: their ids, the memory of their bodies, and their deadlines."""

import tracemalloc
from time import perf_counter_ns

import pytest
import torch

from service.core.call import Call
from service.core.timing import DECODE, Stopwatch
from service.errors import (
    BodyTooLargeError,
    DrainingError,
    OutOfMemoryError,
    OverloadedError,
    WarmingUpError,
)
from service.executors import SharedPool
from service.pipeline.operation import OperationEndpoint, OperationRequest
from service.pipeline.request import SHARED_BYTES, request_id_of
from service.pipeline.service import COUNTED_BYTES, DRAINING, TRIM_BYTES, WARMING, Service
from tests.rigs.request_bodies import SAFETENSORS


def begin(service: Service, length: int = 0, **headers: str) -> OperationRequest:
    """Return a request of a product, with these headers."""
    raw = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    endpoint = OperationEndpoint(service, service.engine.registry["matmul"])
    return endpoint.negotiate(raw).begin("mine", length)


def is_free(pool: SharedPool | None) -> bool:
    """Return whether no block of the pool is in use."""
    assert pool is not None
    block = pool.take(2**24)
    if block is not None:
        block.release()
    return block is not None


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


async def test_text_for_a_worker_is_received_in_the_pool(service: Service) -> None:
    """Bytes of tensors, and shorter text, are decoded here and get memory of their own."""
    request = begin(service, SHARED_BYTES + 1)
    assert isinstance(request.buffer, memoryview)
    assert len(request.buffer) == SHARED_BYTES + 1
    assert not is_free(service.body_memory)
    for _ in range(2):
        request.release()
        assert is_free(service.body_memory)
    for others in (
        begin(service, SHARED_BYTES - 1, content_encoding="gzip"),
        begin(service, SHARED_BYTES),
        begin(service, 2**22, content_type=SAFETENSORS),
    ):
        assert isinstance(others.buffer, bytearray)
        others.release()


def test_a_full_pool(service: Service) -> None:
    """Without a free block a body gets memory of its own."""
    assert service.body_memory is not None
    block = service.body_memory.take(2**24)
    assert block is not None
    request = begin(service, 2**21)
    assert isinstance(request.buffer, bytearray)
    block.release()
    request.release()


def test_no_memory_for_a_body(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error states its size, and its share of the bytes in flight is given back."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(SharedPool, "take", fail)
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
