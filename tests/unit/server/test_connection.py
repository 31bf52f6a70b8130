"""Limits of connections: exceeding one ends that connection and no other."""

import asyncio

import pytest

from service.server.connection import Connection, ConnectionLimits, ConnectionMonitor, DefaultLines
from tests.rigs.connections import BODY, MemoryTransport, post, responses
from tests.rigs.laboratory import WAITING, laboratory
from tests.rigs.waiting import until

# Long enough that the ticks of the monitor itself end no connection during a test.
HEAD_S, REQUEST_S, WRITE_S, IDLE_S = 100.0, 200.0, 300.0, 400.0
TIMES = {"head_s": HEAD_S, "request_s": REQUEST_S, "write_s": WRITE_S, "idle_s": IDLE_S}


def later(seconds: float) -> float:
    """Return the time of the event loop in so many seconds, and a second more."""
    return asyncio.get_running_loop().time() + seconds + 1


def code_of(transport: MemoryTransport) -> str:
    """Return the code of the one problem that was sent before the connection closed."""
    (answer,) = responses(transport.written)
    assert answer.headers["connection"] == "close"
    assert transport.has_ended
    code: str = answer.json()["code"]
    return code


async def test_an_idle_connection_is_closed() -> None:
    """Its time begins with the connection and with each response; nothing is sent."""
    async with laboratory(**TIMES) as lab:
        for before in (b"", post(), post(path="/norm", method="GET")):
            protocol, transport = lab.connect()
            protocol.data_received(before)
            await asyncio.sleep(0)
            await lab.settle()
            written = bytes(transport.written)
            protocol.check(later(IDLE_S - 50))
            assert not transport.is_closing()
            protocol.check(later(IDLE_S))
            assert transport.is_closing()
            assert transport.written == written


@pytest.mark.parametrize(
    ("begun", "seconds", "part"),
    [
        pytest.param(b"P", HEAD_S, "head", id="one letter"),
        pytest.param(post()[:40], HEAD_S, "head", id="half a head"),
        pytest.param(post()[:-1], REQUEST_S, "body", id="a plain body"),
        pytest.param(post(transfer_encoding="chunked")[: -len(BODY)].replace(
            f"content-length: {len(BODY)}\r\n".encode(), b""), REQUEST_S, "body", id="chunks"),
    ],
)  # fmt: skip
async def test_a_request_that_comes_slowly_is_ended(
    begun: bytes, seconds: float, part: str
) -> None:
    """After its time it gets a 408, and the connection closes; before, nothing happens."""
    async with laboratory(**TIMES) as lab:
        protocol, transport = lab.connect()
        protocol.data_received(begun)
        await asyncio.sleep(0)
        protocol.check(later(seconds / 2))
        assert not transport.written
        protocol.check(later(seconds))
        (answer,) = responses(transport.written)
        assert (answer.status_code, code_of(transport)) == (408, "request-timeout")
        assert part in answer.json()["detail"]
        await lab.settle()
        protocol.check(later(WRITE_S / 2))
        assert not transport.aborted


async def test_a_late_head_does_not_overtake_a_response() -> None:
    """If it comes after a call that runs, the connection closes without a 408."""
    async with laboratory(**TIMES) as lab:
        protocol, transport = lab.connect()
        protocol.data_received(post(WAITING))
        await lab.gate.wait()
        protocol.check(later(10 * REQUEST_S))
        assert not transport.is_closing(), "a call has a deadline of its own"
        protocol.data_received(post()[:40])
        protocol.check(later(HEAD_S))
        assert transport.has_ended
        assert not transport.written


async def test_a_body_that_is_not_read_is_not_late() -> None:
    """After a call that runs, reading pauses; the time begins when it goes on."""
    async with laboratory(**TIMES) as lab:
        protocol, transport = lab.connect()
        protocol.data_received(post(WAITING) + post()[:-1])
        await lab.gate.wait()
        assert transport.paused
        protocol.check(later(10 * REQUEST_S))
        assert not transport.is_closing()
        lab.gate.open.set()


async def test_a_response_that_is_not_read_is_aborted() -> None:
    """It is dropped after its time, which begins anew whenever the client reads."""
    async with laboratory(**TIMES) as lab:
        protocol, transport = lab.connect()
        protocol.data_received(post())
        protocol.pause_writing()
        protocol.check(later(0))
        protocol.check(later(WRITE_S / 2))
        protocol.resume_writing()
        protocol.check(later(WRITE_S / 2))
        protocol.pause_writing()
        protocol.check(later(WRITE_S))
        assert not transport.aborted
        protocol.check(later(2 * WRITE_S + 2))
        assert transport.aborted


async def test_a_close_that_waits_for_its_client_is_aborted() -> None:
    """The rest of a response is not kept for ever."""
    async with laboratory(**TIMES) as lab:
        protocol, transport = lab.connect()
        protocol.data_received(b"rubbish\r\n\r\n")
        assert transport.has_ended
        protocol.check(later(0))
        protocol.check(later(WRITE_S + 2))
        assert transport.aborted


@pytest.mark.parametrize("size", [100, 1000, 100_000])
async def test_a_head_that_is_too_large_is_refused(size: int) -> None:
    """It gets a 431 as soon as it exceeds the limit, in pieces of any size."""
    async with laboratory(max_head_bytes=2000) as lab:
        text = post(padding="x" * 5000)
        protocol, transport = lab.connect()
        for start in range(0, len(text), size):
            if not transport.has_ended:
                protocol.data_received(text[start : start + size])
        (answer,) = responses(transport.written)
        assert (answer.status_code, code_of(transport)) == (431, "head-too-large")


async def test_a_head_within_its_limit_is_read() -> None:
    """Bodies in the same piece, and heads before, do not count."""
    async with laboratory(max_head_bytes=2000) as lab:
        text = post(padding="x" * 1800)
        pieces = [text[:900], text[900:1800], text[1800:], text + text, post(BODY + b" " * 9000)]
        _, found = await lab.exchange(*pieces)
        assert [each.status_code for each in found] == [200] * 4


async def test_too_many_connections_are_refused() -> None:
    """A new one gets a 503, the open ones are served, and a closed one makes room."""
    async with laboratory(max_connections=2) as lab:
        (first, one), (_, two), (_, three) = (lab.connect() for _ in range(3))
        assert code_of(three) == "overloaded"
        assert responses(three.written)[0].headers["retry-after"]
        first.data_received(post())
        assert responses(one.written)[0].status_code == 200
        one.close()
        await asyncio.sleep(0)
        _, four = lab.connect()
        assert not two.is_closing()
        assert not four.is_closing()


class CountingConnection(Connection):
    """A connection that counts how often it was checked."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def check(self, now: float) -> None:
        """Note the time."""
        self.times.append(now)


async def test_the_monitor_checks_repeatedly() -> None:
    """It checks each connection four times within the shortest limit, until it is stopped."""
    monitor = ConnectionMonitor(
        ConnectionLimits(9, 999, head_s=0.04, request_s=1, write_s=1, idle_s=1)
    )
    connections = [CountingConnection(), CountingConnection()]
    for connection in connections:
        assert monitor.add(connection)
    monitor.stop()
    monitor.start()
    await until(lambda: len(connections[0].times) >= 3)
    monitor.discard(connections[0])
    seen = len(connections[0].times)
    assert len(connections[1].times) == seen
    assert connections[0].times == sorted({*connections[0].times})
    await until(lambda: len(connections[1].times) >= seen + 2)
    assert len(connections[0].times) == seen
    monitor.stop()
    seen = len(connections[1].times)
    await asyncio.sleep(0.05)
    assert len(connections[1].times) == seen


def test_lines_of_default_headers_are_renewed() -> None:
    """uvicorn replaces its list when the date changes."""
    lines = DefaultLines()
    assert lines.of([]) == b""
    assert lines.of([(b"date", b"1"), (b"a", b"b")]) == b"date: 1\r\na: b\r\n"
    assert lines.of([(b"date", b"2")]) == b"date: 2\r\n"
