"""A server process: uvicorn's, that ends in order at the first signal and at once at the second."""

import asyncio
import os
import socket
from math import ceil
from types import FrameType
from typing import Final

import uvicorn

from service.pipeline.application import Application
from service.server.connection import Connection, ConnectionMonitor, limits_of
from service.server.fast_request import ResponseBatch
from service.settings import Settings

TICK_S: Final = 0.05


class Server(uvicorn.Server):
    """Serves until a signal comes.

    uvicorn alone stops to listen first, so that nobody can ask whether it is ready; takes no second
    SIGTERM; and dies of the signal when it has done all.
    """

    def __init__(self, config: uvicorn.Config, settings: Settings):
        """Serve as `config` says, with the limits on connections of `settings`."""
        super().__init__(config)
        self._monitor = ConnectionMonitor(limits_of(settings))
        self._batch = ResponseBatch(1000 * settings.busy_poll_us)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and listen; connections find these objects in their state."""
        self.lifespan.state |= {"monitor": self._monitor, "batch": self._batch}
        self._monitor.start()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; at once, if that has begun. Workers end as their sockets close."""
        if self.should_exit:
            # Threads compute, and Python would wait for them.
            os._exit(128 + sig)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what has been accepted, refuse what comes meanwhile, and then listen no more."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.config.timeout_graceful_shutdown or 0)
        application: Application = self.lifespan.state["application"]
        application.drain()
        self._monitor.is_ending = True
        # A connection that has not asked yet is about to: it is told, and then closed.
        accepted = [each for each in self.server_state.connections if has_asked(each)]
        for connection in accepted:
            connection.shutdown()
        left = self.server_state.connections
        while loop.time() < end and not left.isdisjoint(accepted):  # noqa: ASYNC110  # no event
            await asyncio.sleep(TICK_S)
        for server in self.servers:
            server.close()
        await asyncio.sleep(TICK_S)  # who came last is told, too
        self.config.timeout_graceful_shutdown = ceil(max(0, end - loop.time()))
        await super().shutdown(sockets)
        self._monitor.stop()


def has_asked(connection: object) -> bool:
    """Whether a request has begun, or been answered, on a connection."""
    return isinstance(connection, Connection) and connection.cycle is not None
