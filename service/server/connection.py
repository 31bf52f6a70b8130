"""A connection of uvicorn's with limits, and the monitor that enforces those in time.

uvicorn alone keeps silent clients, slow heads, slow bodies and unread answers for ever.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.core.response import JOINED_BYTES, SECURITY_HEADERS, HttpResponse, header_lines
from service.errors import OverloadedError
from service.http.errors import HeadTooLargeError, MalformedRequestError, RequestTimeoutError
from service.http.problems import error_response
from service.observability.record import RequestRecord
from service.pipeline.application import Application
from service.pipeline.request import request_id_of
from service.server.fast_request import ResponseBatch
from service.server.receivers import Drain
from service.settings import Settings

TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one connection, and of their number.

    connections   that are open at a time
    head_bytes    of the request line and headers
    head_s        seconds until they are complete, from the first byte
    request_s     until the body is complete, from the same
    write_s       until an answer that the client reads slowly is taken
    idle_s        between two requests
    """

    connections: int
    head_bytes: int
    head_s: float
    request_s: float
    write_s: float
    idle_s: float


def limits_of(settings: Settings) -> ConnectionLimits:
    """Return the limits that the settings state."""
    return ConnectionLimits(
        connections=settings.max_connections,
        head_bytes=settings.max_head_bytes,
        head_s=settings.head_s,
        request_s=settings.request_s,
        write_s=settings.write_s,
        idle_s=settings.idle_s,
    )


class Monitored(Protocol):
    """A connection that a monitor checks."""

    def check(self, now: float) -> None:
        """End the connection if something has taken too long at `now`, in the loop's time."""
        ...


class ConnectionMonitor:
    """Checks every open connection once a second, or more often where limits are shorter.

    One timer for all costs less than one for each request: 10 000 idle connections take 3 ms. With
    `is_ending` the next answer of each connection is its last.
    """

    def __init__(self, limits: ConnectionLimits):
        """Begin with no connection; `start` begins the checks."""
        self.limits = limits
        self.is_ending = False
        self._open: set[Monitored] = set()
        shortest = min(limits.head_s, limits.request_s, limits.write_s, limits.idle_s)
        self._tick_s = min(TICK_S, shortest / 4)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin the checks, on the running event loop."""
        self._tick(asyncio.get_running_loop())

    def stop(self) -> None:
        """End the checks."""
        if self._timer is not None:
            self._timer.cancel()

    def add(self, connection: Monitored) -> bool:
        """Add a connection; return False if there are too many."""
        self._open.add(connection)
        return len(self._open) <= self.limits.connections

    def discard(self, connection: Monitored) -> None:
        """Remove a connection that is closed."""
        self._open.discard(connection)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._tick_s, self._tick, loop)  # also if a check fails
        now = loop.time()
        for connection in [*self._open]:
            connection.check(now)


STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
END_OF_HEAD: Final = b"\r\n\r\n"
# What follows the request id in the head of each response: the last one of a connection says so.
_COMMON: Final = b"\r\n" + header_lines(SECURITY_HEADERS)
END_KEPT: Final = _COMMON + b"\r\n"
END_CLOSED: Final = _COMMON + b"connection: close\r\n\r\n"


class DefaultLines:
    """Lines of uvicorn's default headers, whose list it replaces each second: one is the date."""

    def __init__(self) -> None:
        """Begin with no headers."""
        self._headers: Sequence[tuple[bytes, bytes]] = ()
        self._lines = b""

    def of(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the lines of these headers, which are those of the last time or a new list."""
        if headers is not self._headers:
            self._headers, self._lines = headers, header_lines(headers)
        return self._lines


DEFAULT_LINES: Final = DefaultLines()


class Connection(HttpToolsProtocol):
    """A connection that ends when its client takes too much, in time or in bytes."""

    application: Application
    monitor: ConnectionMonitor
    batch: ResponseBatch
    # uvicorn's cycle, a FastRequest, or None: uvicorn's own type allows the first alone.
    cycle: Any
    # The parser is between two messages, or in the head of one, of which so many bytes have come.
    is_between = True
    in_head = False
    # Nothing more is written, and what is received is dropped.
    is_ended = False
    head_bytes = 0
    # Whether the connection stays open after the message that is received.
    is_kept = False
    # When the message that is received began, when the last answer was complete, and since when
    # the client does not take what was written.
    _begun_at = 0.0
    _idle_since = 0.0
    _stuck_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin, or refuse the connection if there are too many."""
        super().connection_made(transport)
        self.application = self.app_state["application"]
        self.monitor = self.app_state["monitor"]
        self.batch = self.app_state["batch"]
        self._idle_since = self.loop.time()
        if not self.monitor.add(self):
            most = self.monitor.limits.connections
            error = OverloadedError(f"{most} connections are open (SERVICE_MAX_CONNECTIONS)")
            self.answer_error(error)
            # Now: each one that waits for its client is a file more than there may be.
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the monitor."""
        super().connection_lost(exc)
        self.drop_request()
        self.monitor.discard(self)

    def drop_request(self) -> None:
        """Have the request that is received or answered end: its client gets no response."""
        cycle = self.cycle
        if cycle is not None:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()

    def has_ended(self) -> bool:
        """Return whether nothing more may be written."""
        return self.is_ended or self.transport.is_closing()

    def close(self) -> None:
        """Close the connection after its last response."""
        if self.is_between and not self.is_ended:
            self.transport.close()
        else:
            self.end()

    def end(self) -> None:
        """Send no more, and close when the client does, or soon.

        Closed at once, the connection would be reset by what the client still sends, and the
        response perhaps not read.
        """
        if not self.has_ended():
            self.is_ended = True
            self.transport.write_eof()
            self.pass_data_to(Drain(self, self.transport, self.loop))
            # Not before calls that have been received in this iteration are answered.
            self.loop.call_soon(self.drop_request)

    def pass_data_to(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol receive data; a transport notices when it begins to read."""
        self.transport.pause_reading()
        self.transport.set_protocol(protocol)
        self.transport.resume_reading()

    def shutdown(self) -> None:
        """Close the connection, after the response to the request that has begun."""
        self.is_kept = False
        super().shutdown()

    def check(self, now: float) -> None:
        """End the connection if its client has taken too long."""
        limits = self.monitor.limits
        if self.has_ended() or self.flow.write_paused:
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > limits.write_s:
                self.transport.abort()
            return
        self._stuck_since = None
        if self.flow.read_paused:  # the server lets the client wait
            self._begun_at = now
        elif not self.is_between:
            most, what = (limits.head_s, "head") if self.in_head else (limits.request_s, "body")
            if now - self._begun_at > most:
                self._time_out(f"the {what} of the request was not complete after {most:g} s")
        elif not self.is_busy() and now - self._idle_since > limits.idle_s:
            self.transport.close()

    def _time_out(self, detail: str) -> None:
        """Answer 408, or only end the connection where a client would misread that answer.

        It must not precede the answer to another request, nor follow the one to its own.
        """
        is_own_begun = getattr(self.cycle, "response_started", False)
        is_answering = self.is_busy() if self.in_head else is_own_begun
        if is_answering:
            self.end()
        else:
            self.refuse(RequestTimeoutError(detail))

    def is_busy(self) -> bool:
        """Return whether the answer before is not complete, or not read: then uvicorn waits."""
        cycle = self.cycle
        return self.flow.write_paused or (cycle is not None and not cycle.response_complete)

    def is_too_long(self, data: bytes) -> bool:
        """Return whether the head that `data` begins or continues is over its limit."""
        if not (self.is_between or self.in_head):
            return False
        room = self.monitor.limits.head_bytes - (0 if self.is_between else self.head_bytes)
        return len(data) > room and data.find(END_OF_HEAD, 0, room + len(END_OF_HEAD)) < 0

    def on_message_begin(self) -> None:
        """Begin a message."""
        self.is_between = False
        self.in_head = True
        self.head_bytes = 0
        self._begun_at = self.loop.time()
        super().on_message_begin()

    def on_response_complete(self) -> None:
        """Be ready for the next request. The monitor ends a connection that idles."""
        self._idle_since = self.loop.time()
        self.server_state.total_requests += 1
        if not (self.is_ended or self.transport.is_closing()):  # without a call: each one passes
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def refuse(self, error: Exception) -> None:
        """Answer with an error that is not about a request, and end the connection."""
        if not self.has_ended():
            self.answer_error(error)
            self.end()

    def answer_error(self, error: Exception) -> None:
        """Write the last response of the connection, about no request in particular."""
        request_id = request_id_of(None)
        response = error_response(error, request_id)
        self.write(response, request_id, keep_alive=False)
        record = RequestRecord("", "", None, request_id, response.status)
        self.application.recorder.record_request(record)

    def refuse_head(self) -> None:
        """Answer a head that is too large."""
        most = self.monitor.limits.head_bytes
        self.refuse(
            HeadTooLargeError(f"the head has more than {most} bytes (SERVICE_MAX_HEAD_BYTES)")
        )

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request."""
        self.refuse(MalformedRequestError(f"{msg} The connection was closed"))

    def write(self, response: HttpResponse, request_id: str, *, keep_alive: bool) -> None:
        """Write a response."""
        head = (
            STATUS_LINES[response.status],
            DEFAULT_LINES.of(self.server_state.default_headers),
            response.lines,
            b"x-request-id: ",
            request_id.encode(),
            END_KEPT if keep_alive else END_CLOSED,
        )
        if response.length <= JOINED_BYTES:
            self.transport.write(b"".join((*head, *response.chunks)))
        else:
            self.transport.write(b"".join(head))
            for chunk in response.chunks:
                self.transport.write(chunk)
