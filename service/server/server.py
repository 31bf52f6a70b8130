"""Server process: uvicorn's, with a heartbeat, which drains at a signal and exits at the second."""

import asyncio
import os
import socket
from collections.abc import Callable
from math import ceil
from types import FrameType
from typing import Final

import uvicorn

from service.pipeline.application import Application
from service.server.connection import Connection, ConnectionMonitor, limits_of
from service.server.fast_request import ResponseBatch
from service.settings import Settings

TICK_S: Final = 0.05
BEAT_S: Final = 1.0


class Server(uvicorn.Server):
    """Serve until a signal comes, and answer what was accepted before the end.

    uvicorn alone closes the listener first, so that clients that ask for readiness are refused
    instead of answered; ignores a second SIGTERM; and dies of the signal after the last response.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        heartbeat: Callable[[], None] | None = None,
    ):
        """Serve with the limits on connections of `settings`.

        The event loop calls `heartbeat` once a second, from the start of serving on.
        """
        super().__init__(config)
        self._heartbeat = heartbeat
        self._monitor = ConnectionMonitor(limits_of(settings))
        self._batch = ResponseBatch(1000 * settings.busy_poll_us)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and begin the heartbeat, which lasts as long as the event loop."""
        # Connections find these in their state, beside the application's own.
        self.lifespan.state |= {"monitor": self._monitor, "batch": self._batch}
        self._monitor.start()
        await super().startup(sockets)
        if self._heartbeat is not None:
            self._beat(self._heartbeat, asyncio.get_running_loop())

    def _beat(self, heartbeat: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        heartbeat()
        loop.call_later(BEAT_S, self._beat, heartbeat, loop)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to shut down, or exit at once if that has begun.

        Worker processes end when their sockets close.
        """
        if self.should_exit:
            # Python would wait for threads that compute.
            os._exit(128 + sig)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests that were accepted, refuse new ones meanwhile, and then close."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.config.timeout_graceful_shutdown or 0)
        application: Application = self.lifespan.state["application"]
        application.drain()
        self._monitor.is_ending = True
        # A connection without a request so far gets a refusal for its first one, and then closes.
        accepted = [each for each in self.server_state.connections if has_request(each)]
        for connection in accepted:
            connection.shutdown()
        left = self.server_state.connections
        while loop.time() < end and not left.isdisjoint(accepted):  # noqa: ASYNC110  # no event
            await asyncio.sleep(TICK_S)
        for server in self.servers:
            server.close()
        await asyncio.sleep(TICK_S)  # the last connections get their refusals, too
        self.config.timeout_graceful_shutdown = ceil(max(0, end - loop.time()))
        await super().shutdown(sockets)
        self._monitor.stop()


def has_request(connection: object) -> bool:
    """Return whether a request has begun, or been answered, on a connection."""
    return isinstance(connection, Connection) and connection.cycle is not None
