"""A lane of threads: a place for each slot, a short queue before them, and a deadline."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from service.errors import DeadlineExceededError
from service.executors.admission import LATE, Admission, Reservation

T = TypeVar("T")


class ThreadPool:
    """Runs jobs on `slots` threads, with at most `queue` jobs waiting for one.

    torch and numpy release the GIL while they compute; Python code does not, so it is the planner
    that keeps loops short. A job that has begun cannot be stopped: it keeps its slot to its end.
    """

    def __init__(self, slots: int, queue: int):
        """Make the lane; threads start when they are first needed."""
        self._admission = Admission(slots, queue)
        # A thread's BLAS takes torch's number of threads only once that has been asked for there.
        self._pool = ThreadPoolExecutor(
            slots, thread_name_prefix="lane", initializer=torch.get_num_threads
        )

    @property
    def inside(self) -> int:
        """How many jobs run or wait."""
        return self._admission.inside

    async def run(
        self, job: Callable[[], T], *, estimated_ns: float | None = None, deadline_ms: int
    ) -> T:
        """The result of `job`; OverloadedError without room, DeadlineExceededError when late."""
        future = self.submit(job, estimated_ns=estimated_ns, deadline_ms=deadline_ms)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await future
        except TimeoutError:
            raise DeadlineExceededError(LATE) from None

    def submit(
        self, job: Callable[[], T], *, estimated_ns: float | None = None, deadline_ms: int
    ) -> asyncio.Future[T]:
        """The result of `job`, to be awaited; OverloadedError at once if there is no room."""
        place = self._admission.enter(estimated_ns, deadline_ms)
        loop = asyncio.get_running_loop()
        future = self._pool.submit(self._timed, job, place)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._admission.leave, place))
        return asyncio.wrap_future(future)

    def _timed(self, job: Callable[[], T], place: Reservation) -> T:
        self._admission.begin(place)
        return job()

    def close(self) -> None:
        """Wait for the jobs that run, and drop those that wait."""
        self._pool.shutdown(cancel_futures=True)
