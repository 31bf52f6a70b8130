"""The fork server, which may die at any time."""

import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from service.errors import WorkerDiedError
from service.executors import Config, ForkServer, ProcessPool
from service.executors.forkserver import environment
from service.executors.shared_buffer import SharedBuffer
from tests.unit.executors.processes import LONG_MS, is_alive, pid_of, until

CONFIG = Config(make="tests.unit.executors.handlers:obey", memory_bytes=2**28)


async def test_the_fork_server_dies() -> None:
    """Its workers stay, and another one is started for the next worker."""
    fork_server = ForkServer(())
    fork_server.warm()
    fork_server.warm()
    executor = ProcessPool(fork_server.fork, lambda: CONFIG, slots=1, queue=1)
    first = await pid_of(executor)
    pid = fork_server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_alive(pid))
    assert await pid_of(executor) == first
    os.kill(first, signal.SIGKILL)
    assert await pid_of(executor) != first
    await executor.close()
    fork_server.close()
    fork_server.close()


async def test_another_package_of_this_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the current folder is not imported by the processes, as it is not by this one."""
    package = tmp_path / "service"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    monkeypatch.chdir(tmp_path)
    fork_server = ForkServer(())
    executor = ProcessPool(fork_server.fork, lambda: CONFIG, slots=1, queue=1)
    assert is_alive(await pid_of(executor))
    await executor.close()
    fork_server.close()


def test_the_current_folder_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an empty text for `python -c`, which means nothing in the variable."""
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    assert environment()["PYTHONPATH"] == f"{Path.cwd()}{os.pathsep}/elsewhere"


async def test_a_fork_server_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of a worker that dies."""
    fork_server = ForkServer(())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    executor = ProcessPool(fork_server.fork, lambda: CONFIG, slots=1, queue=1)
    with pytest.raises(WorkerDiedError):
        await executor.run(b"pid", b"", deadline_ms=LONG_MS)
    await executor.close()
    fork_server.close()


def test_a_fork_server_that_ends_during_a_fork(fork_server: ForkServer) -> None:
    """It has received the message and returns no worker: its socket is closed."""
    fork_server.warm()
    assert fork_server._running is not None
    control, theirs = socket.socketpair()
    worker_socket, _ = pair = socket.socketpair()

    def end() -> None:
        socket.recv_fds(theirs, 1, 2)
        theirs.close()

    thread = Thread(target=end)
    thread.start()
    with control, pair[0], pair[1], pytest.raises(ConnectionResetError):
        replace(fork_server._running, control=control).fork(worker_socket, [SharedBuffer()])
    thread.join()
