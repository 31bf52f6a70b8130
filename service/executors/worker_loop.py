"""The inside of a worker process: it waits for a ring, reads the arena, works, writes, rings back.

The socket only rings: each message is a few numbers. What they count is in the arena, where an
answer stands after its request, so that the request can be given to another process if this one
dies. Parts that are told before stand between them. A large body may be in the pool instead.
Nothing is unpickled, here or there.
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

from service.executors.shared_memory import Arena, Bytes, mapped

# How a request went; or, before that, that it has less time than the server knows, or that a part
# of what comes of it is in the arena. After FATAL the process ends.
DONE, EXHAUSTED, FAULT, SHORTER, PART, FATAL = range(6)
CONFIG: Final = struct.Struct("<Q")  # bytes of a worker's configuration
REQUEST: Final = struct.Struct("<QQq")  # a Request
IN_ARENA: Final = -1
NO_POOL: Final = memoryview(b"")
# How it went, bytes of head and payload; or milliseconds; or bytes of a part.
ANSWER: Final = struct.Struct("<BQQ")
# Requests in the event loop come first where the cores are all taken.
NICE: Final = 10
REST_S: Final = 0.5
# The kernel, when it has no memory left, ends workers before the server.
OOM_SCORE: Final = (Path("/proc/self/oom_score_adj"), "500")
STATUS: Final = Path("/proc/self/status")


class RequestHeader(NamedTuple):
    """What the server rings for: bytes of head and body, and where in the pool the body is.

    The head stands at the beginning of the arena, and after it a body that is not in the pool.
    """

    head_bytes: int
    body_bytes: int
    body_at: int = IN_ARENA


@dataclass(frozen=True, slots=True)
class Memory:
    """Where a worker reads requests; it writes its answers into the arena alone."""

    arena: Arena
    pool: memoryview = NO_POOL

    def head(self, request: RequestHeader) -> bytes:
        """The head of a request."""
        return bytes(self.arena.read(request.head_bytes, 0))

    def body(self, request: RequestHeader) -> Bytes:
        """The body of a request; one in the pool is not copied."""
        if request.body_at == IN_ARENA:
            return self.arena.read(request.body_bytes, request.head_bytes)
        return self.pool[request.body_at : request.body_at + request.body_bytes]


class FatalError(Exception):
    """Raised by a handler whose process is of no more use: it ends once the server is told why."""


@dataclass(frozen=True, slots=True)
class WorkerResponse:
    """What a handler made of a request."""

    head: bytes
    chunks: Iterable[Bytes] = ()


Shorten = Callable[[int], object]
Tell = Callable[[Bytes], object]


@dataclass(frozen=True, slots=True)
class Channel:
    """What a handler may say before it answers.

    To `shorten` it says how many milliseconds are left from now: the request itself may have named
    a deadline. By `tell` it hands over parts of what comes of the request, one after the other;
    once there was one, no other worker tries the request again.
    """

    shorten: Shorten
    tell: Tell


class Handler(Protocol):
    """What a worker does."""

    def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
        """The answer to a request; whatever it raises is told to the server."""
        ...

    def rest(self) -> None:
        """Give memory back: for a while there has been no request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a worker needs to begin, which travels as JSON.

    `make` is the name of a function, as in `package.module:function`, that gives the handler when
    it is called with the `arguments`. `memory_bytes` is what a worker may allocate, None for no
    bound; `nice` is how much it yields to the server.
    """

    make: str
    memory_bytes: int | None
    nice: int = NICE
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def send(self, bell: socket.socket, pool: int | None = None) -> None:
        """Send it to a worker, which receives it before anything else, and a pool's descriptor."""
        text = json.dumps(asdict(self)).encode()
        socket.send_fds(bell, [CONFIG.pack(len(text))], [] if pool is None else [pool])
        bell.sendall(text)

    @classmethod
    def receive(cls, bell: socket.socket) -> tuple["Config", memoryview]:
        """The configuration that the server sent, and its pool; EOFError if it has ended."""
        head, descriptors, _, _ = socket.recv_fds(bell, CONFIG.size, 1)
        if len(head) < CONFIG.size:
            raise _ended()
        pool = NO_POOL
        for descriptor in descriptors:
            pool = mapped(descriptor)
            os.close(descriptor)
        (size,) = CONFIG.unpack(head)
        text = bell.recv(size, socket.MSG_WAITALL)
        if len(text) < size:
            raise _ended()
        return cls(**json.loads(text)), pool

    def handler(self) -> Handler:
        """The handler, made now."""
        module, _, name = self.make.partition(":")
        handler: Handler = getattr(import_module(module), name)(**self.arguments)
        return handler


def _ended() -> EOFError:
    return EOFError("the server has ended")


def work(  # pragma: no cover - runs in workers; the tests of process_pool cover it
    bell: socket.socket, arena: Arena
) -> None:
    """Be a worker: serve the server, yield to it, and end with it."""
    # Signals from the terminal or the init system are for the server, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):
        OOM_SCORE[0].write_text(OOM_SCORE[1], encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Thread(target=end_with_server, args=[bell], daemon=True).start()
    config, pool = Config.receive(bell)
    os.nice(config.nice)
    if config.memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + config.memory_bytes, hard))
    serve(bell, Memory(arena, pool), config.handler())


def end_with_server(bell: socket.socket) -> None:  # pragma: no cover - ends its process
    """Wait until the server's end of the socket is closed, however that comes, and end at once."""
    poll = select.poll()
    poll.register(bell, select.POLLRDHUP)
    poll.poll()
    os._exit(1)


def data_bytes() -> int:
    """The private memory of this process, as RLIMIT_DATA counts it."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData:"))


def serve(bell: socket.socket, memory: Memory, handler: Handler) -> None:
    """Answer each request, until the server closes its end, or a request is the last one.

    Rest where none comes for a while.
    """
    while True:
        try:
            packet = bell.recv(REQUEST.size)
        except TimeoutError:
            handler.rest()
            bell.settimeout(None)
            continue
        if not packet:
            return
        bell.settimeout(REST_S)
        ring = answer(memory, handler, bell.send, RequestHeader(*REQUEST.unpack(packet)))
        bell.send(ring)
        if ring[0] == FATAL:
            return


def answer(
    memory: Memory, handler: Handler, ring: Callable[[bytes], object], request: RequestHeader
) -> bytes:
    """Handle a request, write what came of it to the arena, and give its last ring.

    By `ring` the server is told of what comes before.
    """
    arena = memory.arena
    at = request.head_bytes + (request.body_bytes if request.body_at == IN_ARENA else 0)

    def shorten(left_ms: int) -> None:
        ring(ANSWER.pack(SHORTER, left_ms, 0))

    def tell(part: Bytes) -> None:
        nonlocal at
        start, at = at, arena.write(part, at)
        ring(ANSWER.pack(PART, at - start, 0))

    try:
        line = Channel(shorten, tell)
        made, how = handler.answer(memory.head(request), memory.body(request), line), DONE
    except MemoryError:
        made, how = WorkerResponse(b""), EXHAUSTED
    except FatalError as error:
        made, how = WorkerResponse(str(error).encode()), FATAL
    except Exception:  # noqa: BLE001  # the server logs it
        made, how = WorkerResponse(traceback.format_exc().encode()), FAULT
    arena.write(made.head, at)
    start = end = at + len(made.head)
    for chunk in made.chunks:
        end = arena.write(chunk, end)
    return ANSWER.pack(how, len(made.head), end - start)
