"""Many idle connections, no free descriptors, slow senders and clients that read nothing."""

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event
from time import monotonic
from typing import Final

import numpy as np
import pytest

from tests.chaos.clients import LOOPS, MORE_BYTES, RIGHT, TINY, connect, fault, send, send_once
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
    """Set the limit of open files for this process and its children, until the block ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft or before[1], before[1]))
    try:
        yield soft or before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_idle_connections() -> None:
    """The server raises its limit of files, serves calls beside them, and closes them when due."""
    with ExitStack() as stack:
        with files(256):  # the server raises it by itself
            running = stack.enter_context(server(SERVICE_IDLE_S=str(IDLE_S)))
        count = min(IDLE, stack.enter_context(files()) - SPARE)
        send_once(running.url, TINY)
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
    """Return the descriptors of a server once it has closed the connections of earlier clients."""
    Event().wait(0.5)
    return running.descriptors()


def timed(running: Server) -> list[float]:
    """Return the milliseconds of small products on one connection, each of them correct."""
    times, connection = [], connect(running.url)
    for _ in range(ASKED):
        began = monotonic()
        answer = send(connection, TINY)
        times.append(1000 * (monotonic() - began))
        assert (answer.outcome, fault(TINY, answer)) == (RIGHT, "")
    connection.close()
    return times


def test_no_file_can_be_opened() -> None:
    """Open connections are served; calls that need a process get a 503 until files are free."""
    with server(SERVICE_PROCESSES="1") as running:
        pid, connection = running.process.pid, connect(running.url)
        assert send(connection, TINY).outcome == RIGHT
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (alone(running), before[1]))
        for call in (LOOPS, TINY, LOOPS, MORE_BYTES):
            answer = send(connection, call)
            assert fault(call, answer) == ""
            assert answer.outcome == ("503 worker-died" if call is LOOPS else RIGHT)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        answer = send(connection, LOOPS)
        assert (answer.outcome, fault(LOOPS, answer)) == (RIGHT, "")
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
    """They get a 408 after the timeout, though a byte more arrives all the time."""
    with slow_server.connect() as connection:
        connection.settimeout(0.1)
        data, began, at = b"", monotonic(), 0
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
            data += part
            if not part:
                break
        assert data.startswith(b"HTTP/1.1 408 "), data[:200]
        assert b"request-timeout" in data
    assert slow_server.is_healthy()


def test_a_client_that_reads_nothing(slow_server: Server) -> None:
    """Its connection is closed, and its responses are dropped."""
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
    """A server whose timeouts are a second or two."""
    times = {"SERVICE_HEAD_S": "1", "SERVICE_REQUEST_S": "2", "SERVICE_WRITE_S": "1"}
    with server(**times) as running:
        send_once(running.url, LOOPS)
        yield running
