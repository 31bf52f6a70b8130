"""A lane of threads: a place for each slot, a short queue before them, and a deadline."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from time import perf_counter_ns
from typing import TypeVar

import torch

from service.errors import DeadlineExceededError, OverloadedError

T = TypeVar("T")


class ThreadLane:
    """Runs jobs on `slots` threads, with at most `queue` jobs waiting for one.

    torch and numpy release the GIL while they compute; Python code does not, so it is the planner
    that keeps loops short. A job that has begun cannot be stopped: it keeps its slot to its end.
    """

    def __init__(self, slots: int, queue: int):
        """Make the lane; threads start when they are first needed."""
        self._slots = slots
        self._room = slots + queue
        self._inside = 0
        self._mean_ns = 0.0
        # A thread's BLAS takes torch's number of threads only once that has been asked for there.
        self._pool = ThreadPoolExecutor(
            slots, thread_name_prefix="lane", initializer=torch.get_num_threads
        )

    @property
    def inside(self) -> int:
        """How many jobs run or wait."""
        return self._inside

    async def run(self, job: Callable[[], T], *, deadline_ms: int) -> T:
        """The result of `job`; OverloadedError without room, DeadlineExceededError when late."""
        future = self.submit(job)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await future
        except TimeoutError:
            raise DeadlineExceededError(
                f"the answer was not ready after {deadline_ms} ms (deadline_ms)"
            ) from None

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """The result of `job`, to be awaited; OverloadedError at once if there is no room."""
        if self._inside >= self._room:
            raise self._overloaded()
        self._inside += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(self._timed, job)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return asyncio.wrap_future(future)

    def _overloaded(self) -> OverloadedError:
        error = OverloadedError(
            f"{self._inside} calls run or wait, and there is room for {self._room} "
            "(SERVICE_SLOTS, SERVICE_QUEUE)"
        )
        waiting = self._inside - self._slots + 1
        error.retry_after_s = max(1, ceil(waiting * self._mean_ns / self._slots / 1e9))
        return error

    def _leave(self) -> None:
        self._inside -= 1

    def _timed(self, job: Callable[[], T]) -> T:
        started = perf_counter_ns()
        try:
            return job()
        finally:
            self._mean_ns += (perf_counter_ns() - started - self._mean_ns) / 8

    def close(self) -> None:
        """Wait for the jobs that run, and drop those that wait."""
        self._pool.shutdown(cancel_futures=True)
