"""The process that workers are forked from: it has imported what they need, and done nothing else.

A worker begun from nothing would import torch for more than a second; a fork takes milliseconds.
Forking the server itself would copy its threads' locks in any state, and break CUDA.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Final

from service.executors.shared_memory import Arena

# Forks of a process with threads may hang: it has one. Workers set their own numbers.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Importing torch from a cold disk takes a while.
START_S: Final = 60.0
PROGRAM: Final = "service.executors"
RING: Final = b"!"  # descriptors travel beside a byte at least


class ForkServer:
    """The server's end: starts the template when it is first needed, and again if it dies."""

    def __init__(self, modules: Sequence[str]):
        """Start nothing yet. `modules` are what workers need, by the names they are imported by."""
        self._modules = tuple(modules)
        self._lock = Lock()
        self._running: Running | None = None

    @property
    def pid(self) -> int | None:
        """The id of the template's process, if it has been started."""
        return None if self._running is None else self._running.process.pid

    def warm(self) -> None:
        """Start the template, without waiting until it has imported what it should."""
        with self._lock:
            if self._running is None:
                self._running = start(self._modules)

    def fork(self, bell: socket.socket, arena: Arena) -> int:
        """A new worker that is rung by `bell`: the descriptor that stands for its process.

        OSError if there is no worker to be had.
        """
        with self._lock:
            if self._running is not None:
                with suppress(OSError):
                    return self._running.fork(bell, arena)
                self._running.end()
            self._running = start(self._modules)
            return self._running.fork(bell, arena)

    def close(self) -> None:
        """End the template; workers that it has forked stay."""
        with self._lock:
            if self._running is not None:
                self._running.end()
                self._running = None


@dataclass(frozen=True, slots=True)
class Running:
    """A template that has been started, and the socket to it."""

    process: subprocess.Popen[bytes]
    line: socket.socket

    def fork(self, bell: socket.socket, arena: Arena) -> int:
        """A new worker; OSError if the template is dead, or dies of it."""
        socket.send_fds(self.line, [RING], [bell.fileno(), arena.descriptor])
        _, forked, _, _ = socket.recv_fds(self.line, 1, 1)
        if not forked:
            raise ConnectionResetError("the process that workers are forked from has ended")
        return forked[0]

    def end(self) -> None:
        """Kill the template."""
        self.line.close()
        self.process.kill()
        self.process.wait()


def start(modules: Sequence[str]) -> Running:
    """A new template, which imports the modules now."""
    line, theirs = socket.socketpair()
    line.settimeout(START_S)
    with theirs:
        descriptor = theirs.fileno()
        process = subprocess.Popen(  # noqa: S603  # this very Python
            [sys.executable, "-m", PROGRAM, "template", str(descriptor), *modules],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            env={**environment(), **ONE_THREAD},
        )
    return Running(process, line)


def environment() -> dict[str, str]:
    """The variables of a process that finds the modules that this one has."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
