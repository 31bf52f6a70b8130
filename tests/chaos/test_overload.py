"""Ten times more calls than a server can run: each is served in time or refused at once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import Final

from tests.chaos.clients import BYTES, RIGHT, TINY, calling_clients, fault, loops, send_once
from tests.chaos.metrics import calls_inside, fetch
from tests.chaos.processes import until
from tests.chaos.settings import SECONDS
from tests.rigs.servers import Server, server

SEED: Final = 3
QUEUE: Final = 4
DEADLINE_S: Final = 20
# An answer comes this much after its deadline at most.
LATE_S: Final = 2
CALL: Final = loops(16)
PAUSE_S: Final = 0.05
# Each refused client comes again twenty times a second: one slot does a few calls in that time.
CLIENTS: Final = 24


def test_ten_times_too_many_calls() -> None:
    """Admitted calls are correct and in time; small calls go on; no place in the queue is lost."""
    with server(
        SERVICE_PROCESSES="1", SERVICE_QUEUE=str(QUEUE), SERVICE_DEADLINE_MS=str(1000 * DEADLINE_S)
    ) as running:
        until(lambda: send_once(running.url, CALL).outcome == RIGHT)
        with (
            calling_clients(
                running.url, [CALL], clients=CLIENTS, seed=SEED, pause_s=PAUSE_S
            ) as many,
            calling_clients(running.url, [TINY, BYTES], clients=2, seed=SEED) as small,
        ):
            began, lives = monotonic(), 0
            while monotonic() - began < SECONDS or sum(many.counts.values()) < 200:
                assert monotonic() - began < SECONDS + 60
                assert fetch(running.url, "/health/live").status == 200
                lives += 1
                Event().wait(0.1)
        counts = many.by_outcome()
        asked, served = sum(counts.values()), counts[RIGHT]
        print(f"seed {SEED}; {counts}, slowest {many.slowest_s:.2f} s; {lives} times live")
        print(f"beside them {small.by_outcome()}, slowest {small.slowest_s:.2f} s")
        assert not many.faults, many.faults[:5]
        assert not small.faults, small.faults[:5]
        assert {*counts} == {RIGHT, "503 overloaded"}
        assert {*small.by_outcome()} == {RIGHT}
        assert asked >= 10 * served > 0
        assert many.slowest_s < DEADLINE_S + LATE_S
        until(lambda: not calls_inside(running.url))
        assert running.is_healthy()
        every_place_is_free(running)


def every_place_is_free(running: Server) -> None:
    """Assert that as many calls as may run and wait are admitted together."""
    with ThreadPoolExecutor(1 + QUEUE) as pool:
        answers = [*pool.map(lambda _: send_once(running.url, CALL), range(1 + QUEUE))]
    assert [(each.outcome, fault(CALL, each)) for each in answers] == [(RIGHT, "")] * (1 + QUEUE)
