"""Executor of one device: a process of its own, which alone initialises CUDA on that device.

The process starts with the service, and a new one replaces it when it is lost: when it has died,
when one call holds it for too long (a kernel on a GPU cannot be stopped otherwise), and when it
reports that its device accepts no more work. Until the next process is ready the device is not, and
calls for it fail at once.

It computes one call at a time. Meanwhile the server writes the next request to another of its
buffers, and reads the response before.
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
from service.executors.background import run_in_background
from service.executors.forkserver import PROGRAM, environment
from service.executors.shared_buffer import KEPT_BYTES, Bytes, SharedBuffer
from service.executors.worker_handle import (
    Listener,
    StagedRequest,
    StagedResponse,
    StartProcess,
    WorkerFaultError,
    WorkerGoneError,
    WorkerHandle,
    ignore,
    no_answer,
)
from service.executors.worker_loop import Config

# Request that a device process answers with its report, after it has measured the device.
HANDSHAKE: Final = b""
# Request that it answers after it has computed a product of 2 x 2.
PROBE: Final = b"probe"
# Request whose body is sent back, to measure the way to the process and back.
ECHO: Final = b"echo"
ECHO_SIZES: Final = (0, 2**20)
ECHO_TRIPS: Final = 5
# Request to unmap the buffers, so that the server can return their pages to the system.
UNMAP: Final = b"unmap"
# For the call whose response is read, the one that is computed, and the one that is written.
BUFFERS: Final = 3
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
        self._worker = WorkerHandle(start, configure, BUFFERS)
        self._free_buffers: asyncio.Queue[int] = asyncio.Queue()
        for number in range(BUFFERS):
            self._free_buffers.put_nowait(number)
        self._readiness = readiness
        self._report = report
        self._longest_ms = longest_ms
        self._admission = Admission(1, queue)
        self._lock = asyncio.Lock()  # held while the process answers
        self._lost = asyncio.Event()
        self._calls: set[asyncio.Task[tuple[bytearray, bytearray]]] = set()
        self._supervision: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._start_s = GUESSED_START_S
        self.exits = 0
        readiness.lose(device, "its process is starting", ceil(self._start_s))

    @property
    def active_calls(self) -> int:
        """Number of calls that run or wait, those included whose client has left."""
        return self._admission.active_calls

    def start(self) -> None:
        """Start the process, and replace it whenever it is lost, until `close`."""
        name = f"the supervision of {self.device}"
        self._supervision = run_in_background(self._supervise(), name)

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
            await self._run_when_free(reservation, PROBE, b"", PROBE_MS)

    async def _run_when_free(
        self, reservation: Reservation, head: bytes, body: Bytes, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        """Write a request while others are answered, then return its response."""
        exits = self.exits
        try:
            request = await self._stage(head, body)
        except BaseException:
            self._admission.leave(reservation)
            raise
        try:
            await self._lock.acquire()
        except asyncio.CancelledError:
            self._leave(reservation, request)
            raise
        call = asyncio.create_task(self._run(reservation, request, exits, longest_ms))
        self._calls.add(call)
        call.add_done_callback(self._forget)
        return await asyncio.shield(call)

    def _forget(self, call: asyncio.Task[tuple[bytearray, bytearray]]) -> None:
        self._calls.discard(call)
        with suppress(asyncio.CancelledError):
            call.exception()  # marks it as retrieved; `run` raises it unless it was cancelled

    async def _stage(self, head: bytes, body: Bytes) -> StagedRequest:
        """Wait for a free buffer, and write a request to it."""
        number = await self._free_buffers.get()
        try:
            return await self._worker.stage(head, body, number)
        except BaseException as error:
            self._free_buffers.put_nowait(number)
            if isinstance(error, OSError):
                raise OutOfMemoryError(f"this host has no room for {len(body)} bytes") from None
            raise

    def _leave(self, reservation: Reservation, request: StagedRequest) -> None:
        self._free_buffers.put_nowait(request.buffer)
        self._admission.leave(reservation)

    async def _run(
        self, reservation: Reservation, request: StagedRequest, exits: int, longest_ms: int
    ) -> tuple[bytearray, bytearray]:
        """Return the response to a request, which was written when so many processes had exited."""
        try:
            try:
                self._readiness.check(self.device)  # it may have been lost during the wait
                if self.exits != exits:  # the one before may have written to the same buffer
                    raise LostError("it was replaced while the call was written")
                self._admission.begin(reservation)
                response = await self._ask(request, longest_ms)
            finally:
                self._lock.release()
            return response.head, await self._worker.collect(response)
        except LostError as error:
            if self.exits == exits:
                self._mark_lost(str(error))
            unready = DeviceUnreadyError(
                f"{self.device} was lost during the call: {error}",
                hint='"device": "auto" takes what is ready',
            )
            unready.retry_after_s = ceil(self._start_s)
            raise unready from None
        finally:
            self._leave(reservation, request)

    async def _ask(self, request: StagedRequest, longest_ms: int) -> StagedResponse:
        try:
            async with asyncio.timeout(longest_ms / 1000):
                response = await self._worker.ask(request, Listener(ignore, ignore, no_answer))
        except TimeoutError:
            raise LostError(f"it did not answer for {longest_ms} ms") from None
        except (WorkerGoneError, OSError, EOFError) as error:
            raise LostError(str(error) or DIED) from None
        response.raise_for_status()
        return response

    def _mark_lost(self, reason: str, fault: Exception | None = None) -> None:
        """Have the process replaced, if it is not being replaced already."""
        if not self._lost.is_set():
            log.error("%s is lost: %s", self.device, reason, exc_info=fault)
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
            except Exception as error:  # any failure is retried
                pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                failures += 1
                reason = f"its process could not be started: {error}"
                log.exception("%s: %s", self.device, reason, exc_info=_fault(error))
                self._readiness.lose(self.device, reason, ceil(pause_s + self._start_s))
            else:
                failures, pause_s = 0, 0.0
                await self._wait_until_lost()
            async with self._lock:  # the waiting calls have failed by now
                self.exits += await self._worker.stop()
            await asyncio.sleep(pause_s)

    async def _start_process(self) -> None:
        began = perf_counter()
        report = await self._request(HANDSHAKE)
        self._report(report, [await self._round_trip_ns(size) for size in ECHO_SIZES])
        self._start_s = perf_counter() - began
        log.info("%s is ready after %.1f s", self.device, self._start_s)
        self._readiness.regain(self.device)

    async def _request(self, head: bytes, body: bytes = b"") -> bytearray:
        """Return the head of the response to a request before there are calls."""
        request = await self._stage(head, body)
        try:
            response = await self._ask(request, START_MS)
            await self._worker.collect(response)
        finally:
            self._free_buffers.put_nowait(request.buffer)
        return response.head

    async def _round_trip_ns(self, size: int) -> int:
        """Return the least time of the way of so many bytes to the process and back."""
        body, times_ns = bytes(size), []
        for _ in range(ECHO_TRIPS):
            began = perf_counter_ns()
            await self._request(ECHO, body)
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
            await asyncio.wait([ended, lost])
        self._mark_lost(DIED)

    def trim_memory(self) -> None:
        """Return pages that large calls have left in the buffers to the system, if none runs."""
        is_trimming = self._trimming is not None and not self._trimming.done()
        if not self.active_calls and self._worker.holds(KEPT_BYTES) and not is_trimming:
            self._trimming = run_in_background(self._trim(), f"the trim of {self.device}")

    async def _trim(self) -> None:
        """Shrink each buffer, after the process has unmapped it."""
        for _ in range(BUFFERS):
            try:
                request = await self._stage(UNMAP, b"")
            except OutOfMemoryError:  # the next trim may find room for the request
                return
            try:
                async with self._lock:
                    self._readiness.check(self.device)
                    await self._ask(request, PROBE_MS)
                self._worker.shrink(request.buffer, KEPT_BYTES)
            except (DeviceUnreadyError, OutOfMemoryError):
                pass  # the next process, or the next trim, unmaps the buffers
            except (LostError, WorkerFaultError) as error:
                self._mark_lost(str(error), _fault(error))
            finally:
                self._free_buffers.put_nowait(request.buffer)

    async def close(self) -> None:
        """Kill the process, and wait until it has exited."""
        self._readiness.lose(self.device, "the service is shutting down", ceil(self._start_s))
        tasks = [task for task in (self._supervision, self._trimming) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lost.set()
        await self._worker.kill()
        for _ in range(BUFFERS):
            await self._free_buffers.get()
        async with self._lock:
            await self._worker.close()


def _fault(error: Exception) -> Exception | None:
    """Return an error whose trace tells more than its text."""
    return None if isinstance(error, LostError) else error


def spawn(worker_socket: socket.socket, buffers: Sequence[SharedBuffer]) -> int:
    """Start a worker in a fresh interpreter, and return its pidfd.

    A fork would inherit what its parent has initialised of CUDA.
    """
    descriptors = [worker_socket.fileno(), *(each.descriptor for each in buffers)]
    process = subprocess.Popen(  # noqa: S603  # the interpreter of this process
        [sys.executable, "-P", "-m", PROGRAM, "worker", *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        env=environment(),
    )
    pidfd = os.pidfd_open(process.pid)  # it has not been reaped yet, so the id is not another one's
    Thread(target=process.wait, daemon=True).start()
    return pidfd
