"""Server processes: how one ends, and how several are kept. tests/chaos has them in real life."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE

from service.server.shutdown import Server
from service.server.supervisor import Supervisor


def test_the_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first asks for an end; the second one does not wait for it."""
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    server = Server(Config("none"))
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    assert not ends
    server.handle_exit(signal.SIGTERM, None)
    assert ends == [128 + signal.SIGTERM]


def fail(listener: socket.socket) -> None:
    """Be a process that cannot start."""
    sys.exit(STARTUP_FAILURE)


def end_once(listener: socket.socket) -> None:
    """End the first time, and wait for ever the second time."""
    file = Path(os.environ["MET"])
    with file.open("a", encoding="ascii") as met:
        met.write(f"{os.getpid()}\n")
    if len(file.read_text(encoding="ascii").splitlines()) > 1:
        signal.pause()


def stay(listener: socket.socket) -> None:
    """Take no notice of a first signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(os.environ["MET"]).touch()
    signal.pause()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """A socket; `MET` names a file for a process to tell that it was there."""
    monkeypatch.setenv("MET", str(tmp_path / "met"))
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    with socket.socket() as listener:
        yield listener
    for each, handler in handlers.items():
        signal.signal(each, handler)


def when_met(lines: int, supervisor: Supervisor, signals: list[int]) -> None:
    """Send signals to a supervisor when so many processes have told that they are there."""
    file = Path(os.environ["MET"])
    if file.exists() and len(file.read_text(encoding="ascii").splitlines()) >= lines:
        for each in signals:
            supervisor.handle_signal(each, None)
    else:
        Timer(0.05, when_met, [lines, supervisor, signals]).start()


def test_a_process_that_cannot_start_ends_them_all(listener: socket.socket) -> None:
    """It would fail again and again."""
    assert Supervisor(fail, 2, listener).run() == STARTUP_FAILURE


def test_a_process_that_ends_is_replaced(listener: socket.socket) -> None:
    """Until a signal ends them."""
    supervisor = Supervisor(end_once, 1, listener)
    when_met(2, supervisor, [signal.SIGTERM])
    assert supervisor.run() == 0


def test_the_second_signal_kills_them(listener: socket.socket) -> None:
    """Whatever they do."""
    supervisor = Supervisor(stay, 1, listener)
    when_met(0, supervisor, [signal.SIGTERM, signal.SIGINT])
    assert supervisor.run() == 128 + signal.SIGINT
