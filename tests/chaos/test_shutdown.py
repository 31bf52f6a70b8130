"""Shutdown of a server: in order at a signal, at once at the second, complete when killed."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from time import sleep
from typing import Final

import pytest

from tests.chaos.clients import (
    BYTES,
    LARGE,
    RIGHT,
    TINY,
    CallResponse,
    CheckedCall,
    calling_clients,
    fault,
    loops,
    send_once,
)
from tests.chaos.metrics import calls_inside, fetch
from tests.chaos.processes import executor_processes, family, is_fork_server, new_mark, until
from tests.chaos.settings import GRACE_S, IS_LONG, SECONDS
from tests.rigs.servers import Server, server

TERM, INT = signal.SIGTERM, signal.SIGINT
# A second or two: long enough to look around meanwhile.
BUSY: Final = loops(40)
# By far longer than a test waits.
ENDLESS: Final = loops(90)
PATIENT: Final = {"SERVICE_DEADLINE_MS": "300000"}
# Signals, and how many server processes there are.
ENDS: Final = [
    pytest.param((TERM, TERM), 1, id="TERM TERM, one"),
    pytest.param((INT, TERM), 2, id="INT TERM, two"),
]
SEED: Final = 5


def half_post(call: CheckedCall, count: int) -> tuple[bytes, bytes]:
    """Return a request in two parts: up to `count` bytes of its body, and the rest."""
    length = f"POST {call.path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(call.body)}\r\n\r\n"
    return length.encode() + call.body[:count], call.body[count:]


@contextmanager
def calls_under_way(
    running: Server, mark: dict[str, str], *calls: CheckedCall
) -> Iterator[list[Future[CallResponse]]]:
    """Yield calls that run, each on a connection of its own."""

    def send_one(call: CheckedCall) -> CallResponse:
        # One of several server processes may still warm up.
        while (answer := send_once(running.url, call)).outcome == "503 warming-up":
            sleep(0.1)
        return answer

    with ThreadPoolExecutor(len(calls)) as pool:
        coming = [pool.submit(send_one, call) for call in calls]
        until(lambda: calls_inside(running.url) >= len(calls) and has_worker(mark))
        yield coming


def has_worker(mark: dict[str, str]) -> bool:
    """Return whether a fork server has imported its modules and has forked a worker."""
    return not all(map(is_fork_server, executor_processes(mark)))


def memory_files() -> set[str]:
    """Return the names of files in shared memory."""
    return {each.name for each in Path("/dev/shm").iterdir()}


def test_a_signal_lets_it_finish() -> None:
    """Accepted calls are answered, new ones are refused, and no process or memory is left."""
    mark, shared = new_mark(), memory_files()
    with server(**mark) as running, ExitStack() as stack:
        idle, half, body = (stack.enter_context(running.connect()) for _ in range(3))
        idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n")
        taken = b""
        while not taken.endswith(b"}"):
            taken += idle.recv(9999)
        get = b"GET /health/ready HTTP/1.1\r\nHost: here\r\n\r\n"
        half.sendall(get[:30])
        begin, rest = half_post(TINY, 9)
        body.sendall(begin)
        with calls_under_way(running, mark, BUSY, BUSY, BUSY) as coming:
            running.process.send_signal(TERM)
            assert idle.recv(1) == b"", "an idle connection should be closed"
            half.sendall(get[30:])
            text = b"".join(iter(lambda: half.recv(9999), b""))
            assert text.startswith(b"HTTP/1.1 503"), "a new request should be refused"
            assert fetch(running.url, "/health/live").status == 200
            assert fetch(running.url, "/health/ready").outcome == "503 draining"
            for each in (TINY, BYTES, LARGE):
                answer = send_once(running.url, each)
                assert (answer.outcome, fault(each, answer)) == ("503 draining", "")
                assert answer.headers["connection"] == "close"
            assert not all(each.done() for each in coming), "the calls ended too early"
            body.sendall(rest)
            text = b"".join(iter(lambda: body.recv(9999), b""))
            assert text.startswith(b"HTTP/1.1 200")
            for future in coming:
                assert (future.result().outcome, fault(BUSY, future.result())) == (RIGHT, "")
        assert running.process.wait(GRACE_S) == 0
        until(lambda: not family(mark))
        assert memory_files() <= shared
        with pytest.raises(ConnectionRefusedError):
            running.connect()


@pytest.mark.parametrize("servers", [1, 2] if IS_LONG else [1])
def test_a_signal_under_load(servers: int) -> None:
    """Each response is correct or a 503; connections close only between requests."""
    mark = new_mark()
    print(f"seed {SEED}")
    with server(SERVICE_WORKERS=str(servers), **mark) as running:
        with calling_clients(running.url, clients=8, seed=SEED) as outcomes:
            until(lambda: sum(outcomes.counts.values()) > 50 * SECONDS, 60 + SECONDS)
            running.process.send_signal(TERM)
            assert running.process.wait(GRACE_S) == 0
        until(lambda: not family(mark))
        print(outcomes.by_outcome())
        # A client may send just as its idle connection closes; a new one is refused.
        left = ("Connection refused", "Remote end closed", "Connection reset", "Broken pipe")
        wrong = [each for each in outcomes.faults if not any(word in each for word in left)]
        assert not wrong
        # With several, each warms up for itself.
        refusals = {"503 draining", "503 overloaded", "503 warming-up"}
        assert {*outcomes.by_outcome()} <= {RIGHT, "no answer", *refusals}


@pytest.mark.parametrize(("ways", "servers"), ENDS)
def test_a_second_signal_ends_it_at_once(ways: tuple[signal.Signals, ...], servers: int) -> None:
    """Calls under way are broken off, and their processes end with the server."""
    mark = new_mark()
    with server(SERVICE_WORKERS=str(servers), **PATIENT, **mark) as running:
        with calls_under_way(running, mark, ENDLESS) as coming:
            running.process.send_signal(ways[0])
            until(lambda: fetch(running.url, "/health/ready").status == 503)
            running.process.send_signal(ways[1])
            assert running.process.wait(10) == 128 + ways[1]
            with pytest.raises((OSError, HTTPException)):
                coming[0].result()
        until(lambda: not family(mark))


def test_a_killed_server_leaves_no_process() -> None:
    """Workers, their fork server and other server processes end by themselves."""
    mark = new_mark()
    with server(SERVICE_WORKERS="2", **PATIENT, **mark) as running:
        with calls_under_way(running, mark, ENDLESS) as coming:
            running.process.kill()
            with pytest.raises((OSError, HTTPException)):
                coming[0].result()
            seconds = until(lambda: not family(mark))
        print(f"all had ended after {seconds:.2f} s")


def test_a_server_process_that_dies_is_replaced() -> None:
    """The supervisor starts another process, and requests are served meanwhile."""
    mark = new_mark()
    with server(SERVICE_WORKERS="2", **mark) as running:
        one, *others = sorted(serving_processes(mark) - {running.process.pid})
        assert others
        os.kill(one, signal.SIGKILL)
        until(lambda: one not in serving_processes(mark))
        until(lambda: len(serving_processes(mark)) == 3, 30)
        until(running.is_healthy, 30)


def test_a_server_process_that_hangs_is_replaced(tmp_path: Path) -> None:
    """Beside another one, which answers meanwhile."""
    mark = new_mark()
    with server(SERVICE_WORKERS="2", SERVICE_METRICS_DIR=str(tmp_path), **mark) as running:
        until(lambda: len([*tmp_path.glob("*.json")]) == 2)
        sleep(1)  # both serve by now: a process that only starts may take its time
        one, *others = serving_processes(mark) - {running.process.pid}
        assert others
        os.kill(one, signal.SIGSTOP)
        seconds = until(lambda: one not in serving_processes(mark), 30)
        until(lambda: len(serving_processes(mark)) == 3, 30)
        until(running.is_healthy, 30)
        print(f"it was gone after {seconds:.1f} s")


def serving_processes(mark: dict[str, str]) -> set[int]:
    """Return the supervisor and its server processes."""
    return {pid for pid in family(mark) - executor_processes(mark) if is_service(pid)}


def is_service(pid: int) -> bool:
    """Return whether a process is not Python's own resource tracker."""
    with suppress(OSError):
        return b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_a_stalled_client_does_not_delay_the_shutdown() -> None:
    """Timeouts end the connections of a half-sent body and of a client that reads nothing."""
    mark = new_mark()
    times = {"SERVICE_REQUEST_S": "1", "SERVICE_WRITE_S": "1"}
    with server(**times, **mark) as running, ExitStack() as stack:
        stalled, deaf = (stack.enter_context(running.connect()) for _ in range(2))
        stalled.sendall(half_post(LARGE, 1000)[0])
        begin, rest = half_post(LARGE, 0)
        deaf.setblocking(False)
        with suppress(BlockingIOError):
            for _ in range(100):
                deaf.sendall(begin + rest)
        running.process.send_signal(TERM)
        assert running.process.wait(GRACE_S / 2) == 0
