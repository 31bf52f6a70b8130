"""Worker processes die in any way while clients ask: answers are right, or refusals."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Final

from tests.chaos.clients import LOOPS, MIX, RIGHT, crowd, fault, once
from tests.chaos.metrics import figure, inside
from tests.chaos.processes import children, is_template, lane_processes, new_mark, until
from tests.chaos.settings import SECONDS
from tests.rigs.servers import Server, server

SEED: Final = 9
CLIENTS: Final = 6
WAYS: Final = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
# The next worker waits for another template, which imports torch: a second or two.
TEMPLATE_EVERY_S: Final = 6.0
# Threads of asyncio's own pool, on which processes are started; it makes them as they are needed.
POOL_THREADS: Final = (os.cpu_count() or 1) + 4


@contextmanager
def storm(mark: dict[str, str], random: Random) -> Iterator[dict[str, int]]:
    """Kills a random process of the lanes again and again, until the context ends."""
    killed = {"workers": 0, "templates": 0}
    end = Event()

    def rage() -> None:
        template_at = monotonic() + 1
        while not end.wait(random.uniform(0.02, 0.3)):
            wants_template = monotonic() > template_at
            found = [
                pid for pid in sorted(lane_processes(mark)) if is_template(pid) == wants_template
            ]
            if found:
                template_at += TEMPLATE_EVERY_S * wants_template
                with suppress(ProcessLookupError):
                    os.kill(random.choice(found), random.choice(WAYS))
                    killed["templates" if wants_template else "workers"] += 1

    thread = Thread(target=rage)
    thread.start()
    try:
        yield killed
    finally:
        end.set()
        thread.join()


def test_workers_are_killed_at_random() -> None:
    """Nothing is wrong, nothing is left, and each kind of call is served throughout."""
    mark, slots = new_mark(), 2
    with server(SERVICE_PROCESSES=str(slots), SERVICE_DEADLINE_MS="15000", **mark) as running:
        with crowd(running.url, clients=CLIENTS, seed=SEED):  # all there is has been started
            until(lambda: len(lane_processes(mark)) == slots + 1)
            until(lambda: figure(running.url, "calls_inside") > 0)
        settle(running)
        before = running.descriptors(), running.threads()
        with (
            crowd(running.url, clients=CLIENTS, seed=SEED, pause_s=0.1) as tally,
            storm(mark, Random(SEED)) as killed,
        ):
            Event().wait(SECONDS)
            until(lambda: killed["workers"] > 3 and killed["templates"], 60)
        recovered_s = recovery(running)
        print(f"seed {SEED}; killed {killed}; {tally.by_story()}; recovered in {recovered_s:.2f} s")
        print(
            f"descriptors and threads {before}, then {(running.descriptors(), running.threads())}"
        )
        assert not tally.faults, tally.faults[:5]
        assert {*tally.by_story()} <= {RIGHT, "503 worker-died", "503 overloaded"}
        assert all(tally.right(each.name) for each in MIX)
        settle(running)
        until(lambda: running.descriptors() <= before[0])
        assert running.threads() <= before[1] + POOL_THREADS
        assert len(lane_processes(mark)) <= slots + 1
        until(lambda: children(running.process.pid) <= lane_processes(mark))


def recovery(running: Server) -> float:
    """Seconds until a call of a worker process is answered right."""
    began = monotonic()
    answer = once(running.url, LOOPS)
    assert (answer.story, fault(LOOPS, answer)) == (RIGHT, "")
    return monotonic() - began


def settle(running: Server) -> None:
    """Wait until no call and no body is inside, and the server is healthy."""
    until(lambda: not inside(running.url) and not figure(running.url, "bytes_in_flight"))
    assert running.is_healthy()
