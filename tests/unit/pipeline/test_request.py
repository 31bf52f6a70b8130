"""Requests of operations: their ids, the memory of their bodies, and short calls."""

import json
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.codecs.media_types import JSON
from service.codecs.stored_arrays import ArrayFolder
from service.core.dtypes import DTYPES
from service.core.response import HttpResponse
from service.errors import (
    BodyTooLargeError,
    DrainingError,
    DuplicateKeyError,
    MissingFieldError,
    OutOfMemoryError,
    OverloadedError,
    WarmingUpError,
)
from service.executors import SharedPool
from service.pipeline.request import (
    COUNTED_BYTES,
    SHARED_BYTES,
    OperationEndpoint,
    OperationRequest,
    request_id_of,
)
from service.pipeline.service import DRAINING, WARMING, Service
from tests.rigs.request_bodies import NPY, SAFETENSORS

BODY = bytearray(b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}')
PRODUCT = [[19.0, 22.0], [43.0, 50.0]]


def begin(service: Service, length: int = 0, **headers: str) -> OperationRequest:
    """Return a request of a product, with these headers."""
    raw = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    endpoint = OperationEndpoint(service, service.engine.registry["matmul"])
    return endpoint.negotiate(raw).begin("mine", length)


def at_once(response: HttpResponse | Awaitable[HttpResponse]) -> HttpResponse:
    """Return a response that need not be awaited."""
    assert isinstance(response, HttpResponse)
    return response


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
    service.phase = phase  # type: ignore[assignment]  # one of its literals
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


def test_text_for_a_worker_is_received_in_the_pool(service: Service) -> None:
    """Bytes of tensors, and shorter text, are decoded here and get memory of their own."""
    request = begin(service, SHARED_BYTES + 1)
    assert isinstance(request.buffer, memoryview)
    assert len(request.buffer) == SHARED_BYTES + 1
    assert not is_free(service.pool)
    for _ in range(2):
        request.release()
        assert is_free(service.pool)
    for others in (
        begin(service, SHARED_BYTES - 1, content_encoding="gzip"),
        begin(service, SHARED_BYTES),
        begin(service, 2**22, content_type=SAFETENSORS),
    ):
        assert isinstance(others.buffer, bytearray)
        others.release()


def test_a_full_pool(service: Service) -> None:
    """Without a free block a body gets memory of its own."""
    assert service.pool is not None
    block = service.pool.take(2**24)
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


def test_a_short_call(service: Service) -> None:
    """It is answered at once, in this thread, and its phases are known."""
    request = begin(service)
    response = at_once(request.respond(BODY, b"strategy=dot"))
    answer = json.loads(b"".join(response.chunks))
    assert (response.status, answer["result"]["data"]) == (200, PRODUCT)
    assert (answer["strategy"], answer["request_id"]) == ("dot", "mine")
    assert (request.strategy, request.executor) == ("dot", "inline")
    assert sum(request.watch.phases) > 0


def test_a_key_that_is_twice_in_the_query(service: Service) -> None:
    """The error is raised before the body is read; the stopwatch has been started."""
    request = begin(service)
    with pytest.raises(DuplicateKeyError):
        request.respond(bytearray(b"["), b"strategy=dot&strategy=dot")
    assert request.watch.elapsed_ms == 0


@pytest.mark.parametrize(("dtype", "media_type"), [("float32", NPY), ("bfloat16", JSON)])
def test_the_format_follows_the_dtype(service: Service, dtype: str, media_type: str) -> None:
    """The first accepted format that can hold the result is written."""
    service.engine.measure(service.engine.registry["matmul"], DTYPES[dtype].torch)
    request = begin(service, accept=f"{NPY}, {JSON};q=0.5")
    response = at_once(request.respond(BODY[:-1] + b', "dtype": "%b"}' % dtype.encode(), b""))
    assert dict(response.headers)[b"content-type"] == media_type.encode()


async def test_a_long_call(service: Service) -> None:
    """It is awaited, and computed on a thread; the text of its body is no longer held."""
    request = begin(service)
    side = np.ones((24, 24)).tolist()
    coming = request.respond(
        bytearray(json.dumps({"a": side, "b": side, "strategy": "loops"}).encode()), b""
    )
    assert not isinstance(coming, HttpResponse)
    response = await coming
    answer = json.loads(b"".join(response.chunks))
    assert answer["result"]["data"] == [[24.0] * 24] * 24
    assert answer["timing"]["executor"] == request.executor == "thread"
    assert (len(request.body), len(request.buffer)) == (0, 0)


async def test_a_dtype_that_has_not_been_measured(service: Service) -> None:
    """The first call waits for a thread, which measures; the next one is answered at once."""
    service.engine._measured.discard(("matmul", DTYPES["int16"].torch))
    body = BODY[:-1] + b', "dtype": "int16", "strategy": "torch", "device": "cpu"}'
    coming = begin(service).respond(body, b"")
    assert not isinstance(coming, HttpResponse)
    answer = json.loads(b"".join((await coming).chunks))
    assert (answer["result"]["data"], answer["timing"]["executor"]) == (PRODUCT, "thread")
    at_once(begin(service).respond(body, b""))


@pytest.mark.parametrize(
    "body", [BODY + b" " * 2**20, b'{"a": {"ref": "a.npy"}, "b": [[5, 6], [7, 8]]}'], ids=len
)
async def test_what_takes_time_to_decode(service: Service, tmp_path: Path, body: bytes) -> None:
    """Long text, and arrays in files, are decoded on a thread if there is no worker process."""
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 4]], np.float32))
    service.context = replace(service.context, arrays=ArrayFolder(tmp_path))
    request = begin(service)
    coming = request.respond(bytearray(body), b"")
    assert not isinstance(coming, HttpResponse)
    assert request.may_wait == (b"ref" in body)
    answer = json.loads(b"".join((await coming).chunks))
    assert (answer["result"]["data"], answer["timing"]["executor"]) == (PRODUCT, "thread")


async def test_an_error_in_a_large_body(service: Service) -> None:
    """It is found by a thread; that of a small body is raised at once."""
    body = bytearray(b'{"a": [[1, 2]]}')
    with pytest.raises(MissingFieldError):
        begin(service).respond(body, b"")
    coming = begin(service).respond(body + b" " * 70_000, b"")
    assert not isinstance(coming, HttpResponse)
    with pytest.raises(MissingFieldError):
        await coming
