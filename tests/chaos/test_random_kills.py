"""Worker processes are killed at random while clients call: no response is wrong."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Final

from tests.chaos.clients import LOOPS, MIX, RIGHT, calling_clients, fault, send_once
from tests.chaos.metrics import calls_inside, metric
from tests.chaos.processes import children, executor_processes, is_fork_server, new_mark, until
from tests.chaos.settings import SECONDS
from tests.rigs.servers import Server, server

SEED: Final = 9
CLIENTS: Final = 6
WAYS: Final = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
# The next worker waits for another fork server, which imports torch: a second or two.
FORK_SERVER_EVERY_S: Final = 6.0
# Threads of asyncio's own pool, on which processes are started; it makes them as they are needed.
POOL_THREADS: Final = (os.cpu_count() or 1) + 4


@contextmanager
def random_kills(mark: dict[str, str], random: Random) -> Iterator[dict[str, int]]:
    """Kill a random executor process again and again until the end of the block."""
    killed = {"workers": 0, "fork servers": 0}
    end = Event()

    def kill() -> None:
        fork_server_at = monotonic() + 1
        while not end.wait(random.uniform(0.02, 0.3)):
            wants_fork_server = monotonic() > fork_server_at
            found = [
                pid
                for pid in sorted(executor_processes(mark))
                if is_fork_server(pid) == wants_fork_server
            ]
            if found:
                fork_server_at += FORK_SERVER_EVERY_S * wants_fork_server
                with suppress(ProcessLookupError):
                    os.kill(random.choice(found), random.choice(WAYS))
                    killed["fork servers" if wants_fork_server else "workers"] += 1

    thread = Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        end.set()
        thread.join()


def test_workers_are_killed_at_random() -> None:
    """No response is wrong, no resource leaks, and each kind of call is served throughout."""
    mark, slots = new_mark(), 2
    with server(SERVICE_PROCESSES=str(slots), SERVICE_DEADLINE_MS="15000", **mark) as running:
        with calling_clients(running.url, clients=CLIENTS, seed=SEED):  # starts all processes
            until(lambda: len(executor_processes(mark)) == slots + 1)
            until(lambda: metric(running.url, "calls_inside") > 0)
        settle(running)
        before = running.descriptors(), running.threads()
        with (
            calling_clients(running.url, clients=CLIENTS, seed=SEED, pause_s=0.1) as outcomes,
            random_kills(mark, Random(SEED)) as killed,
        ):
            Event().wait(SECONDS)
            until(lambda: killed["workers"] > 3 and killed["fork servers"], 60)
        recovered_s = recovery(running)
        print(
            f"seed {SEED}; killed {killed}; {outcomes.by_outcome()}; recovery {recovered_s:.2f} s"
        )
        print(
            f"descriptors and threads {before}, then {(running.descriptors(), running.threads())}"
        )
        assert not outcomes.faults, outcomes.faults[:5]
        assert {*outcomes.by_outcome()} <= {RIGHT, "503 worker-died", "503 overloaded"}
        assert all(outcomes.successes(each.name) for each in MIX)
        settle(running)
        until(lambda: running.descriptors() <= before[0])
        assert running.threads() <= before[1] + POOL_THREADS
        assert len(executor_processes(mark)) <= slots + 1
        until(lambda: children(running.process.pid) <= executor_processes(mark))


def recovery(running: Server) -> float:
    """Return the seconds until a call in a worker process gets a correct result."""
    began = monotonic()
    answer = send_once(running.url, LOOPS)
    assert (answer.outcome, fault(LOOPS, answer)) == (RIGHT, "")
    return monotonic() - began


def settle(running: Server) -> None:
    """Wait until no call and no body is inside, and the server is healthy."""
    until(lambda: not calls_inside(running.url) and not metric(running.url, "bytes_in_flight"))
    assert running.is_healthy()
