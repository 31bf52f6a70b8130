"""Several server processes that listen on one socket: started, kept running, ended together."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from threading import Thread
from time import sleep
from types import FrameType
from typing import Final

from uvicorn.config import STARTUP_FAILURE

TICK_S: Final = 0.2
# One that ends whenever it starts shall leave the cores to the others.
RESTART_S: Final = 1.0
log: Final = logging.getLogger("service")


class Supervisor:
    """Keeps `count` processes that run `serve` until a signal comes.

    The first one goes on to them, and each ends in order; at the second they are killed.
    """

    def __init__(self, serve: Callable[[socket.socket], None], count: int, listener: socket.socket):
        """Start nothing yet. `serve` is a function of a module, which the processes import."""
        self._serve = serve
        self._count = count
        self._listener = listener
        self._members: list[SpawnProcess] = []
        self._signals: list[int] = []

    def run(self) -> int:
        """Run to the end: the status to exit with."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self.handle_signal)
        self._members = [self._start() for _ in range(self._count)]
        while not self._signals:
            connection.wait([member.sentinel for member in self._members], TICK_S)
            if any(member.exitcode == STARTUP_FAILURE for member in self._members):
                log.error("a server process could not start")
                return self._end(STARTUP_FAILURE)
            self._members = [self._kept(member) for member in self._members]
        return self._end(0)

    def handle_signal(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal; the loop sees it."""
        self._signals.append(sig)

    def _start(self) -> SpawnProcess:
        member = get_context("spawn").Process(target=_be_member, args=(self._serve, self._listener))
        member.start()
        return member

    def _kept(self, member: SpawnProcess) -> SpawnProcess:
        """A member that runs: this one, or another in its place."""
        if member.exitcode is None:
            return member
        log.error("server process %d has ended (%d); another starts", member.pid, member.exitcode)
        sleep(RESTART_S)
        return self._start()

    def _end(self, status: int) -> int:
        self._listener.close()  # theirs decide how long somebody listens
        for member in self._members:
            member.terminate()
        while running := [member.sentinel for member in self._members if member.exitcode is None]:
            if len(self._signals) > 1:
                for member in self._members:
                    member.kill()
                status = 128 + self._signals[1]
            connection.wait(running, TICK_S)
        return status


def _be_member(serve: Callable[[socket.socket], None], listener: socket.socket) -> None:
    # Ctrl-C in a terminal is for the supervisor, whose signal would be the second one here.
    os.setpgrp()
    Thread(target=_end_with_parent, daemon=True).start()
    serve(listener)


def _end_with_parent() -> None:  # pragma: no cover - ends its process
    parent = parent_process()
    assert parent is not None  # noqa: S101  # it has been spawned
    parent.join()
    os._exit(1)
