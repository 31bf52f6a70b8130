"""Supervisor of several server processes that share one listening socket."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from ctypes import c_uint64
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from threading import Thread
from time import sleep
from types import FrameType
from typing import Final

from uvicorn.config import STARTUP_FAILURE

TICK_S: Final = 0.2
# A pause before a restart, so that a process that always ends leaves the cores to the others.
RESTART_S: Final = 1.0
# Heartbeats come once a second, and later on a loaded host.
HANG_S: Final = 10.0
SPAWN: Final = get_context("spawn")
Heartbeat = Callable[[], None]
Serve = Callable[[socket.socket, Heartbeat], None]
log: Final = logging.getLogger("service")


@dataclass(slots=True)
class ServerProcess:
    """A server process, and the heartbeats that its event loop counts in shared memory.

    `silent_ticks` are the supervisor's own ticks since the count has changed: a clock would take a
    host or container that was paused for a process that hangs.
    """

    process: SpawnProcess
    beats: c_uint64
    seen: int = 0
    silent_ticks: int = 0

    @property
    def is_running(self) -> bool:
        """True if the process has not ended."""
        return self.process.exitcode is None

    def is_silent(self, ticks: int) -> bool:
        """Return whether the process has begun to serve, and has had no heartbeat for `ticks`.

        This method is called once a tick. A start may take as long as it needs: several processes
        that import torch at the same time can take longer than any limit for a heartbeat.
        """
        if self.beats.value != self.seen:
            self.seen = self.beats.value
            self.silent_ticks = 0
        elif self.seen:
            self.silent_ticks += 1
        return self.silent_ticks > ticks


class Supervisor:
    """Run `count` processes of `serve` until a signal comes, and replace those that end or hang.

    The first signal is passed on to them as SIGTERM, and each ends in order. The second one kills
    them.
    """

    def __init__(
        self, serve: Serve, count: int, listener: socket.socket, *, hang_s: float = HANG_S
    ):
        """Prepare the processes; `serve` is a function of a module that they import.

        `serve` calls its second argument at least once a second from its event loop.
        """
        self._serve = serve
        self._count = count
        self._listener = listener
        self._hang_ticks = round(hang_s / TICK_S)
        self._members: list[ServerProcess] = []
        self._signals: list[int] = []

    def run(self) -> int:
        """Run until all processes have ended, and return the exit status."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self.handle_signal)
        self._members = [self._start() for _ in range(self._count)]
        while not self._signals:
            self._wait()
            if any(member.process.exitcode == STARTUP_FAILURE for member in self._members):
                log.error("a server process could not start")
                return self._end(STARTUP_FAILURE)
            self._members = [self._kept(member) for member in self._members]
        return self._end(0)

    def handle_signal(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal, which the loop of `run` handles."""
        self._signals.append(sig)

    def _start(self) -> ServerProcess:
        beats = SPAWN.RawValue(c_uint64, 0)
        process = SPAWN.Process(target=_run_member, args=(self._serve, self._listener, beats))
        process.start()
        return ServerProcess(process, beats)

    def _wait(self) -> None:
        """Wait until a process ends, for one tick at most, and kill those that hang."""
        running = [member.process.sentinel for member in self._members if member.is_running]
        # Only whole ticks count. While a process is being removed, this does not wait.
        if connection.wait(running, TICK_S):
            return
        for member in self._members:
            if member.is_running and member.is_silent(self._hang_ticks):
                log.error("server process %d hangs and is killed", member.process.pid)
                member.process.kill()

    def _kept(self, member: ServerProcess) -> ServerProcess:
        """Return the member, or a new one in its place if it has ended."""
        if member.is_running:
            return member
        process = member.process
        log.error("server process %d has ended (%d); another starts", process.pid, process.exitcode)
        sleep(RESTART_S)
        return self._start()

    def _end(self, status: int) -> int:
        self._listener.close()  # the processes decide how long connections are accepted
        for member in self._members:
            member.process.terminate()
        while any(member.is_running for member in self._members):
            if len(self._signals) > 1:
                for member in self._members:
                    member.process.kill()
                status = 128 + self._signals[1]
            self._wait()
        return status


def _run_member(serve: Serve, listener: socket.socket, beats: c_uint64) -> None:
    def beat() -> None:
        beats.value += 1

    # Ctrl-C in a terminal is for the supervisor, whose signal would be the second one here.
    os.setpgrp()
    Thread(target=_end_with_parent, daemon=True).start()
    serve(listener, beat)


def _end_with_parent() -> None:  # pragma: no cover - ends its process
    parent = parent_process()
    assert parent is not None  # noqa: S101  # it has been spawned
    parent.join()
    os._exit(1)
