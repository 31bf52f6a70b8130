"""A worker process dies or runs out of memory: other calls are not affected."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.chaos.clients import (
    BYTES,
    LOOPS,
    RIGHT,
    TINY,
    CheckedCall,
    calling_clients,
    fault,
    integers,
    loops,
    send_once,
)
from tests.chaos.metrics import calls_inside
from tests.chaos.processes import executor_processes, is_fork_server, new_mark, until
from tests.rigs.request_bodies import JSON
from tests.rigs.servers import Server, server

# A second or more.
BUSY: Final = loops(34)
SEED: Final = 2


def fill() -> CheckedCall:
    """A sum whose operands take more memory as lists than the worker has."""
    x = {"shape": [1000, 1000], "dtype": "float64", "data": [0.5] * 1_000_000}
    body = json.dumps({"operands": [x] * 3, "op": "add", "strategy": "python"}).encode()
    return CheckedCall("fill", "/broadcast", body, {"Content-Type": JSON}, integers(1))


def test_a_killed_worker_fails_no_call() -> None:
    """The call of a worker that dies is computed again, and other calls go on."""
    mark = new_mark()
    with server(SERVICE_PROCESSES="2", **mark) as running:
        for way in (signal.SIGKILL, signal.SIGSEGV):
            until(lambda: send_once(running.url, LOOPS).outcome == RIGHT)
            with (
                calling_clients(running.url, [TINY, BYTES], clients=2, seed=SEED) as small,
                ThreadPoolExecutor(2) as pool,
            ):
                coming = [pool.submit(send_once, running.url, BUSY) for _ in range(2)]
                until(lambda: calls_inside(running.url) >= 2 and len(workers(mark)) == 2)
                os.kill(min(workers(mark)), way)
                answers = [each.result() for each in coming]
            assert [(each.outcome, fault(BUSY, each)) for each in answers] == [(RIGHT, "")] * 2
            assert not small.faults
            assert {*small.by_outcome()} == {RIGHT}
        assert running.is_healthy()


def workers(mark: dict[str, str]) -> list[int]:
    """Return the processes that a fork server has forked."""
    return [pid for pid in executor_processes(mark) if not is_fork_server(pid)]


def test_a_call_out_of_memory_fails_alone() -> None:
    """It gets a 503; its worker releases the memory and serves the next call."""
    mark, much = new_mark(), fill()
    settings = {"SERVICE_PROCESSES": "1", "SERVICE_WORKER_MEMORY_BYTES": str(2**26)}
    # The call would take seconds: on a busy host its estimate is several times as long.
    settings["SERVICE_DEADLINE_MS"] = "300000"
    with server(**settings, **mark) as running:
        until(lambda: send_once(running.url, LOOPS).outcome == RIGHT)
        before = workers(mark)
        with calling_clients(running.url, [TINY, BYTES, LOOPS], clients=3, seed=SEED) as others:
            for _ in range(3):
                refused(running, much)
        assert not others.faults
        assert {*others.by_outcome()} == {RIGHT}
        assert workers(mark) == before
        assert running.is_healthy()


def refused(running: Server, much: CheckedCall) -> None:
    """Assert that a call gets a 503 with Retry-After for lack of memory."""
    answer = send_once(running.url, much)
    assert (answer.outcome, fault(much, answer)) == ("503 out-of-memory", "")
