"""Clients that hold a connection and give nothing, or little, or take nothing."""

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event
from time import monotonic
from typing import Final

import numpy as np
import pytest

from tests.chaos.clients import LOOPS, MORE_BYTES, RIGHT, TINY, call, connect, fault, once
from tests.chaos.processes import until
from tests.chaos.settings import IS_LONG
from tests.rigs.servers import Server, server

IDLE: Final = 10_000 if IS_LONG else 1_000
# Both ends need a descriptor for each connection, and some for all else.
SPARE: Final = 200
IDLE_S: Final = 20 if IS_LONG else 5
ASKED: Final = 300


@contextmanager
def files(soft: int | None = None) -> Iterator[int]:
    """As many open files as may be, or `soft`, for this process and those that it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft or before[1], before[1]))
    try:
        yield soft or before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_idle_connections() -> None:
    """A server that began with few files has room for them, multiplies beside, and ends them."""
    with ExitStack() as stack:
        with files(256):  # the server raises it by itself
            running = stack.enter_context(server(SERVICE_IDLE_S=str(IDLE_S)))
        count = min(IDLE, stack.enter_context(files()) - SPARE)
        once(running.url, TINY)
        memory, descriptors = running.resident_bytes(), alone(running)
        opened = [stack.enter_context(running.connect()) for _ in range(count)]
        until(lambda: running.descriptors() >= descriptors + count)
        each_bytes = (running.resident_bytes() - memory) / count
        times = timed(running)
        print(
            f"{count} idle connections of {each_bytes / 1024:.1f} KiB each; beside them a product"
        )
        print(f"takes {np.percentile(times, 50):.2f} ms, {np.percentile(times, 99):.2f} at p99")
        seconds = until(lambda: running.descriptors() <= descriptors, IDLE_S + 30)
        print(f"all were closed {seconds:.1f} s later")
        assert all(each.recv(1) == b"" for each in opened)
        assert running.is_healthy()


def alone(running: Server) -> int:
    """The descriptors of a server that has noticed that earlier clients have left."""
    Event().wait(0.5)
    return running.descriptors()


def timed(running: Server) -> list[float]:
    """The milliseconds of small products on one connection, each of them right."""
    times, connection = [], connect(running.url)
    for _ in range(ASKED):
        began = monotonic()
        answer = call(connection, TINY)
        times.append(1000 * (monotonic() - began))
        assert (answer.story, fault(TINY, answer)) == (RIGHT, "")
    connection.close()
    return times


def test_no_file_can_be_opened() -> None:
    """Who is connected is served; what needs a process is refused; later all is well."""
    with server(SERVICE_PROCESSES="1") as running:
        pid, connection = running.process.pid, connect(running.url)
        assert call(connection, TINY).story == RIGHT
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (alone(running), before[1]))
        for ask in (LOOPS, TINY, LOOPS, MORE_BYTES):
            answer = call(connection, ask)
            assert fault(ask, answer) == ""
            assert answer.story == ("503 worker-died" if ask is LOOPS else RIGHT)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        answer = call(connection, LOOPS)
        assert (answer.story, fault(LOOPS, answer)) == (RIGHT, "")
        connection.close()
        assert running.is_healthy()


def head(*lines: str) -> bytes:
    """The beginning of a POST."""
    return "\r\n".join(["POST /norm HTTP/1.1", "host: here", *lines, "", ""]).encode()


def loris(at: int) -> bytes:
    """One more byte of a head that never ends."""
    return b"POST /norm HTTP/1.1\r\nhost: here\r\nx: "[at : at + 1] or b"y"


def drop(at: int) -> bytes:
    """One more byte of a body that would take hours."""
    return b" " if at else head("content-length: 100000") + b"{"


def chunk(at: int) -> bytes:
    """One more chunk of a body without an end."""
    return b"1\r\n \r\n" if at else head("transfer-encoding: chunked")


@pytest.mark.parametrize("send", [loris, drop, chunk])
def test_slow_senders(send: Callable[[int], bytes], slow_server: Server) -> None:
    """408 after their time, and the connection ends, though there is always a little more."""
    with slow_server.connect() as connection:
        connection.settimeout(0.1)
        told, began, at = b"", monotonic(), 0
        while monotonic() - began < 20:
            with suppress(ConnectionError):
                connection.sendall(send(at))
            at += 1
            try:
                part = connection.recv(65_536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            told += part
            if not part:
                break
        assert told.startswith(b"HTTP/1.1 408 "), told[:200]
        assert b"request-timeout" in told
    assert slow_server.is_healthy()


def test_a_client_that_reads_nothing(slow_server: Server) -> None:
    """Its connection is broken off, and what it was to get is forgotten."""
    before = alone(slow_server)
    asked = b"".join(
        head(f"content-length: {len(body)}").replace(b"/norm", b"/broadcast") + body
        for body in [b'{"operands": [[1]], "to": [300, 300]}'] * 40
    )
    with slow_server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(asked)
        until(lambda: slow_server.descriptors() > before)
        Event().wait(0.5)
        until(lambda: slow_server.descriptors() <= before)
    assert slow_server.is_healthy()


@pytest.fixture(scope="module")
def slow_server() -> Iterator[Server]:
    """A server that waits for no one longer than a second or two."""
    times = {"SERVICE_HEAD_S": "1", "SERVICE_REQUEST_S": "2", "SERVICE_WRITE_S": "1"}
    with server(**times) as running:
        once(running.url, LOOPS)
        yield running
