"""Long text on the fast path: read while it arrives, and let go when that ends early."""

import asyncio
import json
from collections.abc import Callable
from threading import Event
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codecs import number_text
from service.codecs.arriving_text import ArrivingText
from service.codecs.base import THREAD_TEXT_BYTES
from service.codecs.json.codec import JsonCodec
from service.http.auth import key_hash
from service.pipeline.request import STREAMED_BYTES, PipelineRequest
from service.pipeline.service import WARMING
from service.server.fast_path import FastPathProtocol
from tests.rigs.connections import BODY, MemoryTransport, cut, essence, post, responses
from tests.rigs.laboratory import MAX_BODY, WAITING, Lab, laboratory
from tests.rigs.waiting import until

# A product of a matrix with three columns, longer than what is read only when it is whole.
ROWS: Final = STREAMED_BYTES // 20
LONG: Final = json.dumps(
    {"a": [[0.5, -1e-3, row] for row in range(ROWS)], "b": [[1.5], [2], [3]]}
).encode()
HALF: Final = len(LONG) // 2


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ends up to which bodies have been read while they arrived."""
    found: list[int] = []
    begin = JsonCodec.begin

    def begin_watched(self: JsonCodec, *arguments: Any) -> ArrivingText | None:
        reading = begin(self, *arguments)
        assert reading is not None
        feed = reading.feed

        def feed_watched(end: int) -> None:
            found.append(end)
            feed(end)

        reading.feed = feed_watched
        return reading

    monkeypatch.setattr(JsonCodec, "begin", begin_watched)
    return found


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[PipelineRequest]:
    """The requests whose bodies were begun to be read."""
    found: list[PipelineRequest] = []
    memory = PipelineRequest._memory

    def remember(self: PipelineRequest, size: int) -> bytearray:
        found.append(self)
        return memory(self, size)

    monkeypatch.setattr(PipelineRequest, "_memory", remember)
    return found


def assert_free(lab: Lab, buffer: bytearray) -> None:
    """Assert that nothing reads the buffer or counts it: a buffer in use cannot be cleared."""
    buffer.clear()
    assert lab.service.inflight.held == 0


async def test_a_body_is_read_while_it_arrives(lab: Lab, feeds: list[int]) -> None:
    """Each part that has arrived is read; the answer is that of a chunked body, read when whole."""
    size = 90_001
    _, (answer,) = await lab.exchange(*cut(post(LONG), size))
    assert len(feeds) >= len(LONG) // size
    assert feeds == sorted({*feeds})
    assert 0 < feeds[0] < size
    assert feeds[-1] == len(LONG)
    expected = [[0.75 - 2e-3 + 3 * row] for row in range(ROWS)]
    assert answer.json()["result"]["data"] == [[pytest.approx(row[0], 1e-6)] for row in expected]
    before = len(feeds)
    head = post(b"", content_length="", transfer_encoding="chunked")
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in cut(LONG, 300_000)]
    _, (chunked,) = await lab.exchange(head, *pieces, b"0\r\n\r\n")
    assert len(feeds) == before
    assert essence(answer) == essence(chunked)
    assert lab.service.inflight.held == 0


@settings(max_examples=12)
@given(
    sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=6).filter(lambda x: sum(x) > 5000)
)
async def test_a_body_in_any_pieces(whole: Lab, sizes: list[int]) -> None:
    """The answer is that of the body in one piece, and the connection goes on."""
    _, (expected,) = await whole.exchange(post(LONG))
    _, (found, after) = await whole.exchange(*cut(post(LONG) + post(), *sizes))
    assert essence(found) == essence(expected)
    assert after.status_code == 200


@pytest.mark.parametrize("pad", [0, 2**20], ids=["read in the server", "read by a worker"])
async def test_an_error_at_the_end_of_a_body(whole: Lab, pad: int) -> None:
    """It is worded as in a short body, wherever it is found."""
    short = BODY[:-3] + b'x]], "strategy": "torch"}'
    at = short.index(b"x")
    long = short[:-1] + b" " * (STREAMED_BYTES + pad) + b"}"
    _, (expected, found) = await whole.exchange(post(short), *cut(post(long), 70_000))
    problems = [each.json() for each in (expected, found)]
    assert [each.pop("instance") is None for each in problems] == [False, False]
    assert problems[0] == problems[1]
    assert (found.status_code, problems[1]["code"]) == (400, "malformed-json")
    assert f"(character {at})" in problems[1]["detail"]


def close(lab: Lab, transport: MemoryTransport) -> None:
    """The client leaves."""
    assert lab.server.connections
    protocol = transport.protocol
    assert isinstance(protocol, asyncio.BaseProtocol)
    protocol.connection_lost(ConnectionResetError())


def be_late(lab: Lab, _: MemoryTransport) -> None:
    """The rest of the body does not come in time."""
    (connection,) = lab.server.connections
    assert isinstance(connection, FastPathProtocol)
    connection.check(asyncio.get_running_loop().time() + 1e6)


@pytest.mark.parametrize("end", [close, be_late])
@pytest.mark.parametrize("received", [100_000, HALF, len(LONG) - 1])
async def test_a_body_that_ends_early(
    lab: Lab,
    begun: list[PipelineRequest],
    end: Callable[[Lab, MemoryTransport], None],
    received: int,
) -> None:
    """It is read no more, its memory is free, and its share of the bytes in flight."""
    _, transport = lab.connect()
    head = post(b"", content_length=str(len(LONG)))
    for piece in cut(head + LONG[:received], 50_000):
        transport.feed(piece)
    (request,) = begun
    buffer, reading = request.buffer, request.reading
    assert reading is not None
    assert buffer[:received] == LONG[:received]
    with pytest.raises(BufferError):
        buffer.clear()
    assert lab.service.inflight.held == len(LONG)
    end(lab, transport)
    await asyncio.sleep(0)
    assert_free(lab, buffer)
    with pytest.raises(ValueError, match="there is no text"):
        reading.feed(received)
    await lab.settle()
    assert [each.status_code for each in responses(transport.written)] == [408] * (end is be_late)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, int]] = {
    "401": ({"api_keys": key_hash(b"right")}, {}, "/matmul", 401),
    "404": ({}, {}, "/matmull", 404),
    "406": ({}, {"accept": "image/png"}, "/matmul", 406),
    "413": ({"max_body_bytes": len(LONG) - 1}, {}, "/matmul", 413),
    "415": ({}, {"content_type": "text/plain"}, "/matmul", 415),
    "503, bytes in flight": ({"max_inflight_bytes": MAX_BODY}, {}, "/matmul", 503),
    "503, warming": ({}, {}, "/matmul", 503),
    "503, draining": ({}, {}, "/matmul", 503),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_body_is_not_read(
    name: str, feeds: list[int], begun: list[PipelineRequest]
) -> None:
    """Refusals that are known before the body come then; no part of the body is read."""
    variables, headers, path, status = REFUSED[name]
    async with laboratory(**variables) as lab:
        others = lab.service.inflight.hold()
        if "in flight" in name:
            others.grow(MAX_BODY - len(LONG) + 1)
        if "warming" in name:
            lab.service.state = WARMING
        elif "draining" in name:
            lab.service.drain()
        text = post(LONG, path, **headers)
        transport, (answer,) = await lab.exchange(text[:300_000])
        assert answer.status_code == status
        transport.feed(text[300_000:])
        await lab.settle()
        assert len(responses(transport.written)) == 1
        assert feeds == []
        others.release()
        for request in begun:
            assert request.reading is None
            assert_free(lab, request.buffer)
        assert lab.service.inflight.held == 0


async def test_a_body_that_is_refused_when_it_is_whole(
    lab: Lab, begun: list[PipelineRequest]
) -> None:
    """A query string with a key twice: what was read is dropped."""
    path = "/matmul?strategy=torch&strategy=torch"
    _, (answer, after) = await lab.exchange(*cut(post(LONG, path), 100_000), post())
    assert (answer.status_code, after.status_code) == (400, 200)
    assert_free(lab, begun[0].buffer)


async def test_a_body_that_finds_no_thread(begun: list[PipelineRequest]) -> None:
    """It is dropped without being decoded."""
    async with laboratory(slots=1, queue=0) as lab:
        protocol, _ = lab.connect()
        protocol.data_received(post(WAITING))
        await lab.gate.wait()
        other, transport = lab.connect()
        for piece in cut(post(LONG), 100_000):
            transport.feed(piece)
        buffer = begun[-1].buffer
        assert len(buffer) == len(LONG)
        await until(lambda: transport.written)
        (answer,) = responses(transport.written)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        buffer.clear()
        assert lab.service.inflight.held == len(WAITING)
        assert not other.has_ended()


@pytest.mark.parametrize("leaves", [False, True])
async def test_the_call_ends_while_its_body_is_decoded(
    monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """At its deadline, or as its client leaves: its bytes count no more, and others are served."""
    entered, go_on = Event(), Event()
    decode = ArrivingText.decode

    def wait(self: ArrivingText, *arguments: Any) -> Any:
        entered.set()
        go_on.wait(10)
        return decode(self, *arguments)

    async with laboratory(deadline_ms=30_000 if leaves else 100) as lab:
        monkeypatch.setattr(ArrivingText, "decode", wait)
        protocol, transport = lab.connect()
        try:
            for piece in cut(post(LONG), 100_000):
                transport.feed(piece)
            assert await asyncio.to_thread(entered.wait, 10)
            if leaves:
                transport.close()
            await lab.settle()
            assert lab.service.inflight.held == 0
            assert lab.service.threads.active_calls == 1
            codes = [each.json()["code"] for each in responses(transport.written)]
            assert codes == ([] if leaves else ["deadline-exceeded"])
        finally:
            go_on.set()
        await until(lambda: not lab.service.threads.active_calls)
        _, (answer,) = await lab.exchange(post(LONG))
        assert answer.status_code == 200
        assert protocol.has_ended() == leaves


async def test_a_body_arrives_while_the_service_drains(lab: Lab) -> None:
    """A request that had begun is served, by the last answer of its connection."""
    protocol, transport = lab.connect()
    pieces = [*cut(post(LONG), 100_000)]
    transport.feed(pieces[0])
    lab.service.drain()
    protocol.shutdown()
    for piece in pieces[1:]:
        transport.feed(piece)
    await lab.settle()
    (answer,) = responses(transport.written)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert len(answer.json()["result"]["data"]) == ROWS


async def test_without_compiled_code(whole: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long bodies have the same answers, slower: those over a megabyte by a worker process."""
    assert len(LONG) > THREAD_TEXT_BYTES
    _, expected = await whole.exchange(post(LONG))
    monkeypatch.setattr(number_text, "compiled", None)
    _, found = await whole.exchange(*cut(post(LONG), 100_000))
    assert [*map(essence, found)] == [*map(essence, expected)]
    executors = [each.json()["timing"]["executor"] for each in (*expected, *found)]
    assert executors == ["thread", "process"]
