"""Several server processes: their start, replacement and end. tests/chaos has them in real life."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from time import sleep

import pytest
from uvicorn.config import STARTUP_FAILURE

from service.server.supervisor import Heartbeat, Supervisor


def fail(listener: socket.socket, heartbeat: Heartbeat) -> None:
    """Be a process that cannot start."""
    sys.exit(STARTUP_FAILURE)


def end_once(listener: socket.socket, heartbeat: Heartbeat) -> None:
    """End after a heartbeat the first time, and wait for ever the second time."""
    if starts() > 1:
        signal.pause()
    heartbeat()


def hang_once(listener: socket.socket, heartbeat: Heartbeat) -> None:
    """Stop after a heartbeat the first time; the second time, wait for the first one for ever."""
    if starts() == 1:
        heartbeat()
        os.kill(os.getpid(), signal.SIGSTOP)
    signal.pause()


def hang_at_the_end(listener: socket.socket, heartbeat: Heartbeat) -> None:
    """Take no notice of SIGTERM, after a heartbeat."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    heartbeat()
    starts()
    signal.pause()


def finish_late(listener: socket.socket, heartbeat: Heartbeat) -> None:
    """End at SIGTERM: the first process at once, the second one after half a second."""
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda sig, _: signals.append(sig))
    left = 0 if starts() == 1 else 25
    while not signals or left:
        heartbeat()
        sleep(0.02)
        left -= bool(signals and left)


def stay(listener: socket.socket, heartbeat: Heartbeat) -> None:
    """Take no notice of a first signal, and have no heartbeat."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    starts()
    signal.pause()


def starts() -> int:
    """Note the start of this process; the number of them so far."""
    file = Path(os.environ["STARTS"])
    with file.open("a", encoding="ascii") as noted:
        noted.write(f"{os.getpid()}\n")
    return len(file.read_text(encoding="ascii").splitlines())


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """A socket; `STARTS` names a file in which processes note their starts."""
    monkeypatch.setenv("STARTS", str(tmp_path / "starts"))
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    with socket.socket() as listener:
        yield listener
    for each, handler in handlers.items():
        signal.signal(each, handler)


def once_started(count: int, supervisor: Supervisor, signals: list[int]) -> None:
    """Send signals to a supervisor when so many starts have been noted."""
    file = Path(os.environ["STARTS"])
    if file.exists() and len(file.read_text(encoding="ascii").splitlines()) >= count:
        for each in signals:
            supervisor.handle_signal(each, None)
    else:
        Timer(0.05, once_started, [count, supervisor, signals]).start()


def test_a_process_that_cannot_start_ends_them_all(listener: socket.socket) -> None:
    """It would fail again and again."""
    assert Supervisor(fail, 2, listener).run() == STARTUP_FAILURE


@pytest.mark.parametrize(
    ("serve", "status"),
    [pytest.param(end_once, 0, id="ends"), pytest.param(hang_once, -signal.SIGKILL, id="hangs")],
)
def test_a_process_is_replaced(
    serve: Callable[[socket.socket, Heartbeat], None],
    status: int,
    listener: socket.socket,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that ends, or has no heartbeat any more; one that still starts is left alone."""
    supervisor = Supervisor(serve, 1, listener, hang_s=0.4)
    once_started(2, supervisor, [signal.SIGTERM])
    assert supervisor.run() == 0
    *hung, ended = [each.message for each in caplog.records if each.name == "service"]
    assert f"has ended ({status}); another starts" in ended
    assert [each.endswith("hangs and is killed") for each in hung] == [True] * (status != 0)


def test_a_process_that_hangs_at_its_end_is_killed(listener: socket.socket) -> None:
    """It has nothing to finish: a process that drains has its heartbeat."""
    supervisor = Supervisor(hang_at_the_end, 1, listener, hang_s=0.4)
    once_started(1, supervisor, [signal.SIGTERM])
    assert supervisor.run() == 0


def test_a_process_that_ends_costs_no_other_its_time(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the system has removed it, waiting for its end takes no time, and is no tick."""
    supervisor = Supervisor(finish_late, 2, listener, hang_s=0.4)
    once_started(2, supervisor, [signal.SIGTERM])
    assert supervisor.run() == 0
    assert not [each for each in caplog.records if each.name == "service"]


def test_the_second_signal_kills_them(listener: socket.socket) -> None:
    """Whatever they do."""
    supervisor = Supervisor(stay, 1, listener)
    once_started(1, supervisor, [signal.SIGTERM, signal.SIGINT])
    assert supervisor.run() == 128 + signal.SIGINT
