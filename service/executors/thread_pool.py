"""Thread executor: a fixed number of threads, a bounded queue, and a deadline for each job."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from service.errors import DeadlineExceededError
from service.executors.admission import LATE, Admission, Reservation

T = TypeVar("T")


class ThreadPool:
    """Executor that runs jobs on `slots` threads, with at most `queue` jobs waiting.

    torch and numpy release the GIL while they compute. Python code does not, so the planner keeps
    loops that run here short. A job that has started cannot be stopped: it keeps its slot until it
    ends, even after its deadline.
    """

    def __init__(self, slots: int, queue: int):
        """Create the pool; threads start on first use."""
        self._slots = slots
        self._admission = Admission(slots, queue)
        # A thread's BLAS uses torch's number of threads only after that number was read there.
        self._pool = ThreadPoolExecutor(
            slots, thread_name_prefix="executor", initializer=torch.get_num_threads
        )

    @property
    def is_busy(self) -> bool:
        """True if a job would have to wait for a thread."""
        return self._admission.active_calls >= self._slots

    @property
    def active_calls(self) -> int:
        """Number of jobs that run or wait."""
        return self._admission.active_calls

    async def run(
        self, job: Callable[[], T], *, estimated_ns: float | None = None, deadline_ms: int
    ) -> T:
        """Return the result of `job`.

        Raises OverloadedError without a free slot or place in the queue, DeadlineExceededError
        when the job is late, and whatever `job` raises.
        """
        future = self.submit(job, estimated_ns=estimated_ns, deadline_ms=deadline_ms)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await future
        except TimeoutError:
            raise DeadlineExceededError(LATE) from None

    def submit(
        self, job: Callable[[], T], *, estimated_ns: float | None = None, deadline_ms: int
    ) -> asyncio.Future[T]:
        """Return a future of the result of `job`; raise OverloadedError if it is not admitted."""
        reservation = self._admission.enter(estimated_ns, deadline_ms)
        loop = asyncio.get_running_loop()
        future = self._pool.submit(self._run, job, reservation)
        future.add_done_callback(
            lambda _: loop.call_soon_threadsafe(self._admission.leave, reservation)
        )
        return asyncio.wrap_future(future)

    def _run(self, job: Callable[[], T], reservation: Reservation) -> T:
        self._admission.begin(reservation)
        return job()

    def close(self) -> None:
        """Cancel the jobs that wait, and block until the running ones have ended."""
        self._pool.shutdown(cancel_futures=True)
