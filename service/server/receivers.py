"""Protocols that receive in place of a connection: a large body, and what is dropped."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

# What a client may send after its last response, in seconds and bytes: enough for what is on its
# way, so that the connection is not reset before the response has arrived.
DRAIN_S: Final = 1.0
DRAIN_BYTES: Final = 2**20
# Shared by all connections: nothing is read from it.
_DROPPED: Final = memoryview(bytearray(2**16))


class DelegatingProtocol(asyncio.BufferedProtocol):
    """Passes all events on to a connection, except for the bytes that are received."""

    def __init__(self, connection: asyncio.Protocol):
        """Pass events on to `connection`."""
        self._connection = connection

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is lost."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client does not read."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client has read."""
        self._connection.resume_writing()


class Body(Protocol):
    """A body that is being received."""

    @property
    def missing(self) -> memoryview:
        """The memory that is to be filled with the rest."""
        ...

    def advance(self, size: int) -> None:
        """Count bytes that have been received into `missing`."""
        ...


class BodyReceiver(DelegatingProtocol):
    """Receives the rest of a large body straight into its memory, past the parser."""

    def __init__(self, connection: asyncio.Protocol, body: Body, done: Callable[[], object]):
        """Fill the memory of `body`, and call `done`."""
        super().__init__(connection)
        self._body = body
        self._done = done

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the memory for the next bytes: no more than are missing."""
        return self._body.missing

    def buffer_updated(self, nbytes: int) -> None:
        """Count the bytes that have been received."""
        self._body.advance(nbytes)
        if not self._body.missing:
            self._done()


class Drain(DelegatingProtocol):
    """Drops what a client still sends after its last response, and closes the connection soon."""

    def __init__(
        self,
        connection: asyncio.Protocol,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
    ):
        """Close `transport` after DRAIN_S or DRAIN_BYTES, but not before the response is sent."""
        super().__init__(connection)
        self._transport = transport
        self._loop = loop
        self._left = DRAIN_BYTES
        self._timer = loop.call_later(DRAIN_S, self._end)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return memory for bytes that are not read."""
        return _DROPPED

    def buffer_updated(self, nbytes: int) -> None:
        """Count the bytes, and stop when they are too many."""
        self._left -= nbytes
        if self._left <= 0:
            self._timer.cancel()
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is lost."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _end(self) -> None:
        if self._transport.get_write_buffer_size():
            # The client reads slowly. The monitor ends that in time.
            self._transport.pause_reading()
            self._timer = self._loop.call_later(DRAIN_S, self._end)
        else:
            self._transport.abort()
