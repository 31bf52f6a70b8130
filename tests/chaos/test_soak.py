"""Mixed calls for a long time: resources of a server do not grow with the calls it answered."""

from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Final

from tests.chaos.clients import MIX, RIGHT, Outcomes, calling_clients
from tests.chaos.metrics import calls_inside, metric
from tests.chaos.processes import executor_processes, family, new_mark, private_bytes, until
from tests.chaos.settings import SECONDS
from tests.rigs.servers import Server, server

SEED: Final = 7
CLIENTS: Final = 4
PARTS: Final = 4
# Free memory stays with its allocator in pieces: of the largest body in the mix, 4 MB, a few for
# the server and for each worker. Were one such body kept for each call, a part would leave 100 MB.
SERVER_BYTES: Final = 32 * 2**20
ALL_BYTES: Final = 96 * 2**20
# A pool starts a thread when a call finds no other free, at times as late as in the last part:
# one for each slot of the pools of calls and of readings. Kept for each call it would be hundreds.
THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Held:
    """Resources of a server and its processes while it is idle."""

    server_bytes: int
    all_bytes: int
    descriptors: int
    threads: int
    processes: int


def held(running: Server, mark: dict[str, str]) -> Held:
    """Return the resources once the server has trimmed its memory."""
    until(lambda: not calls_inside(running.url) and not metric(running.url, "bytes_in_flight"))
    Event().wait(1.5)  # it trims its memory half a second after the last large call
    return Held(
        running.resident_bytes(),
        sum(map(private_bytes, family(mark))),
        running.descriptors(),
        running.threads(),
        len(executor_processes(mark)),
    )


def has_all(outcomes: Outcomes) -> bool:
    """Return whether each kind of call got a correct result."""
    return all(outcomes.successes(each.name) for each in MIX)


def test_nothing_grows() -> None:
    """Memory, descriptors, threads and processes stay as they are after the second part."""
    mark, asked, readings = new_mark(), 0, []
    with server(**mark) as running:
        for part in range(PARTS):
            with calling_clients(running.url, clients=CLIENTS, seed=SEED + part) as outcomes:
                Event().wait(SECONDS / PARTS)
                until(partial(has_all, outcomes), 60)
            assert not outcomes.faults, outcomes.faults[:5]
            assert {*outcomes.by_outcome()} == {RIGHT}
            asked += outcomes.by_outcome()[RIGHT]
            readings.append(held(running, mark))
        for reading in readings:
            print(reading)
        print(f"seed {SEED}; {asked} calls, all right")
        early, last = readings[1], readings[-1]
        assert last.server_bytes < early.server_bytes + SERVER_BYTES
        assert last.all_bytes < early.all_bytes + ALL_BYTES
        assert last.descriptors <= early.descriptors
        assert last.threads <= early.threads + THREADS
        assert last.processes <= early.processes
        assert running.is_healthy()
