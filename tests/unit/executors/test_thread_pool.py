"""The lane of threads: its room, its deadline, and its end."""

import asyncio
from collections.abc import Iterator
from threading import Event, get_ident

import pytest

from service.errors import DeadlineExceededError, OverloadedError
from service.executors import ThreadPool

pytestmark = pytest.mark.anyio

LONG_MS = 60_000


@pytest.fixture
def lane() -> Iterator[ThreadPool]:
    """One slot, and a queue of one."""
    lane = ThreadPool(1, 1)
    yield lane
    lane.close()


async def until_inside(lane: ThreadPool, count: int) -> None:
    """Wait until so many jobs run or wait."""
    for _ in range(20_000):
        if lane.inside == count:
            return
        await asyncio.sleep(0.001)
    pytest.fail(f"{lane.inside} jobs run or wait, not {count}")


async def test_result(lane: ThreadPool) -> None:
    """A job runs on a thread of the lane, and its result comes back."""
    assert await lane.run(lambda: 5, deadline_ms=LONG_MS) == 5
    assert await lane.run(get_ident, deadline_ms=LONG_MS) != get_ident()
    await until_inside(lane, 0)


async def test_error(lane: ThreadPool) -> None:
    """What a job raises comes back too, and its place is free again."""
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0, deadline_ms=LONG_MS)
    await until_inside(lane, 0)


async def test_queue_is_full(lane: ThreadPool) -> None:
    """A job without a place is turned away at once; it is told when to try again."""
    gate = Event()
    held = [
        asyncio.create_task(lane.run(lambda: gate.wait(20), deadline_ms=LONG_MS)) for _ in range(2)
    ]
    await until_inside(lane, 2)
    with pytest.raises(OverloadedError, match="2 calls run or wait, and there is room for 2") as no:
        await lane.run(lambda: gate.wait(20), deadline_ms=LONG_MS)
    assert no.value.retry_after_s == 1
    gate.set()
    assert await asyncio.gather(*held) == [True, True]
    await until_inside(lane, 0)
    assert await lane.run(lambda: 5, deadline_ms=LONG_MS) == 5


async def test_a_wait_that_outlasts_the_deadline(lane: ThreadPool) -> None:
    """A job is turned away at once if the one before it will take longer than it may wait."""
    gate = Event()
    held = lane.submit(lambda: gate.wait(20), estimated_ns=5e9, deadline_ms=LONG_MS)
    with pytest.raises(OverloadedError):
        await lane.submit(lambda: gate.wait(20), estimated_ns=0, deadline_ms=1000)
    gate.set()
    await held


async def test_deadline_while_running(lane: ThreadPool) -> None:
    """A late job is given up, and keeps its place until it ends."""
    gate = Event()
    with pytest.raises(DeadlineExceededError, match="the answer was not ready by its deadline"):
        await lane.run(lambda: gate.wait(20), deadline_ms=20)
    assert lane.inside == 1
    gate.set()
    await until_inside(lane, 0)


async def test_deadline_while_waiting(lane: ThreadPool) -> None:
    """A job whose deadline passes in the queue never runs, and leaves its place."""
    gate = Event()
    ran = Event()
    held = asyncio.create_task(lane.run(lambda: gate.wait(20), deadline_ms=LONG_MS))
    await until_inside(lane, 1)
    with pytest.raises(DeadlineExceededError):
        await lane.run(ran.set, deadline_ms=20)
    await until_inside(lane, 1)
    gate.set()
    await held
    await until_inside(lane, 0)
    assert not ran.is_set()


async def test_close_waits_for_what_runs() -> None:
    """Closing waits for the job that runs, and drops the one that waits."""
    lane = ThreadPool(1, 1)
    started, gate, ran = Event(), Event(), Event()

    def job() -> bool:
        started.set()
        return gate.wait(20)

    running, waiting = (lane.submit(each, deadline_ms=LONG_MS) for each in (job, ran.set))
    await asyncio.to_thread(started.wait)
    closing = asyncio.create_task(asyncio.to_thread(lane.close))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not closing.done()
    gate.set()
    assert await running
    await closing
    assert not ran.is_set()
