"""The worker's end: receive a request, call the handler, send the response.

The socket carries only notifications, each a few numbers. The bytes that they count are in the
shared buffer, where a response follows its request: the request stays, so that it can be sent to
another process if this one dies. Parts that are emitted before the response lie between them. A
large body may be in the shared pool instead. Neither side unpickles anything.
"""

import json
import os
import resource
import select
import signal
import socket
import struct
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple, Protocol

from service.executors.shared_memory import Bytes, SharedBuffer, map_read_only

# Status of a notification. DEADLINE and PART precede a response: the request has less time than the
# server has assumed, or a part of its result is in the shared buffer. After FATAL the process ends.
DONE, EXHAUSTED, FAULT, DEADLINE, PART, FATAL = range(6)
CONFIG: Final = struct.Struct("<Q")  # bytes of a worker's configuration
REQUEST: Final = struct.Struct("<QQq")  # the fields of a RequestHeader
IN_BUFFER: Final = -1
NO_POOL: Final = memoryview(b"")
# Status, then bytes of head and payload; for DEADLINE milliseconds; for PART bytes of the part.
NOTIFICATION: Final = struct.Struct("<BQQ")
# Requests in the event loop have priority where all cores are busy.
NICE: Final = 10
IDLE_S: Final = 0.5
# Without free memory the kernel kills workers before the server.
OOM_SCORE: Final = (Path("/proc/self/oom_score_adj"), "500")
STATUS: Final = Path("/proc/self/status")


class RequestHeader(NamedTuple):
    """Sizes of head and body in bytes, and the offset of the body in the pool.

    The head is at the beginning of the shared buffer. A body that is not in the pool follows it.
    """

    head_bytes: int
    body_bytes: int
    body_at: int = IN_BUFFER


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """Memory that a worker reads requests from; responses are written to the buffer only."""

    buffer: SharedBuffer
    pool: memoryview = NO_POOL

    def head(self, request: RequestHeader) -> bytes:
        """Return the head of a request."""
        return bytes(self.buffer.read(request.head_bytes, 0))

    def body(self, request: RequestHeader) -> Bytes:
        """Return the body of a request; one in the pool is not copied."""
        if request.body_at == IN_BUFFER:
            return self.buffer.read(request.body_bytes, request.head_bytes)
        return self.pool[request.body_at : request.body_at + request.body_bytes]


class FatalError(Exception):
    """Raised by a handler whose process is unusable: it exits after the message is sent."""


@dataclass(frozen=True, slots=True)
class WorkerResponse:
    """Response of a handler: a head, and a payload in chunks."""

    head: bytes
    chunks: Iterable[Bytes] = ()


SetDeadline = Callable[[int], object]
Emit = Callable[[Bytes], object]


@dataclass(frozen=True, slots=True)
class Channel:
    """Callbacks of a handler to the server before its response.

    `set_deadline` takes the milliseconds that are left from now; a deadline in the request is known
    only after decoding. `emit` sends a part of the result. After the first part the request is not
    retried by another worker.
    """

    set_deadline: SetDeadline
    emit: Emit


class Handler(Protocol):
    """Application code of a worker."""

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

    def send(self, worker: socket.socket, pool: int | None = None) -> None:
        """Send it to a worker before any request, with the descriptor of a pool if there is one."""
        text = json.dumps(asdict(self)).encode()
        socket.send_fds(worker, [CONFIG.pack(len(text))], [] if pool is None else [pool])
        worker.sendall(text)

    @classmethod
    def receive(cls, server: socket.socket) -> tuple["Config", memoryview]:
        """Return the configuration that the server sent, and the pool; EOFError if it has ended."""
        head, descriptors, _, _ = socket.recv_fds(server, CONFIG.size, 1)
        if len(head) < CONFIG.size:
            raise _ended()
        pool = NO_POOL
        for descriptor in descriptors:
            pool = map_read_only(descriptor)
            os.close(descriptor)
        (size,) = CONFIG.unpack(head)
        text = server.recv(size, socket.MSG_WAITALL)
        if len(text) < size:
            raise _ended()
        return cls(**json.loads(text)), pool

    def handler(self) -> Handler:
        """Make the handler."""
        module, _, name = self.make.partition(":")
        handler: Handler = getattr(import_module(module), name)(**self.arguments)
        return handler


def _ended() -> EOFError:
    return EOFError("the server has ended")


def worker_main(  # pragma: no cover - runs in workers; the tests of process_pool cover it
    server: socket.socket, buffer: SharedBuffer
) -> None:
    """Set up the process, and serve requests until the server ends."""
    # Signals from the terminal or the init system are for the server, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):
        OOM_SCORE[0].write_text(OOM_SCORE[1], encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Thread(target=exit_with_server, args=[server], daemon=True).start()
    config, pool = Config.receive(server)
    os.nice(config.nice)
    if config.memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + config.memory_bytes, hard))
    serve_requests(server, WorkerMemory(buffer, pool), config.handler())


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


def serve_requests(server: socket.socket, memory: WorkerMemory, handler: Handler) -> None:
    """Handle requests until the server closes its end, or one ends with FATAL.

    The handler trims its memory after IDLE_S without a request.
    """
    while True:
        try:
            packet = server.recv(REQUEST.size)
        except TimeoutError:
            handler.trim_memory()
            server.settimeout(None)
            continue
        if not packet:
            return
        server.settimeout(IDLE_S)
        header = RequestHeader(*REQUEST.unpack(packet))
        notification = handle_request(memory, handler, server.send, header)
        server.send(notification)
        if notification[0] == FATAL:
            return


def handle_request(
    memory: WorkerMemory,
    handler: Handler,
    notify: Callable[[bytes], object],
    request: RequestHeader,
) -> bytes:
    """Handle a request, write its response to the buffer, and return the last notification.

    Notifications that precede it are passed to `notify`.
    """
    buffer = memory.buffer
    at = request.head_bytes + (request.body_bytes if request.body_at == IN_BUFFER else 0)

    def set_deadline(left_ms: int) -> None:
        notify(NOTIFICATION.pack(DEADLINE, left_ms, 0))

    def emit(part: Bytes) -> None:
        nonlocal at
        start, at = at, buffer.write(part, at)
        notify(NOTIFICATION.pack(PART, at - start, 0))

    try:
        channel, status = Channel(set_deadline, emit), DONE
        response = handler.answer(memory.head(request), memory.body(request), channel)
    except MemoryError:
        response, status = WorkerResponse(b""), EXHAUSTED
    except FatalError as error:
        response, status = WorkerResponse(str(error).encode()), FATAL
    except Exception:  # noqa: BLE001  # the server logs it
        response, status = WorkerResponse(traceback.format_exc().encode()), FAULT
    buffer.write(response.head, at)
    start = end = at + len(response.head)
    for chunk in response.chunks:
        end = buffer.write(chunk, end)
    return NOTIFICATION.pack(status, len(response.head), end - start)
