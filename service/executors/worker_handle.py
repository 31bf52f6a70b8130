"""The server's end of one worker: a process started when it is needed, killed when it is late."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from service.executors.shared_memory import Arena, Block, Bytes, Pool
from service.executors.worker_loop import (
    ANSWER,
    IN_ARENA,
    PART,
    REQUEST,
    SHORTER,
    Channel,
    Config,
    RequestHeader,
)

# The event loop copies so much at a time: about 0.2 ms.
STEP_BYTES: Final = 2**20
START_S: Final = 60.0

Response = tuple[int, bytearray, bytearray]
# Starts a process for the worker's end of a socket, and its arena; gives a descriptor that stands
# for the process, or raises an OSError.
Start = Callable[[socket.socket, Arena], int]


class WorkerGoneError(Exception):
    """The worker died before it answered."""


class WorkerHandle:
    """One process after another, with one arena that stays."""

    def __init__(self, start: Start, configure: Callable[[], Config], pool: Pool | None = None):
        """Start nothing yet. `configure` is asked again for each process.

        Bodies that are blocks are read where they are: in the `pool`. Without one they are copied.
        """
        self._new_process = start
        self._configure = configure
        self._pool = pool
        self._arena = Arena()
        self._starting: asyncio.Task[None] | None = None
        self._bell: socket.socket | None = None
        self._pidfd: int
        self.has_told = False  # a part of what comes of the last request

    async def ask(self, head: bytes, body: Bytes | Block, line: Channel) -> Response:
        """How it went, head and payload of the answer; WorkerGoneError if the process dies.

        What the handler says before, by its own line, comes by `line`: parts are bytearrays.

        After any error the worker is to be stopped before it is asked again.
        """
        self.has_told = False
        if self._bell is None:
            self._starting = asyncio.create_task(asyncio.to_thread(self._start))
            await asyncio.shield(self._starting)
        at = self._arena.write(head, 0)
        body_at = IN_ARENA
        if isinstance(body, Block) and self._pool is not None:
            body_at = body.offset
        else:
            at = await self._put(body.view if isinstance(body, Block) else body, at)
        how, size, payload_bytes = await self._rung(
            REQUEST.pack(*RequestHeader(len(head), len(body), body_at))
        )
        while how in (SHORTER, PART):
            if how == SHORTER:
                line.shorten(size)
            else:
                self.has_told = True
                line.tell(self._arena.read(size, at))
                at += size
            how, size, payload_bytes = await self._rung()
        answer = self._arena.read(size, at)
        payload = await self._get(payload_bytes, at + size)
        self._arena.shrink()
        return how, answer, payload

    def _start(self) -> None:
        try:
            bell, theirs = socket.socketpair()
        except OSError:  # no descriptor is left
            raise WorkerGoneError from None
        bell.settimeout(START_S)
        with theirs:
            try:
                self._pidfd = self._new_process(theirs, self._arena)
            except OSError:
                bell.close()
                raise WorkerGoneError from None
        self._bell = bell
        with suppress(OSError):  # if it has died already, its first request will tell
            self._configure().send(bell, None if self._pool is None else self._pool.descriptor)
        bell.setblocking(False)

    async def _rung(self, request: bytes = b"") -> tuple[int, int, int]:
        """The next ring of the worker, after it was rung for a request."""
        loop, bell = asyncio.get_running_loop(), self._bell
        assert bell is not None  # noqa: S101  # it has been started
        try:
            if request:
                await loop.sock_sendall(bell, request)
            ring = await loop.sock_recv(bell, ANSWER.size)
        except OSError:
            raise WorkerGoneError from None
        if not ring:
            raise WorkerGoneError
        how, first, second = ANSWER.unpack(ring)
        return how, first, second

    async def _put(self, data: Bytes, at: int) -> int:
        view = memoryview(data)
        for start in range(0, len(view), STEP_BYTES):
            at = self._arena.write(view[start : start + STEP_BYTES], at)
            await asyncio.sleep(0)
        return at

    async def _get(self, size: int, at: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        for start in range(0, size, STEP_BYTES):
            self._arena.read_into(view[start : start + STEP_BYTES], at + start)
            await asyncio.sleep(0)
        return data

    async def kill(self) -> None:
        """Kill the process if there is one: whoever waits for its answer is told."""
        starting = self._starting
        if starting is not None:
            await asyncio.wait([starting])
            starting.exception()  # it has been told to whoever waits for it
        if self._bell is not None:
            with suppress(ProcessLookupError):  # it has gone already
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def stop(self) -> bool:
        """Kill the process, and wait until it has gone; whether there was one.

        For who asked it alone.
        """
        await self.kill()
        self._starting = None
        if self._bell is None:
            return False
        await _readable(self._pidfd)
        os.close(self._pidfd)
        self._bell.close()
        self._bell = None
        return True

    async def ended(self) -> None:
        """Wait until the process that was asked last has ended by itself, or was killed."""
        descriptor = os.dup(self._pidfd)  # that of `stop` is its own
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)

    def tidy(self) -> None:
        """Give the pages of the arena back; not while it is asked."""
        self._arena.shrink(0)

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        self._arena.close()


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor can be read; that of a process can when it has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
