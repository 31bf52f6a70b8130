"""One worker dies, or has no memory left: whoever is beside it does not notice."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.chaos.clients import BYTES, LOOPS, RIGHT, TINY, Ask, crowd, fault, loops, once, whole
from tests.chaos.metrics import inside
from tests.chaos.processes import is_template, lane_processes, new_mark, until
from tests.rigs.request_bodies import JSON
from tests.rigs.servers import Server, server

# A second or more.
BUSY: Final = loops(34)
SEED: Final = 2


def fill() -> Ask:
    """A sum whose operands take more memory than the worker has."""
    x = {"shape": [1000, 1000], "dtype": "float64", "data": [0.5] * 1_000_000}
    body = json.dumps({"operands": [x] * 6, "op": "add"}).encode()
    return Ask("fill", "/broadcast", body, {"Content-Type": JSON}, whole(1))


def test_one_death_costs_nobody_anything() -> None:
    """The call whose worker dies is computed again, and the others go on, small ones too."""
    mark = new_mark()
    with server(SERVICE_PROCESSES="2", **mark) as running:
        for way in (signal.SIGKILL, signal.SIGSEGV):
            until(lambda: once(running.url, LOOPS).story == RIGHT)
            with (
                crowd(running.url, [TINY, BYTES], clients=2, seed=SEED) as small,
                ThreadPoolExecutor(2) as pool,
            ):
                coming = [pool.submit(once, running.url, BUSY) for _ in range(2)]
                until(lambda: inside(running.url) >= 2 and len(workers(mark)) == 2)
                os.kill(min(workers(mark)), way)
                answers = [each.result() for each in coming]
            assert [(each.story, fault(BUSY, each)) for each in answers] == [(RIGHT, "")] * 2
            assert not small.faults
            assert {*small.by_story()} == {RIGHT}
        assert running.is_healthy()


def workers(mark: dict[str, str]) -> list[int]:
    """The processes that a template has forked."""
    return [pid for pid in lane_processes(mark) if not is_template(pid)]


def test_memory_that_runs_out_costs_nobody_anything() -> None:
    """503 for that call alone; its worker gives the memory back, and serves the next one."""
    mark, much = new_mark(), fill()
    settings = {"SERVICE_PROCESSES": "1", "SERVICE_WORKER_MEMORY_BYTES": str(2**26)}
    with server(**settings, **mark) as running:
        until(lambda: once(running.url, LOOPS).story == RIGHT)
        before = workers(mark)
        with crowd(running.url, [TINY, BYTES, LOOPS], clients=3, seed=SEED) as others:
            for _ in range(3):
                refused(running, much)
        assert not others.faults
        assert {*others.by_story()} == {RIGHT}
        assert workers(mark) == before
        assert running.is_healthy()


def refused(running: Server, much: Ask) -> None:
    """It is told that there is no memory, and when to come again."""
    answer = once(running.url, much)
    assert (answer.story, fault(much, answer)) == ("503 out-of-memory", "")
