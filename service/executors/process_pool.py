"""A lane of worker processes: what holds the GIL runs beside the event loop, and can be killed."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from service.errors import DeadlineExceededError, DrainingError, OutOfMemoryError, WorkerDiedError
from service.executors.admission import LATE, Admission, Reservation
from service.executors.shared_memory import Block, Bytes, Pool, hold, release
from service.executors.worker_handle import Response, Start, WorkerGoneError, WorkerHandle
from service.executors.worker_loop import EXHAUSTED, FAULT, Channel, Config, Tell

TRIES: Final = 2


class WorkerFaultError(RuntimeError):
    """A handler failed in its worker; the message is its traceback."""


class ProcessPool:
    """Runs requests in up to `slots` worker processes, with at most `queue` requests waiting.

    A worker whose request is late, or no longer wanted, is killed: its core is free at once. A
    request whose worker dies is given to another one, once, unless a part of what came of it has
    been told.
    """

    def __init__(
        self,
        start: Start,
        configure: Callable[[], Config],
        *,
        slots: int,
        queue: int,
        pool: Pool | None = None,
    ):
        """Make the lane; a process starts when it is first needed, by `start` and `configure`.

        Bodies may be blocks of the `pool`.
        """
        self._new_worker = partial(WorkerHandle, start, configure, pool)
        self._admission = Admission(slots, queue)
        self._slots = slots
        self._free = asyncio.Semaphore(slots)
        self._idle: list[WorkerHandle] = []
        self._busy: set[WorkerHandle] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False
        self.ends = 0

    @property
    def inside(self) -> int:
        """How many requests run or wait; those of killed workers until these have gone."""
        return self._admission.inside

    async def run(
        self,
        head: bytes,
        body: Bytes | Block,
        *,
        estimated_ns: float | None = None,
        deadline_ms: int,
        tell: Tell | None = None,
    ) -> tuple[bytearray, bytearray]:
        """Head and payload of the answer to a request; parts that come before go to `tell`.

        OverloadedError without room; DeadlineExceededError when late; OutOfMemoryError;
        WorkerDiedError if two workers die of it; WorkerFaultError if the handler fails.
        """
        if self._closed:
            raise _closed()
        place = self._admission.enter(estimated_ns, deadline_ms)
        try:
            async with asyncio.timeout(deadline_ms / 1000) as limit:

                def shorten(left_ms: int) -> None:
                    until = asyncio.get_running_loop().time() + left_ms / 1000
                    limit.reschedule(min(limit.when() or until, until))

                line = Channel(shorten, tell or bytes)  # nobody may ask for parts
                how, answer, payload = await self._in_turn(place, head, body, line)
        except TimeoutError:
            raise DeadlineExceededError(LATE) from None
        if how == EXHAUSTED:
            raise OutOfMemoryError("the call needs more memory than a worker process may have")
        if how == FAULT:
            raise WorkerFaultError(answer.decode())
        return answer, payload

    async def _in_turn(
        self, place: Reservation, head: bytes, body: Bytes | Block, line: Channel
    ) -> Response:
        """The response of a worker, when one is free."""
        try:
            await self._free.acquire()
        except asyncio.CancelledError:
            self._admission.leave(place)
            raise
        self._admission.begin(place)
        try:
            worker = self._idle.pop() if self._idle else self._new_worker()
        except OSError:  # no descriptor is left for its arena
            self._free.release()
            self._admission.leave(place)
            raise WorkerDiedError("no worker process can be started now") from None
        self._busy.add(worker)
        hold(body)
        try:
            response = await self._asked(worker, head, body, line)
        except BaseException:
            # Its core is free before its place is; the client need not wait for that.
            ending = asyncio.create_task(self._end(worker, place, body))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            raise
        self._leave(worker, place, body)
        return response

    async def _asked(
        self, worker: WorkerHandle, head: bytes, body: Bytes | Block, line: Channel
    ) -> Response:
        for _ in range(TRIES):
            if self._closed:
                raise _closed()
            try:
                return await worker.ask(head, body, line)
            except WorkerGoneError:
                ended = await worker.stop()
                self.ends += ended
                if worker.has_told:
                    raise WorkerDiedError(
                        "the process that computed the call died when a part of its answer had "
                        "been given"
                    ) from None
        raise WorkerDiedError("the process that computed the call died, and so did a second one")

    async def _end(self, worker: WorkerHandle, place: Reservation, body: Bytes | Block) -> None:
        ended = await worker.stop()
        self.ends += ended
        self._leave(worker, place, body)

    def _leave(self, worker: WorkerHandle, place: Reservation, body: Bytes | Block) -> None:
        release(body)  # no process reads it any more
        self._busy.discard(worker)
        self._idle.append(worker)
        self._free.release()
        self._admission.leave(place)

    def tidy(self) -> None:
        """Give memory back that large calls have left to those that may follow."""
        for worker in self._idle:
            worker.tidy()

    async def close(self) -> None:
        """Kill all workers, those that run included, and wait until they have gone."""
        self._closed = True
        for worker in tuple(self._busy):
            await worker.kill()
        for _ in range(self._slots):
            await self._free.acquire()
        for worker in self._idle:
            await worker.close()
        self._idle.clear()
        for _ in range(self._slots):
            self._free.release()


def _closed() -> DrainingError:
    return DrainingError("the service is shutting down, its worker processes have ended")
