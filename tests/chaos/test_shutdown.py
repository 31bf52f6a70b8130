"""How a server ends: in order at a signal, at once at the second, and whole when it is killed."""

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
    Ask,
    Got,
    crowd,
    fault,
    loops,
    once,
)
from tests.chaos.metrics import ask as ask_for
from tests.chaos.metrics import inside
from tests.chaos.processes import family, is_template, lane_processes, new_mark, until
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


def half_post(ask: Ask, count: int) -> tuple[bytes, bytes]:
    """A request of a client that sends `count` bytes of its body first, and then the rest."""
    length = f"POST {ask.path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(ask.body)}\r\n\r\n"
    return length.encode() + ask.body[:count], ask.body[count:]


@contextmanager
def asked(running: Server, mark: dict[str, str], *asks: Ask) -> Iterator[list[Future[Got]]]:
    """Calls that are under way, each on a connection of its own."""

    def ask_one(ask: Ask) -> Got:
        # One of several server processes may still warm up.
        while (answer := once(running.url, ask)).story == "503 warming-up":
            sleep(0.1)
        return answer

    with ThreadPoolExecutor(len(asks)) as pool:
        coming = [pool.submit(ask_one, ask) for ask in asks]
        until(lambda: inside(running.url) >= len(asks) and has_worker(mark))
        yield coming


def has_worker(mark: dict[str, str]) -> bool:
    """Whether a template has imported all that it must, and has forked."""
    return not all(map(is_template, lane_processes(mark)))


def memory_files() -> set[str]:
    """What lies in shared memory."""
    return {each.name for each in Path("/dev/shm").iterdir()}


def test_a_signal_lets_it_finish() -> None:
    """What was accepted is answered right, what comes is refused, and nothing is left."""
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
        with asked(running, mark, BUSY, BUSY, BUSY) as coming:
            running.process.send_signal(TERM)
            assert idle.recv(1) == b"", "an idle connection is closed"
            half.sendall(get[30:])
            text = b"".join(iter(lambda: half.recv(9999), b""))
            assert text.startswith(b"HTTP/1.1 503"), "what comes now is refused"
            assert ask_for(running.url, "/health/live").status == 200
            assert ask_for(running.url, "/health/ready").story == "503 draining"
            for each in (TINY, BYTES, LARGE):
                answer = once(running.url, each)
                assert (answer.story, fault(each, answer)) == ("503 draining", "")
                assert answer.headers["connection"] == "close"
            assert not all(each.done() for each in coming), "it was asked too late"
            body.sendall(rest)
            text = b"".join(iter(lambda: body.recv(9999), b""))
            assert text.startswith(b"HTTP/1.1 200")
            for future in coming:
                assert (future.result().story, fault(BUSY, future.result())) == (RIGHT, "")
        assert running.process.wait(GRACE_S) == 0
        until(lambda: not family(mark), 3)
        assert memory_files() <= shared
        with pytest.raises(ConnectionRefusedError):
            running.connect()


@pytest.mark.parametrize("servers", [1, 2] if IS_LONG else [1])
def test_a_signal_under_load(servers: int) -> None:
    """Every answer that comes is right or a refusal; clients are left only between requests."""
    mark = new_mark()
    print(f"seed {SEED}")
    with server(SERVICE_WORKERS=str(servers), **mark) as running:
        with crowd(running.url, clients=8, seed=SEED) as tally:
            until(lambda: sum(tally.stories.values()) > 50 * SECONDS, 60 + SECONDS)
            running.process.send_signal(TERM)
            assert running.process.wait(GRACE_S) == 0
        until(lambda: not family(mark), 3)
        print(tally.by_story())
        # A client may send just as its idle connection closes; a new one finds nobody.
        left = ("Connection refused", "Remote end closed", "Connection reset", "Broken pipe")
        wrong = [each for each in tally.faults if not any(word in each for word in left)]
        assert not wrong
        # With several, each warms up for itself.
        refusals = {"503 draining", "503 overloaded", "503 warming-up"}
        assert {*tally.by_story()} <= {RIGHT, "no answer", *refusals}


@pytest.mark.parametrize(("ways", "servers"), ENDS)
def test_a_second_signal_ends_it_at_once(ways: tuple[signal.Signals, ...], servers: int) -> None:
    """Calls under way are broken off, and their processes end with it."""
    mark = new_mark()
    with server(SERVICE_WORKERS=str(servers), **PATIENT, **mark) as running:
        with asked(running, mark, ENDLESS) as coming:
            running.process.send_signal(ways[0])
            until(lambda: ask_for(running.url, "/health/ready").status == 503)
            running.process.send_signal(ways[1])
            assert running.process.wait(10) == 128 + ways[1]
            with pytest.raises((OSError, HTTPException)):
                coming[0].result()
        until(lambda: not family(mark), 3)


def test_a_killed_server_takes_all_along() -> None:
    """Workers, their template, and server processes beside it end by themselves."""
    mark = new_mark()
    with server(SERVICE_WORKERS="2", **PATIENT, **mark) as running:
        with asked(running, mark, ENDLESS) as coming:
            running.process.kill()
            with pytest.raises((OSError, HTTPException)):
                coming[0].result()
            seconds = until(lambda: not family(mark), 3)
        print(f"all had ended after {seconds:.2f} s")


def test_a_server_process_that_dies_is_replaced() -> None:
    """Beside another one: the next request finds either, and both are there again."""
    mark = new_mark()
    with server(SERVICE_WORKERS="2", **mark) as running:
        one, *others = sorted(serving_processes(mark) - {running.process.pid})
        assert others
        os.kill(one, signal.SIGKILL)
        until(lambda: one not in serving_processes(mark))
        until(lambda: len(serving_processes(mark)) == 3, 30)
        until(running.is_healthy, 30)


def serving_processes(mark: dict[str, str]) -> set[int]:
    """The server and those that serve for it."""
    return {pid for pid in family(mark) - lane_processes(mark) if is_service(pid)}


def is_service(pid: int) -> bool:
    """Whether a process is not one of Python's own, which tracks resources."""
    with suppress(OSError):
        return b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_a_client_that_stalls_does_not_hold_the_end() -> None:
    """Its body never comes whole, and it does not read: both have their times."""
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
