"""A lane of one process that owns a device: it alone initialises CUDA there, and it stays.

It is started with the service, and again whenever it is lost: when it has died, when a call holds
it for too long, for a kernel on a GPU cannot be stopped otherwise, and when it says that its device
takes no more work. Meanwhile its device is not ready, and calls for it are told so at once.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from threading import Thread
from time import perf_counter
from typing import Final

from service.core.devices import DeviceReadiness
from service.errors import DeadlineExceededError, DeviceUnreadyError, OutOfMemoryError
from service.executors.admission import LATE, Admission, Reservation
from service.executors.forkserver import PROGRAM, environment
from service.executors.process_pool import WorkerFaultError
from service.executors.shared_memory import Arena, Block, Bytes, hold, release
from service.executors.worker_handle import Start, WorkerGoneError, WorkerHandle
from service.executors.worker_loop import EXHAUSTED, FATAL, FAULT, Channel, Config

# The request that an owner answers with its report, when it has computed a product of 2 x 2.
HANDSHAKE: Final = b""
# Loading CUDA, and measuring every strategy in every dtype, takes some seconds.
START_MS: Final = 300_000
# A product of 2 x 2 takes far below a millisecond.
PROBE_MS: Final = 2_000
# Before a start is tried again that has failed, and again; then always as the last.
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
# How long a start takes, before one has been seen.
GUESSED_START_S: Final = 10.0
DIED: Final = "its process died"
log: Final = logging.getLogger("service.core.devices")


class LostError(Exception):
    """The process is of no more use; the message says why."""


class DeviceProcess:
    """One process for one device, which gets one call at a time, with a queue before it."""

    def __init__(
        self,
        device: str,
        start: Start,
        configure: Callable[[], Config],
        *,
        readiness: DeviceReadiness,
        report: Callable[[bytearray], None],
        queue: int,
        longest_ms: int,
    ):
        """Start nothing yet.

        Each process that has begun tells its `report`. A call may hold it for `longest_ms`,
        whatever its own deadline is: who asks for little time shall not cost others the device.
        """
        self.device = device
        self._worker = WorkerHandle(start, configure)
        self._readiness = readiness
        self._report = report
        self._longest_ms = longest_ms
        self._admission = Admission(1, queue)
        self._turn = asyncio.Lock()
        self._lost = asyncio.Event()
        self._asking: set[asyncio.Task[tuple[bytearray, bytearray]]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._start_s = GUESSED_START_S
        self.ends = 0
        readiness.lose(device, "its process is starting", ceil(self._start_s))

    @property
    def inside(self) -> int:
        """How many calls run or wait, those that nobody waits for any more included."""
        return self._admission.inside

    def start(self) -> None:
        """Start the process, and again whenever it is lost, until `close`."""
        self._keeping = asyncio.create_task(self._keep())

    async def run(
        self,
        head: bytes,
        body: Bytes | Block,
        *,
        estimated_ns: float | None = None,
        deadline_ms: int,
    ) -> tuple[bytearray, bytearray]:
        """Head and payload of the answer to a request.

        DeviceUnreadyError without a process, or if it is lost; OverloadedError without room;
        DeadlineExceededError when late; OutOfMemoryError; WorkerFaultError if the handler fails.
        A request that has begun goes on when it is late or not wanted: only `longest_ms` ends it.
        """
        self._readiness.check(self.device)
        place = self._admission.enter(estimated_ns, deadline_ms)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await self._in_turn(place, head, body, self._longest_ms)
        except TimeoutError:
            raise DeadlineExceededError(LATE) from None

    async def probe(self) -> None:
        """Have it compute a product of 2 x 2; DeviceUnreadyError if it does not, and is lost.

        A process that computes already is taken at its word.
        """
        self._readiness.check(self.device)
        if not self.inside:
            place = self._admission.enter(0, PROBE_MS)
            await self._in_turn(place, HANDSHAKE, b"", PROBE_MS)

    async def _in_turn(
        self, place: Reservation, head: bytes, body: Bytes | Block, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        """The answer to a request, when the process is free."""
        try:
            await self._turn.acquire()
        except asyncio.CancelledError:
            self._admission.leave(place)
            raise
        hold(body)  # it is read on when nobody waits for the answer
        asking = asyncio.create_task(self._asked(place, head, body, longest_ms))
        self._asking.add(asking)
        asking.add_done_callback(self._forget)
        return await asyncio.shield(asking)

    def _forget(self, asking: asyncio.Task[tuple[bytearray, bytearray]]) -> None:
        self._asking.discard(asking)
        with suppress(asyncio.CancelledError):
            asking.exception()  # it has been told to whoever still waits for it

    async def _asked(
        self, place: Reservation, head: bytes, body: Bytes | Block, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        try:
            self._readiness.check(self.device)  # it may have been lost while this waited
            self._admission.begin(place)
            return await self._ask(head, body, longest_ms)
        except LostError as error:
            self._lose(str(error))
            told = DeviceUnreadyError(
                f"{self.device} was lost during the call: {error}",
                hint='"device": "auto" takes what is ready',
            )
            told.retry_after_s = ceil(self._start_s)
            raise told from None
        finally:
            release(body)
            self._turn.release()
            self._admission.leave(place)

    async def _ask(
        self, head: bytes, body: Bytes | Block, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        try:
            async with asyncio.timeout(longest_ms / 1000):
                how, answer, payload = await self._worker.ask(
                    head, body, Channel(_nothing, _nothing)
                )
        except TimeoutError:
            raise LostError(f"it did not answer for {longest_ms} ms") from None
        except (WorkerGoneError, OSError, EOFError) as error:
            raise LostError(str(error) or DIED) from None
        if how == FATAL:
            raise LostError(answer.decode())
        if how == EXHAUSTED:
            raise OutOfMemoryError("the call needs more memory than this host has")
        if how == FAULT:
            raise WorkerFaultError(answer.decode())
        return answer, payload

    def _lose(self, reason: str) -> None:
        """Give the process up, if it has not been given up already."""
        if not self._lost.is_set():
            log.error("%s is lost: %s", self.device, reason)
            self._lost.set()
            reason = f"{reason}; its process is being replaced"
            self._readiness.lose(self.device, reason, ceil(self._start_s))

    async def _keep(self) -> None:
        """Start processes, one after another."""
        failures = 0
        while True:
            self._lost.clear()
            try:
                await self._begin()
            except Exception as error:  # noqa: BLE001  # whatever it is, the device is needed
                pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                failures += 1
                reason = str(error).strip().rpartition("\n")[2]  # the last line of a traceback
                reason = f"its process could not be started: {reason}"
                log.error("%s: %s", self.device, reason)  # noqa: TRY400  # of another process
                self._readiness.lose(self.device, reason, ceil(pause_s + self._start_s))
            else:
                failures, pause_s = 0, 0.0
                await self._until_lost()
            async with self._turn:  # whoever was waiting for an answer has been told
                self.ends += await self._worker.stop()
            await asyncio.sleep(pause_s)

    async def _begin(self) -> None:
        began = perf_counter()
        report, _ = await self._ask(HANDSHAKE, b"", START_MS)
        self._report(report)
        self._start_s = perf_counter() - began
        log.info("%s is ready after %.1f s", self.device, self._start_s)
        self._readiness.regain(self.device)

    async def _until_lost(self) -> None:
        """Wait until it is lost; a process that died while nobody asked it is lost, too."""
        ended = asyncio.create_task(self._worker.ended())
        lost = asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait([ended, lost], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            lost.cancel()
        self._lose(DIED)

    def tidy(self) -> None:
        """Give memory back that large calls have left to those that may follow."""
        if not self.inside and self.device not in self._readiness.absences:
            self._worker.tidy()

    async def close(self) -> None:
        """Kill the process, and wait until it has gone."""
        self._readiness.lose(self.device, "the service is shutting down", ceil(self._start_s))
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        self._lost.set()
        await self._worker.kill()
        async with self._turn:
            await self._worker.close()


def _nothing(said: object) -> None:
    """What comes before an answer: no deadline, for the request was decoded before; and no race."""


def spawn(bell: socket.socket, arena: Arena) -> int:
    """A new worker that is no fork: the descriptor that stands for its process.

    Nothing that another process has begun with CUDA can be in it.
    """
    descriptors = [bell.fileno(), arena.descriptor]
    process = subprocess.Popen(  # noqa: S603  # this very Python
        [sys.executable, "-m", PROGRAM, "worker", *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        env=environment(),
    )
    pidfd = os.pidfd_open(process.pid)  # nobody has reaped it yet, so the number means it
    Thread(target=process.wait, daemon=True).start()
    return pidfd
