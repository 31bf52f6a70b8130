"""Bounds on a connection: what takes too long, or too much, ends it and nothing else."""

import asyncio

import pytest

from service.server.connection import Connection, ConnectionLimits, ConnectionMonitor
from tests.unit.server.test_fast_path import BODY, WAITING, Wire, answers, laboratory, post, until

# Long enough that the watch's own ticks end nothing while a test runs.
HEAD_S, REQUEST_S, WRITE_S, IDLE_S = 100.0, 200.0, 300.0, 400.0
TIMES = {"head_s": HEAD_S, "request_s": REQUEST_S, "write_s": WRITE_S, "idle_s": IDLE_S}


def later(seconds: float) -> float:
    """The time of the event loop in so many seconds, and a little more."""
    return asyncio.get_running_loop().time() + seconds + 1


def code_of(wire: Wire) -> str:
    """The code of the one problem that was answered, by which the connection ended."""
    (answer,) = answers(bytes(wire.written))
    assert answer.headers["connection"] == "close"
    assert wire.is_closing()
    code: str = answer.json()["code"]
    return code


async def test_an_idle_connection_is_closed() -> None:
    """After its time, from its beginning and from its last answer; without a word."""
    async with laboratory(**TIMES) as lab:
        for before in (b"", post(), post(path="/norm", method="GET")):
            protocol, wire = lab.connect()
            protocol.data_received(before)
            await asyncio.sleep(0)
            await lab.settle()
            written = bytes(wire.written)
            protocol.check(later(IDLE_S - 50))
            assert not wire.is_closing()
            protocol.check(later(IDLE_S))
            assert wire.is_closing()
            assert wire.written == written


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
    """408, and the connection closes; half of the time before, nothing happens."""
    async with laboratory(**TIMES) as lab:
        protocol, wire = lab.connect()
        protocol.data_received(begun)
        await asyncio.sleep(0)
        protocol.check(later(seconds / 2))
        assert not wire.written
        protocol.check(later(seconds))
        (answer,) = answers(bytes(wire.written))
        assert (answer.status_code, code_of(wire)) == (408, "request-timeout")
        assert part in answer.json()["detail"]
        await lab.settle()
        protocol.check(later(WRITE_S / 2))
        assert not wire.aborted


async def test_the_next_request_must_not_outrun_an_answer() -> None:
    """Half a head behind a call that runs: it is closed, without an answer before the other's."""
    async with laboratory(**TIMES) as lab:
        protocol, wire = lab.connect()
        protocol.data_received(post(WAITING))
        await lab.gate.wait()
        protocol.check(later(10 * REQUEST_S))
        assert not wire.is_closing(), "a call has a deadline of its own"
        protocol.data_received(post()[:40])
        protocol.check(later(HEAD_S))
        assert wire.is_closing()
        assert not wire.written


async def test_a_body_that_we_do_not_read_is_not_late() -> None:
    """Behind a call that runs, reading pauses; its time begins when reading goes on."""
    async with laboratory(**TIMES) as lab:
        protocol, wire = lab.connect()
        protocol.data_received(post(WAITING) + post()[:-1])
        await lab.gate.wait()
        assert wire.paused
        protocol.check(later(10 * REQUEST_S))
        assert not wire.is_closing()
        lab.gate.open.set()


async def test_an_answer_that_is_not_taken_is_broken_off() -> None:
    """What is not taken in its time is thrown away; what is taken in between counts anew."""
    async with laboratory(**TIMES) as lab:
        protocol, wire = lab.connect()
        protocol.data_received(post())
        protocol.pause_writing()
        protocol.check(later(0))
        protocol.check(later(WRITE_S / 2))
        protocol.resume_writing()
        protocol.check(later(WRITE_S / 2))
        protocol.pause_writing()
        protocol.check(later(WRITE_S))
        assert not wire.aborted
        protocol.check(later(2 * WRITE_S + 2))
        assert wire.aborted


async def test_a_close_that_waits_for_its_client_is_broken_off() -> None:
    """The rest of an answer is not kept for ever."""
    async with laboratory(**TIMES) as lab:
        protocol, wire = lab.connect()
        protocol.data_received(b"rubbish\r\n\r\n")
        assert wire.is_closing()
        protocol.check(later(0))
        protocol.check(later(WRITE_S + 2))
        assert wire.aborted


@pytest.mark.parametrize("size", [100, 1000, 100_000])
async def test_a_head_that_is_too_large_is_refused(size: int) -> None:
    """431, as soon as more has come than a head may have, in pieces of any size."""
    async with laboratory(max_head_bytes=2000) as lab:
        text = post(padding="x" * 5000)
        protocol, wire = lab.connect()
        for start in range(0, len(text), size):
            if not wire.is_closing():
                protocol.data_received(text[start : start + size])
        (answer,) = answers(bytes(wire.written))
        assert (answer.status_code, code_of(wire)) == (431, "head-too-large")


async def test_a_head_of_any_size_that_it_may_have_is_read() -> None:
    """What counts is the head, not what comes with it, nor the heads before."""
    async with laboratory(max_head_bytes=2000) as lab:
        text = post(padding="x" * 1800)
        pieces = [text[:900], text[900:1800], text[1800:], text + text, post(BODY + b" " * 9000)]
        _, found = await lab.exchange(*pieces)
        assert [each.status_code for each in found] == [200] * 4


async def test_more_connections_than_may_be_are_refused() -> None:
    """503, and those that are open go on; one that closes makes room."""
    async with laboratory(max_connections=2) as lab:
        (first, one), (_, two), (_, three) = (lab.connect() for _ in range(3))
        assert code_of(three) == "overloaded"
        assert answers(bytes(three.written))[0].headers["retry-after"]
        first.data_received(post())
        assert answers(bytes(one.written))[0].status_code == 200
        one.close()
        await asyncio.sleep(0)
        _, four = lab.connect()
        assert not two.is_closing()
        assert not four.is_closing()


class Counting(Connection):
    """A connection that counts how often it was looked at."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def check(self, now: float) -> None:
        """Note the time."""
        self.times.append(now)


async def test_the_watch_looks_again_and_again() -> None:
    """At every connection, four times in the shortest bound, until it is stopped."""
    watch = ConnectionMonitor(
        ConnectionLimits(9, 999, head_s=0.04, request_s=1, write_s=1, idle_s=1)
    )
    connections = [Counting(), Counting()]
    for connection in connections:
        assert watch.add(connection)
    watch.stop()
    watch.start()
    await until(lambda: len(connections[0].times) >= 3)
    watch.discard(connections[0])
    seen = len(connections[0].times)
    assert len(connections[1].times) == seen
    assert connections[0].times == sorted({*connections[0].times})
    await until(lambda: len(connections[1].times) >= seen + 2)
    assert len(connections[0].times) == seen
    watch.stop()
    seen = len(connections[1].times)
    await asyncio.sleep(0.05)
    assert len(connections[1].times) == seen
