"""The server's end of one worker: its process, its socket, and the buffer shared with it."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from service.executors.forkserver import START_S
from service.executors.shared_buffer import Bytes, SharedBuffer
from service.executors.worker_loop import (
    ASK,
    DEADLINE,
    NOTIFICATION,
    PART,
    REQUEST,
    Config,
    Emit,
    SetDeadline,
)

# Bytes that the event loop copies in one step: about 0.2 ms.
STEP_BYTES: Final = 2**20

RawResponse = tuple[int, bytearray, bytearray]  # status, head, payload
# Starts a process with the worker's end of a socket and its shared buffer. Returns a pidfd, or
# raises an OSError.
StartProcess = Callable[[socket.socket, SharedBuffer], int]
# Returns the answer to a question of a handler.
Respond = Callable[[bytearray], Awaitable[Bytes]]


class WorkerGoneError(Exception):
    """The worker process exited before it sent its response."""


async def no_answer(question: bytearray) -> Bytes:
    """Raise LookupError: no request but a race asks anything."""
    raise LookupError(f"nothing answers {question!r}")


@dataclass(frozen=True, slots=True)
class Listener:
    """Receiver of what a handler sends before its response: the server's end of a Channel."""

    set_deadline: SetDeadline
    emit: Emit
    respond: Respond


class WorkerHandle:
    """Handle of one worker, whose process may be replaced while its shared buffer stays."""

    def __init__(self, start: StartProcess, configure: Callable[[], Config]):
        """Create the shared buffer, and no process yet. `configure` is called for each process."""
        self._new_process = start
        self._configure = configure
        self._buffer = SharedBuffer()
        self._starting: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self._pidfd: int
        self.has_emitted = False  # a part of the response to the last request

    async def run(self, head: bytes, body: Bytes, listener: Listener) -> RawResponse:
        """Return status, head and payload of the response to a request.

        What the handler sends before its response is passed to `listener`, parts and questions as
        bytearrays. Raises WorkerGoneError if the process exits. After any error the worker has to
        be stopped before the next request.
        """
        self.has_emitted = False
        if self._socket is None:
            self._starting = asyncio.create_task(asyncio.to_thread(self._start))
            await asyncio.shield(self._starting)
        at = await self._put(body, self._buffer.write(head, 0))
        status, size, payload_bytes = await self._notify(REQUEST.pack(len(head), len(body)))
        while status in (DEADLINE, PART, ASK):
            reply = b""
            if status == DEADLINE:
                listener.set_deadline(size)
            elif status == PART:
                self.has_emitted = True
                listener.emit(self._buffer.read(size, at))
                at += size
            else:
                answer = await listener.respond(self._buffer.read(size, at))
                await self._put(answer, at)
                reply = REQUEST.pack(0, len(answer))
            status, size, payload_bytes = await self._notify(reply)
        head_of_response = self._buffer.read(size, at)
        payload = await self._get(payload_bytes, at + size)
        self._buffer.shrink()
        return status, head_of_response, payload

    def _start(self) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError:  # no file descriptor is left
            raise WorkerGoneError from None
        ours.settimeout(START_S)
        with theirs:
            try:
                self._pidfd = self._new_process(theirs, self._buffer)
            except OSError:
                ours.close()
                raise WorkerGoneError from None
        self._socket = ours
        with suppress(OSError):  # the process has exited; its first request fails for that reason
            self._configure().send(ours)
        ours.setblocking(False)

    async def _notify(self, request: bytes = b"") -> tuple[int, int, int]:
        """Send a request if one is given, and return the next notification of the worker."""
        loop, sock = asyncio.get_running_loop(), self._socket
        assert sock is not None  # noqa: S101  # it has been started
        try:
            if request:
                await loop.sock_sendall(sock, request)
            notification = await loop.sock_recv(sock, NOTIFICATION.size)
        except OSError:
            raise WorkerGoneError from None
        if not notification:
            raise WorkerGoneError
        status, first, second = NOTIFICATION.unpack(notification)
        return status, first, second

    async def _put(self, data: Bytes, at: int) -> int:
        view = memoryview(data)
        for start in range(0, len(view), STEP_BYTES):
            at = self._buffer.write(view[start : start + STEP_BYTES], at)
            await asyncio.sleep(0)
        return at

    async def _get(self, size: int, at: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        for start in range(0, size, STEP_BYTES):
            self._buffer.read_into(view[start : start + STEP_BYTES], at + start)
            await asyncio.sleep(0)
        return data

    async def kill(self) -> None:
        """Kill the process if there is one; a `run` in progress raises WorkerGoneError."""
        starting = self._starting
        if starting is not None:
            await asyncio.wait([starting])
            starting.exception()  # marks it as retrieved; `run` has raised it
        if self._socket is not None:
            with suppress(ProcessLookupError):  # it has exited already
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def stop(self) -> bool:
        """Kill the process and wait for its exit; return whether there was one.

        Only the caller of the last `run` may call it.
        """
        await self.kill()
        self._starting = None
        if self._socket is None:
            return False
        await _readable(self._pidfd)
        os.close(self._pidfd)
        self._socket.close()
        self._socket = None
        return True

    async def ended(self) -> None:
        """Wait until the process of the last request has exited, for whatever reason."""
        descriptor = os.dup(self._pidfd)  # `stop` closes its own
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)

    def trim_memory(self) -> None:
        """Return the pages of the shared buffer to the system; not during a request."""
        self._buffer.shrink(0)

    async def close(self) -> None:
        """Stop the process and close the shared buffer."""
        await self.stop()
        self._buffer.close()


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor is readable; a pidfd is when its process has exited."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
