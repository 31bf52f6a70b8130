"""Connections of clients that send or read too slowly are closed; others are served meanwhile."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import repeat
from threading import Event, Thread
from time import sleep
from typing import Final

from tests.chaos.settings import MAX_BODY_BYTES
from tests.rigs.raw_http import parse_responses, received
from tests.rigs.servers import Server

# Of each kind, at once.
CLIENTS: Final = 8
# Between two bytes, so that none of the kinds is ever idle for long.
PAUSE_S: Final = 0.1
HEAD: Final = b"POST /norm HTTP/1.1\r\nhost: here\r\n"
CHUNKED: Final = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def head() -> Iterator[bytes]:
    """A head that never ends, a byte at a time."""
    yield HEAD
    yield from repeat(b"a")


def body() -> Iterator[bytes]:
    """A body that would take hours, a byte at a time."""
    yield HEAD + b"content-length: 100000\r\n\r\n"
    yield from repeat(b" ")


def chunks() -> Iterator[bytes]:
    """A body of chunks of one byte."""
    yield CHUNKED
    yield from repeat(b"1\r\n \r\n")


def chunk() -> Iterator[bytes]:
    """The length of a chunk, with extensions that never end."""
    yield CHUNKED + b"1;"
    yield from repeat(b"a")


def trailer() -> Iterator[bytes]:
    """Fields behind the last chunk that never end."""
    yield CHUNKED + b'b\r\n{"x":[3,4]}\r\n0\r\n'
    yield from repeat(b"a: b\r\n")


@contextmanager
def drip(connection: socket.socket, pieces: Iterator[bytes]) -> Iterator[None]:
    """Send one piece after the other, slowly, until the end of the block."""
    over = Event()

    def send() -> None:
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                if over.wait(PAUSE_S):
                    return

    thread = Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_requests_without_end_get_a_408(victim: Server) -> None:
    """Heads, bodies, chunks and trailers that arrive byte by byte time out."""
    with ExitStack() as stack:
        connections = []
        for pieces in (head, body, chunks, chunk, trailer) * CLIENTS:
            connections.append(stack.enter_context(victim.connect(30)))
            stack.enter_context(drip(connections[-1], pieces()))
        assert victim.is_healthy()
        for connection in connections:
            assert [answer.status for answer in parse_responses(received(connection))] == [408]
    assert victim.is_healthy()


def test_chunks_without_end_get_a_413(victim: Server) -> None:
    """No more of them is kept than a body may have."""
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    with victim.connect(30) as connection, suppress(ConnectionError):
        connection.sendall(CHUNKED)
        for _ in range(4 * MAX_BODY_BYTES // 65_536):
            connection.sendall(piece)
        assert received(connection).startswith(b"HTTP/1.1 413 ")
    assert victim.is_healthy()


def test_silent_connections_are_closed(victim: Server) -> None:
    """The idle timeout holds before the first request and after a response."""
    with victim.connect(30) as silent, victim.connect(30) as served:
        served.sendall(b"GET /health/live HTTP/1.1\r\nhost: here\r\n\r\n")
        assert received(served).startswith(b"HTTP/1.1 200 ")
        assert received(silent) == b""


def test_unread_responses_end_the_connection(victim: Server) -> None:
    """The connection is reset, and the rest of the response is dropped."""
    request = (
        b"POST /broadcast HTTP/1.1\r\nhost: here\r\ncontent-length: 36\r\n\r\n"
        b'{"operands":[1.5],"to":[1000, 1000]}'
    )
    with ExitStack() as stack:
        connections = [stack.enter_context(victim.connect(30)) for _ in range(CLIENTS)]
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request)
        assert victim.is_healthy()
        assert all(map(is_reset, connections))
    assert victim.is_healthy()


def is_reset(connection: socket.socket) -> bool:
    """Return whether the server resets an unread connection within 30 seconds."""
    for _ in range(300):
        try:
            connection.sendall(b"\r\n")
        except ConnectionError:
            return True
        sleep(0.1)
    return False
