"""ASGI: bodies are counted before they are kept, and clients that leave end their requests."""

import asyncio
from collections.abc import Iterable

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.api.asgi import read_body, scope_error_response, unless_disconnected
from service.errors import (
    BodyTooLargeError,
    InternalError,
    MalformedJsonError,
    OutOfMemoryError,
    OverloadedError,
)
from service.pipeline.operation import OperationEndpoint
from service.pipeline.request import PipelineRequest
from tests.rigs.laboratory import Lab, laboratory

CHUNKS = (b'{"a": ', b"[1]", b"}")
GONE: Message = {"type": "http.disconnect"}


def request_of(lab: Lab) -> PipelineRequest:
    """Return a request that has not been received."""
    op = lab.service.engine.registry["matmul"]
    return OperationEndpoint(lab.service, op).negotiate({}).begin("r-1")


def receiving(messages: Iterable[Message]) -> Receive:
    """Return a function that receives these messages."""
    rest = iter(messages)

    async def receive() -> Message:
        return next(rest)

    return receive


def parts(*chunks: bytes) -> list[Message]:
    """Return the messages of a body in these chunks."""
    return [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]


@pytest.mark.parametrize("length", [None, b"", b"10", b"3", b"many"])
async def test_a_body_is_read_in_one_buffer(length: bytes | None) -> None:
    """Its stated length may be absent, right, too small or no number."""
    headers = {} if length is None else {b"content-length": length}
    async with laboratory() as lab:
        body = await read_body(headers, receiving(parts(*CHUNKS)), request_of(lab))
    assert body == b"".join(CHUNKS)


async def test_a_body_shorter_than_stated_is_malformed() -> None:
    """The error has both lengths."""
    async with laboratory() as lab:
        with pytest.raises(MalformedJsonError, match="after 10 of 11 bytes"):
            await read_body({b"content-length": b"11"}, receiving(parts(*CHUNKS)), request_of(lab))


async def test_a_body_over_its_limit_is_not_kept() -> None:
    """The stated length counts at once, other bytes as they are received."""
    async with laboratory() as lab:
        size = lab.service.settings.max_body_bytes
        with pytest.raises(BodyTooLargeError, match=f"Content-Length is {size + 1}"):
            await read_body({b"content-length": b"%d" % (size + 1)}, receiving([]), request_of(lab))
        with pytest.raises(BodyTooLargeError, match="more was sent"):
            await read_body({}, receiving(parts(bytes(size), b" ", b" ")), request_of(lab))
        assert lab.service.inflight.held == 0


async def test_a_body_without_memory_for_it() -> None:
    """It is refused before its first byte is received."""
    huge = 2**61
    async with laboratory(max_body_bytes=2 * huge, max_inflight_bytes=2 * huge) as lab:
        request = request_of(lab)
        with pytest.raises(OutOfMemoryError, match=f"a body of {huge} bytes"):
            await read_body({b"content-length": b"%d" % huge}, receiving([]), request)
        request.release()
        assert lab.service.inflight.held == 0


async def test_a_client_that_leaves_within_its_body() -> None:
    """ClientDisconnect is raised."""
    async with laboratory() as lab:
        messages = [*parts(*CHUNKS)[:1], GONE]
        with pytest.raises(ClientDisconnect):
            await read_body({}, receiving(messages), request_of(lab))


async def test_a_result_comes_before_the_client_leaves() -> None:
    """The result is returned, and nothing is received any more."""
    received = asyncio.Event()

    async def receive() -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            received.set()
        return GONE

    async def compute() -> int:
        await asyncio.sleep(0)
        return 7

    assert await unless_disconnected(compute(), receive) == 7
    await asyncio.wait_for(received.wait(), 10)


async def test_a_client_leaves_before_the_result() -> None:
    """The computation is cancelled."""
    cancelled = asyncio.Event()

    async def compute() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientDisconnect):
        await unless_disconnected(compute(), receiving([GONE]))
    await asyncio.wait_for(cancelled.wait(), 10)


@pytest.mark.parametrize("error", [OverloadedError("busy"), InternalError("failed")])
async def test_errors_of_the_service_are_no_pages(error: Exception) -> None:
    """A browser, too, gets the document: pages may be what fails."""
    state, headers = {"request_id": "r-1"}, [(b"accept", b"text/html")]
    scope = {"method": "GET", "path": "/guide", "headers": headers, "state": state}
    response = await scope_error_response(error, scope)
    assert (b"content-type", b"application/problem+json") in response.headers
