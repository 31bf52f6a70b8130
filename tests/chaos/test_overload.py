"""Ten times what a server can do: who is admitted is served, who is not is told at once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import Final

from tests.chaos.clients import BYTES, RIGHT, TINY, crowd, fault, loops, once
from tests.chaos.metrics import ask, inside
from tests.chaos.processes import until
from tests.chaos.settings import SECONDS
from tests.rigs.servers import Server, server

SEED: Final = 3
QUEUE: Final = 4
DEADLINE_S: Final = 20
# A call that is answered is late by no more than what it takes to be told.
TOLD_S: Final = 2
CALL: Final = loops(16)
PAUSE_S: Final = 0.05
# Each refused client comes again twenty times a second: one slot does a few calls in that time.
CLIENTS: Final = 24


def test_ten_times_too_many_calls() -> None:
    """Those admitted are right and in time; small calls go on; no place is lost."""
    with server(
        SERVICE_PROCESSES="1", SERVICE_QUEUE=str(QUEUE), SERVICE_DEADLINE_MS=str(1000 * DEADLINE_S)
    ) as running:
        until(lambda: once(running.url, CALL).story == RIGHT)
        with (
            crowd(running.url, [CALL], clients=CLIENTS, seed=SEED, pause_s=PAUSE_S) as many,
            crowd(running.url, [TINY, BYTES], clients=2, seed=SEED) as small,
        ):
            began, lives = monotonic(), 0
            while monotonic() - began < SECONDS or sum(many.stories.values()) < 200:
                assert monotonic() - began < SECONDS + 60
                assert ask(running.url, "/health/live").status == 200
                lives += 1
                Event().wait(0.1)
        stories = many.by_story()
        asked, served = sum(stories.values()), stories[RIGHT]
        print(f"seed {SEED}; {stories}, slowest {many.slowest_s:.2f} s; {lives} times live")
        print(f"beside them {small.by_story()}, slowest {small.slowest_s:.2f} s")
        assert not many.faults, many.faults[:5]
        assert not small.faults, small.faults[:5]
        assert {*stories} == {RIGHT, "503 overloaded"}
        assert {*small.by_story()} == {RIGHT}
        assert asked >= 10 * served > 0
        assert many.slowest_s < DEADLINE_S + TOLD_S
        until(lambda: not inside(running.url))
        assert running.is_healthy()
        every_place_is_free(running)


def every_place_is_free(running: Server) -> None:
    """As many calls as may run and wait are admitted together."""
    with ThreadPoolExecutor(1 + QUEUE) as pool:
        answers = [*pool.map(lambda _: once(running.url, CALL), range(1 + QUEUE))]
    assert [(each.story, fault(CALL, each)) for each in answers] == [(RIGHT, "")] * (1 + QUEUE)
