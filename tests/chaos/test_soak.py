"""Mixed calls for a long time: what a server holds does not grow with the calls it has answered."""

from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Final

from tests.chaos.clients import MIX, RIGHT, Histogram, crowd
from tests.chaos.metrics import figure, inside
from tests.chaos.processes import family, lane_processes, new_mark, private_bytes, until
from tests.chaos.settings import SECONDS
from tests.rigs.servers import Server, server

SEED: Final = 7
CLIENTS: Final = 4
PARTS: Final = 4
# Free memory stays with its allocator in pieces: of the largest body in the mix, 4 MB, a few for
# the server and for each worker. Were one such body kept for each call, a part would leave 100 MB.
SERVER_BYTES: Final = 32 * 2**20
ALL_BYTES: Final = 96 * 2**20


@dataclass(frozen=True, slots=True)
class Held:
    """What a server and its processes hold when nothing is asked."""

    server_bytes: int
    all_bytes: int
    descriptors: int
    threads: int
    processes: int


def held(running: Server, mark: dict[str, str]) -> Held:
    """A reading, once the server has tidied up and given memory back."""
    until(lambda: not inside(running.url) and not figure(running.url, "bytes_in_flight"))
    Event().wait(1.5)  # it tidies half a second after the last large call
    return Held(
        running.resident_bytes(),
        sum(map(private_bytes, family(mark))),
        running.descriptors(),
        running.threads(),
        len(lane_processes(mark)),
    )


def has_all(tally: Histogram) -> bool:
    """Whether each kind of call has been answered."""
    return all(tally.right(each.name) for each in MIX)


def test_nothing_grows() -> None:
    """From the first part of the load, when all has been started, to the last one."""
    mark, asked, readings = new_mark(), 0, []
    with server(**mark) as running:
        for part in range(PARTS):
            with crowd(running.url, clients=CLIENTS, seed=SEED + part) as tally:
                Event().wait(SECONDS / PARTS)
                until(partial(has_all, tally), 60)
            assert not tally.faults, tally.faults[:5]
            assert {*tally.by_story()} == {RIGHT}
            asked += tally.by_story()[RIGHT]
            readings.append(held(running, mark))
        for reading in readings:
            print(reading)
        print(f"seed {SEED}; {asked} calls, all right")
        early, last = readings[1], readings[-1]
        assert last.server_bytes < early.server_bytes + SERVER_BYTES
        assert last.all_bytes < early.all_bytes + ALL_BYTES
        assert last.descriptors <= early.descriptors
        assert last.threads <= early.threads
        assert last.processes <= early.processes
        assert running.is_healthy()
