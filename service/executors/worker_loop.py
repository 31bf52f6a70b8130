"""The worker's end: receive a request, call the handler, send the response.

The socket carries only notifications, each a few numbers. The bytes that they count are in a shared
buffer, where a response follows its request: the request stays, so that it can be sent to another
process if this one dies. Parts that are emitted before the response lie between them. A process may
have several buffers, so that the server writes a request to one of them and reads a response from
another while the process computes. Neither side unpickles anything.
"""

import json
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Final, Protocol

from service.core.trace import trace_text
from service.executors.shared_buffer import Bytes, SharedBuffer

# Status of a notification. DEADLINE, PART and ASK precede a response: the request has less time
# than the server has assumed, or a part of its result, or a question to the server, is in the
# shared buffer. After FATAL the process ends.
DONE, EXHAUSTED, FAULT, DEADLINE, PART, FATAL, ASK = range(7)
CONFIG: Final = struct.Struct("<Q")  # bytes of a worker's configuration
REQUEST: Final = struct.Struct("<QQQ")  # the number of the buffer, then bytes of head and body
ANSWER: Final = struct.Struct("<Q")  # bytes of the answer to ASK
# Status, then bytes of head and payload; for DEADLINE milliseconds; for PART and ASK their bytes.
NOTIFICATION: Final = struct.Struct("<BQQ")
# Bodies begin at multiples of it, as numbers in them need it.
ALIGNMENT: Final = 64
# Requests in the event loop have priority where all cores are busy.
NICE: Final = 10
IDLE_S: Final = 0.5
# Without free memory the kernel kills workers before the server.
OOM_SCORE: Final = (Path("/proc/self/oom_score_adj"), "500")
STATUS: Final = Path("/proc/self/status")


class FatalError(Exception):
    """Raised by a handler whose process is unusable: it exits after the message is sent."""


class ExhaustedError(MemoryError):
    """Raised by a handler that knows whose memory has run out; the message is for the client."""


@dataclass(frozen=True, slots=True)
class WorkerResponse:
    """Response of a handler: a head, and a payload in chunks."""

    head: bytes
    chunks: Iterable[Bytes] = ()


SetDeadline = Callable[[int], object]
Emit = Callable[[Bytes], object]
Ask = Callable[[bytes], bytearray]


@dataclass(frozen=True, slots=True)
class Channel:
    """Callbacks of a handler to the server before its response.

    `set_deadline` takes the milliseconds that are left from now; a deadline in the request is known
    only after decoding. `emit` sends a part of the result. After the first part the request is not
    retried by another worker. `ask` returns the server's answer to a question.
    """

    set_deadline: SetDeadline
    emit: Emit
    ask: Ask


class Handler(Protocol):
    """Application code of a worker."""

    def read_body(self, buffer: SharedBuffer, size: int, at: int, /) -> Bytes:
        """Return the body of a request, which is at an offset of the buffer."""
        ...

    def answer(self, head: bytes, body: Bytes, channel: Channel, /) -> WorkerResponse:
        """Return the response to a request; the server receives what it raises."""
        ...

    def trim_memory(self) -> None:
        """Return free memory to the system; called after some time without a request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Configuration of a worker, sent to it as JSON.

    `make` names a function as `package.module:function`, which returns the handler when it is
    called with the `arguments`. `memory_bytes` limits what a worker may allocate, None is no limit.
    `nice` is the niceness that is added to the server's.
    """

    make: str
    memory_bytes: int | None
    nice: int = NICE
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def send(self, worker: socket.socket) -> None:
        """Send it to a worker before any request."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}  # nothing is copied
        text = json.dumps(values).encode()
        worker.sendall(CONFIG.pack(len(text)) + text)

    @classmethod
    def receive(cls, server: socket.socket) -> "Config":
        """Return the configuration that the server sent; EOFError if the server has ended."""
        (size,) = CONFIG.unpack(_receive(server, CONFIG.size))
        return cls(**json.loads(_receive(server, size)))

    def handler(self) -> Handler:
        """Make the handler."""
        module, _, name = self.make.partition(":")
        handler: Handler = getattr(import_module(module), name)(**self.arguments)
        return handler


def body_offset(head_bytes: int) -> int:
    """Return the offset in the buffer of a body after a head of that size."""
    return -(-head_bytes // ALIGNMENT) * ALIGNMENT


def _receive(server: socket.socket, size: int) -> bytes:
    data = server.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError("the server has ended")
    return data


def worker_main(  # pragma: no cover - runs in workers; the tests of process_pool cover it
    server: socket.socket, buffers: Sequence[SharedBuffer]
) -> None:
    """Set up the process, and serve requests until the server ends."""
    # Signals from the terminal or the init system are for the server, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):
        OOM_SCORE[0].write_text(OOM_SCORE[1], encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Thread(target=exit_with_server, args=[server], daemon=True).start()
    config = Config.receive(server)
    os.nice(config.nice)
    if config.memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + config.memory_bytes, hard))
    serve_requests(server, buffers, config.handler())


def exit_with_server(server: socket.socket) -> None:  # pragma: no cover - ends its process
    """Wait until the server's end of the socket is closed, by whatever cause, and exit at once."""
    poll = select.poll()
    poll.register(server, select.POLLRDHUP)
    poll.poll()
    os._exit(1)


def data_bytes() -> int:
    """Return the private memory of this process, as RLIMIT_DATA counts it."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData:"))


def serve_requests(
    server: socket.socket, buffers: Sequence[SharedBuffer], handler: Handler
) -> None:
    """Handle requests until the server closes its end, or one ends with FATAL.

    The handler trims its memory after IDLE_S without a request.
    """

    def receive_answer() -> int:
        (size,) = ANSWER.unpack(_receive(server, ANSWER.size))
        return int(size)

    while True:
        try:
            packet = server.recv(REQUEST.size)
        except TimeoutError:
            handler.trim_memory()
            server.settimeout(None)
            continue
        if not packet:
            return
        server.settimeout(None)
        number, *sizes = REQUEST.unpack(packet)
        notification = handle_request(buffers[number], handler, server.send, receive_answer, sizes)
        server.send(notification)
        if notification[0] == FATAL:
            return
        server.settimeout(IDLE_S)


def handle_request(
    buffer: SharedBuffer,
    handler: Handler,
    notify: Callable[[bytes], object],
    receive_answer: Callable[[], int],
    sizes: Sequence[int],
) -> bytes:
    """Handle a request, write its response to the buffer, and return the last notification.

    The request, whose head and body have these `sizes`, is at the beginning of the buffer.
    Notifications before the last one are passed to `notify`. `receive_answer` waits for the size of
    the server's answer, which replaces the question in the buffer.
    """
    head_bytes, body_bytes = sizes
    start_of_body = body_offset(head_bytes)
    at = start_of_body + body_bytes

    def set_deadline(left_ms: int) -> None:
        notify(NOTIFICATION.pack(DEADLINE, left_ms, 0))

    def emit(part: Bytes) -> None:
        nonlocal at
        start, at = at, _write(buffer, part, at)
        notify(NOTIFICATION.pack(PART, at - start, 0))

    def ask(question: bytes) -> bytearray:
        notify(NOTIFICATION.pack(ASK, _write(buffer, question, at) - at, 0))
        return buffer.read(receive_answer(), at)

    try:
        channel = Channel(set_deadline, emit, ask)
        head = bytes(buffer.read(head_bytes, 0))
        body = handler.read_body(buffer, body_bytes, start_of_body)
        response = handler.answer(head, body, channel)
        start = end = _write(buffer, response.head, at)
        for chunk in response.chunks:
            end = _write(buffer, chunk, end)
        return NOTIFICATION.pack(DONE, start - at, end - start)
    except MemoryError as error:
        status, reason = EXHAUSTED, str(error) if isinstance(error, ExhaustedError) else ""
    except FatalError as error:
        status, reason = FATAL, str(error)
    except Exception as error:  # noqa: BLE001  # the server logs it
        status, reason = FAULT, trace_text(error)
    start = at
    with suppress(OSError):  # the status says enough where there is no room for the reason
        start = buffer.write(reason.encode(), at)
    return NOTIFICATION.pack(status, start - at, 0)


def _write(buffer: SharedBuffer, data: Bytes, at: int) -> int:
    """Write to a buffer, and return the offset of the end; ExhaustedError if it cannot grow."""
    try:
        return buffer.write(data, at)
    except OSError:
        raise ExhaustedError(f"this host has no room for {len(data)} bytes") from None
