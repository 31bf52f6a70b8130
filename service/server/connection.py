"""One connection of uvicorn's, with bounds. What it serves is not its business."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.middleware import SECURITY, request_id_of
from service.errors import OverloadedError, ServiceError
from service.http.errors import HeadTooLargeError, MalformedRequestError, RequestTimeoutError
from service.http.problems import problem_response
from service.http.response import HttpResponse, response_reply
from service.observability.record import Visit
from service.settings import Settings

TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may take of a connection.

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


def bounds_of(settings: Settings) -> ConnectionLimits:
    """The bounds that the settings give."""
    return ConnectionLimits(
        connections=settings.max_connections,
        head_bytes=settings.max_head_bytes,
        head_s=settings.head_s,
        request_s=settings.request_s,
        write_s=settings.write_s,
        idle_s=settings.idle_s,
    )


class Watched(Protocol):
    """A connection."""

    def check(self, now: float) -> None:
        """End it if something has taken too long at `now`, a time of the event loop."""
        ...


class ConnectionMonitor:
    """Looks at every open connection once a second, or more often where bounds are shorter.

    One timer for all costs less than one for each request: 10 000 idle connections take 3 ms.
    """

    def __init__(self, bounds: ConnectionLimits):
        """Wait for `start`."""
        self.bounds = bounds
        # Whether the next answer of each connection is its last.
        self.is_ending = False
        self._open: set[Watched] = set()
        shortest = min(bounds.head_s, bounds.request_s, bounds.write_s, bounds.idle_s)
        self._tick_s = min(TICK_S, shortest / 4)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the event loop that runs."""
        self._tick(asyncio.get_running_loop())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def add(self, connection: Watched) -> bool:
        """Watch a connection; whether there was room for it."""
        self._open.add(connection)
        return len(self._open) <= self.bounds.connections

    def discard(self, connection: Watched) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [*self._open]:
            connection.check(now)
        self._timer = loop.call_later(self._tick_s, self._tick, loop)


STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
COMMON: Final = b"".join(b"%b: %b\r\n" % header for header in SECURITY)
END_OF_HEAD: Final = b"\r\n\r\n"
# Up to here one write of joined chunks is quicker than several.
JOINED_BYTES: Final = 65_536


class Connection(HttpToolsProtocol):
    """A connection that ends when its client takes too much, in time or in bytes."""

    watch: ConnectionMonitor
    # uvicorn's cycle, a POST, or None: uvicorn's own type knows the first alone.
    cycle: Any
    # The parser is between two messages, or in the head of one, of which so many bytes have come.
    between = True
    in_head = False
    head_bytes = 0
    # When the message that is received began, when the last answer was complete, and since when
    # the client does not take what was written.
    _begun_at = 0.0
    _idle_since = 0.0
    _stuck_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, unless there are as many as may be."""
        super().connection_made(transport)
        self.watch = self.app_state["watch"]
        self._idle_since = self.loop.time()
        if not self.watch.add(self):
            most = self.watch.bounds.connections
            self.refuse(OverloadedError(f"{most} connections are open (SERVICE_MAX_CONNECTIONS)"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self.watch.discard(self)

    def check(self, now: float) -> None:
        """End the connection if its client has taken too long."""
        bounds = self.watch.bounds
        if self.transport.is_closing() or self.flow.write_paused:
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > bounds.write_s:
                self.transport.abort()
            return
        self._stuck_since = None
        if self.flow.read_paused:  # it is we who let it wait
            self._begun_at = now
        elif not self.between:
            most, what = (bounds.head_s, "head") if self.in_head else (bounds.request_s, "body")
            if now - self._begun_at > most:
                self._late(f"the {what} of the request was not complete after {most:g} s")
        elif not self.is_busy() and now - self._idle_since > bounds.idle_s:
            self.transport.close()

    def _late(self, detail: str) -> None:
        cycle = self.cycle
        begun = cycle is not None and not cycle.response_complete
        if begun and (self.in_head or getattr(cycle, "response_started", False)):
            self.transport.close()  # another answer is under way, which this one must not precede
        else:
            self.refuse(RequestTimeoutError(detail))

    def is_busy(self) -> bool:
        """Whether the answer before is not yet complete, or not read: uvicorn makes them wait."""
        cycle = self.cycle
        return self.flow.write_paused or (cycle is not None and not cycle.response_complete)

    def is_too_long(self, data: bytes) -> bool:
        """Whether the head that `data` begins or goes on with is larger than it may be."""
        if not (self.between or self.in_head):
            return False
        room = self.watch.bounds.head_bytes - (0 if self.between else self.head_bytes)
        return len(data) > room and data.find(END_OF_HEAD, 0, room + len(END_OF_HEAD)) < 0

    def on_message_begin(self) -> None:
        """Begin a message."""
        self.between = False
        self.in_head = True
        self.head_bytes = 0
        self._begun_at = self.loop.time()
        super().on_message_begin()

    def on_response_complete(self) -> None:
        """Be ready for the next request. It is the watch that ends a connection that idles."""
        self._idle_since = self.loop.time()
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def refuse(self, error: ServiceError, request_id: str | None = None) -> None:
        """Answer with a problem that is not about a request, and close the connection."""
        request_id = request_id or request_id_of(None)
        reply = response_reply(problem_response(error))
        self.write(reply, request_id, keep_alive=False)
        self.app_state["reception"].served(Visit("", "", None, request_id), reply.status, 0)

    def refuse_head(self) -> None:
        """Answer a head that is too large."""
        most = self.watch.bounds.head_bytes
        self.refuse(
            HeadTooLargeError(f"the head has more than {most} bytes (SERVICE_MAX_HEAD_BYTES)")
        )

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request."""
        self.refuse(MalformedRequestError(f"{msg} The connection was closed"))

    def write(self, reply: HttpResponse, request_id: str, *, keep_alive: bool) -> None:
        """Write an answer."""
        headers = lines((*self.server_state.default_headers, *reply.headers))
        end = b"" if keep_alive else b"connection: close\r\n"
        tail = b"x-request-id: %b\r\n%b%b\r\n" % (request_id.encode(), COMMON, end)
        head = (STATUS_LINES[reply.status], headers, tail)
        if sum(map(len, reply.chunks)) <= JOINED_BYTES:
            self.transport.write(b"".join((*head, *reply.chunks)))
        else:
            self.transport.write(b"".join(head))
            for chunk in reply.chunks:
                self.transport.write(chunk)
        if not keep_alive:
            self.transport.close()


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines of these headers."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
