"""The thread executor: its slots and queue, its deadline, and its end."""

import asyncio
from collections.abc import Iterator
from threading import Event, get_ident

import pytest

from service.errors import DeadlineExceededError, OverloadedError
from service.executors import ThreadPool

pytestmark = pytest.mark.anyio

LONG_MS = 60_000


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """An executor with one slot and a queue of one."""
    pool = ThreadPool(1, 1)
    yield pool
    pool.close()


async def until_active(pool: ThreadPool, count: int) -> None:
    """Wait until a number of jobs run or wait."""
    for _ in range(20_000):
        if pool.active_calls == count:
            return
        await asyncio.sleep(0.001)
    pytest.fail(f"{pool.active_calls} jobs run or wait, not {count}")


async def test_result(pool: ThreadPool) -> None:
    """A job runs on a thread of the executor, and its result is returned."""
    assert await pool.run(lambda: 5, deadline_ms=LONG_MS) == 5
    assert await pool.run(get_ident, deadline_ms=LONG_MS) != get_ident()
    await until_active(pool, 0)


async def test_error(pool: ThreadPool) -> None:
    """An exception of a job is raised, and its slot is free again."""
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0, deadline_ms=LONG_MS)
    await until_active(pool, 0)


async def test_queue_is_full(pool: ThreadPool) -> None:
    """A job beyond the queue is rejected at once, with the time to try again."""
    gate = Event()
    held = [
        asyncio.create_task(pool.run(lambda: gate.wait(20), deadline_ms=LONG_MS)) for _ in range(2)
    ]
    await until_active(pool, 2)
    with pytest.raises(OverloadedError, match="2 calls run or wait, and there is room for 2") as no:
        await pool.run(lambda: gate.wait(20), deadline_ms=LONG_MS)
    assert no.value.retry_after_s == 1
    gate.set()
    assert await asyncio.gather(*held) == [True, True]
    await until_active(pool, 0)
    assert await pool.run(lambda: 5, deadline_ms=LONG_MS) == 5


async def test_a_wait_that_outlasts_the_deadline(pool: ThreadPool) -> None:
    """A job is rejected at once if the one before it takes longer than it may wait."""
    gate = Event()
    held = pool.submit(lambda: gate.wait(20), estimated_ns=5e9, deadline_ms=LONG_MS)
    with pytest.raises(OverloadedError):
        await pool.submit(lambda: gate.wait(20), estimated_ns=0, deadline_ms=1000)
    gate.set()
    await held


async def test_deadline_while_running(pool: ThreadPool) -> None:
    """A late job fails, and keeps its slot until it ends."""
    gate = Event()
    with pytest.raises(DeadlineExceededError, match="the answer was not ready by its deadline"):
        await pool.run(lambda: gate.wait(20), deadline_ms=20)
    assert pool.active_calls == 1
    gate.set()
    await until_active(pool, 0)


async def test_deadline_while_waiting(pool: ThreadPool) -> None:
    """A job whose deadline passes in the queue never runs, and leaves the queue."""
    gate = Event()
    ran = Event()
    held = asyncio.create_task(pool.run(lambda: gate.wait(20), deadline_ms=LONG_MS))
    await until_active(pool, 1)
    with pytest.raises(DeadlineExceededError):
        await pool.run(ran.set, deadline_ms=20)
    await until_active(pool, 1)
    gate.set()
    await held
    await until_active(pool, 0)
    assert not ran.is_set()


async def test_close_waits_for_running_jobs() -> None:
    """Closing waits for the job that runs, and drops the one that waits."""
    pool = ThreadPool(1, 1)
    started, gate, ran = Event(), Event(), Event()

    def job() -> bool:
        started.set()
        return gate.wait(20)

    running, waiting = (pool.submit(each, deadline_ms=LONG_MS) for each in (job, ran.set))
    await asyncio.to_thread(started.wait)
    closing = asyncio.create_task(asyncio.to_thread(pool.close))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not closing.done()
    gate.set()
    assert await running
    await closing
    assert not ran.is_set()
