"""Executor of one device: a process of its own, which alone initialises CUDA on that device.

The process starts with the service, and a new one replaces it when it is lost: when it has died,
when one call holds it for too long (a kernel on a GPU cannot be stopped otherwise), and when it
reports that its device accepts no more work. Until the next process is ready the device is not, and
calls for it fail at once.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from threading import Thread
from time import perf_counter, perf_counter_ns
from typing import Final

from service.core.devices import DeviceReadiness
from service.errors import DeadlineExceededError, DeviceUnreadyError, OutOfMemoryError
from service.executors.admission import LATE, Admission, Reservation
from service.executors.forkserver import PROGRAM, environment
from service.executors.process_pool import WorkerFaultError
from service.executors.shared_buffer import Bytes, SharedBuffer
from service.executors.worker_handle import (
    Listener,
    StartProcess,
    WorkerGoneError,
    WorkerHandle,
    no_answer,
)
from service.executors.worker_loop import EXHAUSTED, FATAL, FAULT, Config

# Request that a device process answers with its report, after it has computed a product of 2 x 2.
HANDSHAKE: Final = b""
# Request whose body is sent back, to measure the way to the process and back.
ECHO: Final = b"echo"
ECHO_SIZES: Final = (0, 2**20)
ECHO_TRIPS: Final = 5
# Loading CUDA, and measuring every strategy in every dtype, takes some seconds.
START_MS: Final = 300_000
# A product of 2 x 2 takes far below a millisecond.
PROBE_MS: Final = 2_000
# Pauses after the first failed start, the second, and so on; then always the last one.
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
# Assumed time of a start, before one has been measured.
GUESSED_START_S: Final = 10.0
DIED: Final = "its process died"
log: Final = logging.getLogger("service.devices")


class LostError(Exception):
    """The process is unusable and has to be replaced; the message is the reason."""


class DeviceProcess:
    """Executor with one process for one device: it runs one call at a time, others wait."""

    def __init__(
        self,
        device: str,
        start: StartProcess,
        configure: Callable[[], Config],
        *,
        readiness: DeviceReadiness,
        report: Callable[[bytearray, Sequence[int]], None],
        queue: int,
        longest_ms: int,
    ):
        """Start nothing yet.

        `report` is called with the report of each process that has started, and the nanoseconds of
        the way of ECHO_SIZES bytes there and back. A call may hold the
        process for `longest_ms`, whatever its own deadline is: the process is not killed for a
        short deadline, since others would lose the device.
        """
        self.device = device
        self._worker = WorkerHandle(start, configure)
        self._readiness = readiness
        self._report = report
        self._longest_ms = longest_ms
        self._admission = Admission(1, queue)
        self._lock = asyncio.Lock()
        self._lost = asyncio.Event()
        self._calls: set[asyncio.Task[tuple[bytearray, bytearray]]] = set()
        self._supervision: asyncio.Task[None] | None = None
        self._start_s = GUESSED_START_S
        self.exits = 0
        readiness.lose(device, "its process is starting", ceil(self._start_s))

    @property
    def active_calls(self) -> int:
        """Number of calls that run or wait, those included whose client has left."""
        return self._admission.active_calls

    def start(self) -> None:
        """Start the process, and replace it whenever it is lost, until `close`."""
        self._supervision = asyncio.create_task(self._supervise())

    async def run(
        self,
        head: bytes,
        body: Bytes,
        *,
        estimated_ns: float | None = None,
        deadline_ms: int,
    ) -> tuple[bytearray, bytearray]:
        """Return head and payload of the response to a request.

        Raises DeviceUnreadyError without a process, or if it is lost during the call,
        OverloadedError if the call is not admitted, DeadlineExceededError when it is late,
        OutOfMemoryError, and WorkerFaultError if the handler fails. A call that has started goes on
        after its deadline or cancellation: only `longest_ms` ends it.
        """
        self._readiness.check(self.device)
        reservation = self._admission.enter(estimated_ns, deadline_ms)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await self._run_when_free(reservation, head, body, self._longest_ms)
        except TimeoutError:
            raise DeadlineExceededError(LATE) from None

    async def probe(self) -> None:
        """Check that the process computes a product of 2 x 2, unless it is computing already.

        Raises DeviceUnreadyError if it does not; it is replaced then.
        """
        self._readiness.check(self.device)
        if not self.active_calls:
            reservation = self._admission.enter(0, PROBE_MS)
            await self._run_when_free(reservation, HANDSHAKE, b"", PROBE_MS)

    async def _run_when_free(
        self, reservation: Reservation, head: bytes, body: Bytes, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        """Wait until the process is free, and return its response to a request."""
        try:
            await self._lock.acquire()
        except asyncio.CancelledError:
            self._admission.leave(reservation)
            raise
        call = asyncio.create_task(self._run(reservation, head, body, longest_ms))
        self._calls.add(call)
        call.add_done_callback(self._forget)
        return await asyncio.shield(call)

    def _forget(self, call: asyncio.Task[tuple[bytearray, bytearray]]) -> None:
        self._calls.discard(call)
        with suppress(asyncio.CancelledError):
            call.exception()  # marks it as retrieved; `run` raises it unless it was cancelled

    async def _run(
        self, reservation: Reservation, head: bytes, body: Bytes, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        try:
            self._readiness.check(self.device)  # it may have been lost during the wait
            self._admission.begin(reservation)
            return await self._request(head, body, longest_ms)
        except LostError as error:
            self._mark_lost(str(error))
            unready = DeviceUnreadyError(
                f"{self.device} was lost during the call: {error}",
                hint='"device": "auto" takes what is ready',
            )
            unready.retry_after_s = ceil(self._start_s)
            raise unready from None
        finally:
            self._lock.release()
            self._admission.leave(reservation)

    async def _request(
        self, head: bytes, body: Bytes, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        try:
            async with asyncio.timeout(longest_ms / 1000):
                status, answer, payload = await self._worker.run(
                    head, body, Listener(_ignore, _ignore, no_answer)
                )
        except TimeoutError:
            raise LostError(f"it did not answer for {longest_ms} ms") from None
        except (WorkerGoneError, OSError, EOFError) as error:
            raise LostError(str(error) or DIED) from None
        if status == FATAL:
            raise LostError(answer.decode())
        if status == EXHAUSTED:
            raise OutOfMemoryError(
                answer.decode() or "this host has not enough memory for the call"
            )
        if status == FAULT:
            raise WorkerFaultError(answer.decode())
        return answer, payload

    def _mark_lost(self, reason: str) -> None:
        """Have the process replaced, if it is not being replaced already."""
        if not self._lost.is_set():
            log.error("%s is lost: %s", self.device, reason)
            self._lost.set()
            reason = f"{reason}; its process is being replaced"
            self._readiness.lose(self.device, reason, ceil(self._start_s))

    async def _supervise(self) -> None:
        """Start processes, one after another."""
        failures = 0
        while True:
            self._lost.clear()
            try:
                await self._start_process()
            except Exception as error:  # noqa: BLE001  # any failure is retried
                pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                failures += 1
                reason = str(error).strip().rpartition("\n")[2]  # the last line of a traceback
                reason = f"its process could not be started: {reason}"
                log.error("%s: %s", self.device, reason)  # noqa: TRY400  # of another process
                self._readiness.lose(self.device, reason, ceil(pause_s + self._start_s))
            else:
                failures, pause_s = 0, 0.0
                await self._wait_until_lost()
            async with self._lock:  # the waiting calls have failed by now
                self.exits += await self._worker.stop()
            await asyncio.sleep(pause_s)

    async def _start_process(self) -> None:
        began = perf_counter()
        report, _ = await self._request(HANDSHAKE, b"", START_MS)
        self._report(report, [await self._round_trip_ns(size) for size in ECHO_SIZES])
        self._start_s = perf_counter() - began
        log.info("%s is ready after %.1f s", self.device, self._start_s)
        self._readiness.regain(self.device)

    async def _round_trip_ns(self, size: int) -> int:
        """Return the least time of the way of so many bytes to the process and back."""
        body, times_ns = bytes(size), []
        for _ in range(ECHO_TRIPS):
            began = perf_counter_ns()
            await self._request(ECHO, body, START_MS)
            times_ns.append(perf_counter_ns() - began)
        return min(times_ns)

    async def _wait_until_lost(self) -> None:
        """Wait until the process is marked as lost, or exits while no call runs."""
        ended = asyncio.create_task(self._worker.ended())
        lost = asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait([ended, lost], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            lost.cancel()
        self._mark_lost(DIED)

    def trim_memory(self) -> None:
        """Return the worker's buffer to the system, if no call uses it."""
        if not self.active_calls and self.device not in self._readiness.absences:
            self._worker.trim_memory()

    async def close(self) -> None:
        """Kill the process, and wait until it has exited."""
        self._readiness.lose(self.device, "the service is shutting down", ceil(self._start_s))
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
        self._lost.set()
        await self._worker.kill()
        async with self._lock:
            await self._worker.close()


def _ignore(value: object) -> None:
    """Ignore a deadline, since the request is decoded already, or a part: none comes."""


def spawn(worker_socket: socket.socket, buffer: SharedBuffer) -> int:
    """Start a worker in a fresh interpreter, and return its pidfd.

    A fork would inherit what its parent has initialised of CUDA.
    """
    descriptors = [worker_socket.fileno(), buffer.descriptor]
    process = subprocess.Popen(  # noqa: S603  # the interpreter of this process
        [sys.executable, "-P", "-m", PROGRAM, "worker", *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        env=environment(),
    )
    pidfd = os.pidfd_open(process.pid)  # it has not been reaped yet, so the id is not another one's
    Thread(target=process.wait, daemon=True).start()
    return pidfd
