"""The server's end of one worker: its process, its socket, and the buffers shared with it."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from service.errors import OutOfMemoryError
from service.executors.forkserver import START_S
from service.executors.shared_buffer import Bytes, SharedBuffer
from service.executors.worker_loop import (
    ANSWER,
    ASK,
    DEADLINE,
    EXHAUSTED,
    FATAL,
    FAULT,
    NOTIFICATION,
    PART,
    REQUEST,
    Config,
    Emit,
    SetDeadline,
    body_offset,
)

# Bytes that the event loop copies in one step: about 0.2 ms.
STEP_BYTES: Final = 2**20

# Starts a process with the worker's end of a socket and its shared buffers. Returns a pidfd, or
# raises an OSError.
StartProcess = Callable[[socket.socket, Sequence[SharedBuffer]], int]
# Returns the answer to a question of a handler.
Respond = Callable[[bytearray], Awaitable[Bytes]]


class WorkerGoneError(Exception):
    """The worker process exited before it sent its response; the message is its reason, if any."""


class WorkerFaultError(RuntimeError):
    """A handler raised an exception in its process; `trace` says where, as `trace_text` does."""

    def __init__(self, trace: str):
        """Tell the type of the exception, which is the last line."""
        super().__init__(f"a handler failed by {trace.rpartition(chr(10))[2]}")
        self.trace = trace


def ignore(value: object) -> None:
    """Ignore what a handler sends before its response."""


async def no_answer(question: bytearray) -> Bytes:
    """Raise LookupError: no request but a race asks anything."""
    raise LookupError(f"nothing answers {question!r}")


@dataclass(frozen=True, slots=True)
class Listener:
    """Receiver of what a handler sends before its response: the server's end of a Channel."""

    set_deadline: SetDeadline
    emit: Emit
    respond: Respond


@dataclass(frozen=True, slots=True)
class StagedRequest:
    """A request whose head and body are in a buffer of the worker."""

    buffer: int
    head_bytes: int
    body_bytes: int

    @property
    def end(self) -> int:
        """The offset after its body."""
        return body_offset(self.head_bytes) + self.body_bytes


@dataclass(frozen=True, slots=True)
class StagedResponse:
    """A response whose payload is in a buffer of the worker."""

    status: int
    head: bytearray
    buffer: int
    offset: int
    payload_bytes: int

    def raise_for_status(self) -> None:
        """Raise OutOfMemoryError or WorkerFaultError if the handler has raised an exception."""
        if self.status == EXHAUSTED:
            raise OutOfMemoryError(
                self.head.decode() or "the call needs more memory than its process may have"
            )
        if self.status == FAULT:
            raise WorkerFaultError(self.head.decode())


class WorkerHandle:
    """Handle of one worker, whose process may be replaced while its shared buffers stay.

    The process answers one request at a time. With several buffers the next request can be written
    while it does.
    """

    def __init__(self, start: StartProcess, configure: Callable[[], Config], buffers: int = 1):
        """Create the shared buffers, and no process yet. `configure` is called for each process."""
        self._new_process = start
        self._configure = configure
        self._buffers = [SharedBuffer() for _ in range(buffers)]
        self._starting: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self._pidfd: int
        self.has_emitted = False  # a part of the response to the last request

    async def run(
        self, head: bytes, body: Bytes, listener: Listener
    ) -> tuple[StagedResponse, bytearray]:
        """Return the response to a request, and its payload.

        What the handler sends before its response is passed to `listener`, parts and questions as
        bytearrays. Raises WorkerGoneError if the process exits. After any error the worker has to
        be stopped before the next request.
        """
        self.has_emitted = False
        response = await self.ask(await self.stage(head, body), listener)
        payload = await self.collect(response)
        self._buffers[0].shrink()
        return response, payload

    async def stage(self, head: bytes, body: Bytes, number: int = 0) -> StagedRequest:
        """Write a request to the buffer of that number, which no other request uses."""
        self._buffers[number].write(head, 0)
        await self._put(number, body, body_offset(len(head)))
        return StagedRequest(number, len(head), len(body))

    async def ask(self, request: StagedRequest, listener: Listener) -> StagedResponse:
        """Let the process answer a request; no other one may be asked meanwhile.

        Raises what `run` does.
        """
        if self._socket is None:
            self._starting = asyncio.create_task(asyncio.to_thread(self._start))
            await asyncio.shield(self._starting)
        number, buffer, at = request.buffer, self._buffers[request.buffer], request.end
        message = REQUEST.pack(number, request.head_bytes, request.body_bytes)
        status, size, payload_bytes = await self._notify(message)
        while status in (DEADLINE, PART, ASK):
            reply = b""
            if status == DEADLINE:
                listener.set_deadline(size)
            elif status == PART:
                self.has_emitted = True
                listener.emit(buffer.read(size, at))
                at += size
            else:
                answer = await listener.respond(buffer.read(size, at))
                await self._put(number, answer, at)
                reply = ANSWER.pack(len(answer))
            status, size, payload_bytes = await self._notify(reply)
        head = buffer.read(size, at)
        if status == FATAL:
            raise WorkerGoneError(head.decode())
        return StagedResponse(status, head, number, at + size, payload_bytes)

    async def collect(self, response: StagedResponse) -> bytearray:
        """Return the payload of a response, after which its buffer is free."""
        data = bytearray(response.payload_bytes)
        view, buffer = memoryview(data), self._buffers[response.buffer]
        for start in range(0, len(data), STEP_BYTES):
            buffer.read_into(view[start : start + STEP_BYTES], response.offset + start)
            await asyncio.sleep(0)
        return data

    def _start(self) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError:  # no file descriptor is left
            raise WorkerGoneError from None
        ours.settimeout(START_S)
        with theirs:
            try:
                self._pidfd = self._new_process(theirs, self._buffers)
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

    async def _put(self, number: int, data: Bytes, at: int) -> None:
        view, buffer = memoryview(data), self._buffers[number]
        for start in range(0, len(view), STEP_BYTES):
            at = buffer.write(view[start : start + STEP_BYTES], at)
            await asyncio.sleep(0)

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
        """Wait until the process of the last request has exited, for whatever reason.

        It may not be stopped meanwhile.
        """
        await _readable(self._pidfd)

    def holds(self, size: int) -> bool:
        """Return whether a shared buffer has more bytes than that."""
        return any(each.size > size for each in self._buffers)

    def shrink(self, number: int, size: int) -> None:
        """Return pages beyond `size` bytes of a buffer, which has no request, to the system."""
        self._buffers[number].shrink(size)

    async def close(self) -> None:
        """Stop the process and close the shared buffers."""
        await self.stop()
        for each in self._buffers:
            each.close()


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor is readable; a pidfd is when its process has exited."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
