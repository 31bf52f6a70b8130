"""Fork server: a process that has imported the modules of a worker, and forks workers on request.

A fresh interpreter imports torch for more than a second; a fork takes milliseconds. The server
process itself is not forked: that would copy the locks of its threads in any state, and break CUDA.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from service.executors.shared_buffer import SharedBuffer

# A fork of a process with threads may hang, so this one has no other thread. Workers set their own
# numbers of threads.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Importing torch from a cold disk takes a while.
START_S: Final = 60.0
PROGRAM: Final = "service.executors"
MESSAGE: Final = b"!"  # descriptors are sent beside at least one byte


class ForkServer:
    """Client of the fork server process, which starts on first use and again after it has died."""

    def __init__(self, modules: Sequence[str]):
        """Start nothing yet. `modules` are the names of the modules that workers need."""
        self._modules = tuple(modules)
        self._lock = Lock()
        self._running: ForkServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the fork server, or None before it has been started."""
        return None if self._running is None else self._running.process.pid

    def warm(self) -> None:
        """Start the fork server, without waiting until it has imported its modules."""
        with self._lock:
            if self._running is None:
                self._running = start_fork_server(self._modules)

    def fork(self, worker_socket: socket.socket, buffers: Sequence[SharedBuffer]) -> int:
        """Fork a worker that serves requests from `worker_socket`, and return its pidfd.

        Raises OSError if no worker can be started.
        """
        with self._lock:
            if self._running is not None:
                with suppress(OSError):
                    return self._running.fork(worker_socket, buffers)
                self._running.end()
            self._running = start_fork_server(self._modules)
            return self._running.fork(worker_socket, buffers)

    def close(self) -> None:
        """Kill the fork server; workers that it has forked stay."""
        with self._lock:
            if self._running is not None:
                self._running.end()
                self._running = None


@dataclass(frozen=True, slots=True)
class ForkServerProcess:
    """Running fork server, and the socket to it."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    def fork(self, worker_socket: socket.socket, buffers: Sequence[SharedBuffer]) -> int:
        """Fork a worker and return its pidfd; OSError if the fork server is dead or dies of it."""
        descriptors = [worker_socket.fileno(), *(each.descriptor for each in buffers)]
        socket.send_fds(self.control, [MESSAGE], descriptors)
        _, forked, _, _ = socket.recv_fds(self.control, 1, 1)
        if not forked:
            raise ConnectionResetError("the process that workers are forked from has ended")
        return forked[0]

    def end(self) -> None:
        """Kill the fork server, and wait for its exit."""
        self.control.close()
        self.process.kill()
        self.process.wait()


def start_fork_server(modules: Sequence[str]) -> ForkServerProcess:
    """Start a fork server, which imports the modules now."""
    control, theirs = socket.socketpair()
    control.settimeout(START_S)
    with theirs:
        descriptor = theirs.fileno()
        process = subprocess.Popen(  # noqa: S603  # the interpreter of this process
            [sys.executable, "-P", "-m", PROGRAM, "fork-server", str(descriptor), *modules],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            env={**environment(), **ONE_THREAD},
        )
    return ForkServerProcess(process, control)


def environment() -> dict[str, str]:
    """Return environment variables for a process that finds the same modules as this one.

    It needs the option -P, without which modules of the current folder would come first.
    """
    folders = (folder or str(Path.cwd()) for folder in sys.path)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
