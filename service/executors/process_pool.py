"""Process executor: worker processes for work that holds the GIL or may have to be killed."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from service.errors import DeadlineExceededError, DrainingError, WorkerDiedError
from service.executors.admission import LATE, Admission, Reservation
from service.executors.shared_buffer import Bytes
from service.executors.worker_handle import (
    Listener,
    Respond,
    StagedResponse,
    StartProcess,
    WorkerGoneError,
    WorkerHandle,
    ignore,
    no_answer,
)
from service.executors.worker_loop import Config, Emit

ATTEMPTS: Final = 2


class ProcessPool:
    """Executor with up to `slots` worker processes and at most `queue` waiting requests.

    A worker is killed when its request is late or cancelled, which frees its core at once. A
    request whose worker dies is sent to another worker once, unless a part of its response has
    been emitted already.
    """

    def __init__(
        self, start: StartProcess, configure: Callable[[], Config], *, slots: int, queue: int
    ):
        """Create the executor; a process starts on first use, by `start` and `configure`."""
        self._new_worker = partial(WorkerHandle, start, configure)
        self._admission = Admission(slots, queue)
        self._slots = slots
        self._free = asyncio.Semaphore(slots)
        self._idle: list[WorkerHandle] = []
        self._busy: set[WorkerHandle] = set()
        self._outdated: set[WorkerHandle] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False
        self.exits = 0

    @property
    def active_calls(self) -> int:
        """Number of requests that run or wait; one of a killed worker counts until that is gone."""
        return self._admission.active_calls

    async def run(
        self,
        head: bytes,
        body: Bytes,
        *,
        estimated_ns: float | None = None,
        deadline_ms: int,
        emit: Emit | None = None,
        respond: Respond = no_answer,
    ) -> tuple[bytearray, bytearray]:
        """Return head and payload of the response; parts that precede it are passed to `emit`.

        `respond` answers the questions of the handler. Raises OverloadedError if the request is not
        admitted, DeadlineExceededError when it is late, OutOfMemoryError, WorkerDiedError if two
        workers die of it, and WorkerFaultError if the handler fails.
        """
        if self._closed:
            raise _closed()
        reservation = self._admission.enter(estimated_ns, deadline_ms)
        try:
            async with asyncio.timeout(deadline_ms / 1000) as limit:

                def set_deadline(left_ms: int) -> None:
                    until = asyncio.get_running_loop().time() + left_ms / 1000
                    limit.reschedule(min(limit.when() or until, until))

                listener = Listener(set_deadline, emit or ignore, respond)
                response, payload = await self._run_when_free(reservation, head, body, listener)
        except TimeoutError:
            raise DeadlineExceededError(LATE) from None
        response.raise_for_status()
        return response.head, payload

    async def _run_when_free(
        self, reservation: Reservation, head: bytes, body: Bytes, listener: Listener
    ) -> tuple[StagedResponse, bytearray]:
        """Wait for a free worker, and return its response."""
        try:
            await self._free.acquire()
        except asyncio.CancelledError:
            self._admission.leave(reservation)
            raise
        self._admission.begin(reservation)
        try:
            worker = self._idle.pop() if self._idle else self._new_worker()
        except OSError:  # no file descriptor is left for its shared buffer
            self._free.release()
            self._admission.leave(reservation)
            raise WorkerDiedError("no worker process can be started now") from None
        self._busy.add(worker)
        try:
            if worker in self._outdated:
                self._outdated.discard(worker)
                await worker.stop()
            response = await self._run_on(worker, head, body, listener)
        except BaseException:
            # The process is stopped by a task, so that the error does not wait for its exit. The
            # reservation is given up after the exit.
            stopping = asyncio.create_task(self._stop(worker, reservation))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
            raise
        self._leave(worker, reservation)
        return response

    async def _run_on(
        self, worker: WorkerHandle, head: bytes, body: Bytes, listener: Listener
    ) -> tuple[StagedResponse, bytearray]:
        """Return the response of a worker, whose process is replaced once if it dies."""
        for _ in range(ATTEMPTS):
            if self._closed:
                raise _closed()
            try:
                return await worker.run(head, body, listener)
            except WorkerGoneError:
                stopped = await worker.stop()
                self.exits += stopped
                if worker.has_emitted:
                    raise WorkerDiedError(
                        "the process that computed the call died when a part of its answer had "
                        "been given"
                    ) from None
        raise WorkerDiedError("the process that computed the call died, and so did a second one")

    async def _stop(self, worker: WorkerHandle, reservation: Reservation) -> None:
        stopped = await worker.stop()
        self.exits += stopped
        self._leave(worker, reservation)

    def _leave(self, worker: WorkerHandle, reservation: Reservation) -> None:
        self._busy.discard(worker)
        self._idle.append(worker)
        self._free.release()
        self._admission.leave(reservation)

    async def renew_workers(self) -> None:
        """End the workers, whose configuration is outdated: busy ones before their next request."""
        self._outdated.update(self._busy, self._idle)
        for _ in range(len(self._idle)):
            async with self._free:  # so that no request waits for the worker which is taken here
                worker = next((each for each in self._idle if each in self._outdated), None)
                if worker is None:  # requests have taken the others, and end them
                    return
                self._idle.remove(worker)
                try:
                    await worker.stop()
                    self._outdated.discard(worker)
                finally:
                    self._idle.append(worker)

    def trim_memory(self) -> None:
        """Return buffers of idle workers to the system; they may be large after large calls."""
        for worker in self._idle:
            worker.shrink(0, 0)

    async def close(self) -> None:
        """Kill all workers, the busy ones included, and wait until their processes have exited."""
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
