"""The inside of a worker, run on a thread."""

import socket
from collections.abc import Callable
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from threading import Thread
from time import sleep

import pytest

from service.executors import Bytes, Channel, Config, Pool, WorkerResponse
from service.executors.shared_memory import Arena
from service.executors.worker_loop import (
    ANSWER,
    CONFIG,
    DONE,
    EXHAUSTED,
    FATAL,
    FAULT,
    PART,
    REQUEST,
    SHORTER,
    Memory,
    RequestHeader,
    answer,
    data_bytes,
    serve,
)
from tests.unit.executors.handlers import Echo, Obedient

HANDLERS = "tests.unit.executors.handlers"


def asked(
    handle: Callable[[bytes, Bytes], WorkerResponse], head: bytes, body: bytes
) -> tuple[int, bytes, bytes]:
    """How a request went, and the head and payload of its answer."""

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
            return handle(head, body)

    arena = Arena()
    arena.write(head + body, 0)
    how, head_bytes, size = ANSWER.unpack(
        answer(Memory(arena), Handler(), print, RequestHeader(len(head), len(body)))
    )
    at = len(head) + len(body)
    assert arena.read(at, 0) == head + body  # it can be asked again
    found = how, bytes(arena.read(head_bytes, at)), bytes(arena.read(size, at + head_bytes))
    arena.close()
    return found


def test_an_answer_of_chunks() -> None:
    """They follow each other; the request stays before them."""

    def handle(head: bytes, body: Bytes) -> WorkerResponse:
        return WorkerResponse(head.upper(), (body, b"", memoryview(b"more")))

    assert asked(handle, b"head", b"body") == (DONE, b"HEAD", b"bodymore")
    assert asked(handle, b"", b"") == (DONE, b"", b"more")


def test_a_fault_is_told_with_its_traceback() -> None:
    """The server logs it; the worker goes on."""

    def handle(head: bytes, body: Bytes) -> WorkerResponse:
        raise ValueError("a secret")

    how, text, payload = asked(handle, b"head", b"body")
    assert (how, payload) == (FAULT, b"")
    assert text.endswith(b"ValueError: a secret\n")


def test_memory_that_runs_out_is_told() -> None:
    """It is no fault."""

    def handle(head: bytes, body: Bytes) -> WorkerResponse:
        raise MemoryError

    assert asked(handle, b"head", b"body") == (EXHAUSTED, b"", b"")


def test_a_server_that_ends_before_it_has_sent_all() -> None:
    """Its worker is told so, and not that something is malformed."""
    for sent in (b"", CONFIG.pack(9)):
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(sent)
            with pytest.raises(EOFError, match="the server has ended"):
                Config.receive(theirs)


def test_a_last_answer() -> None:
    """Whose process is of no more use says why, and ends, though the server has not hung up."""
    ours, theirs = socket.socketpair()
    arena = Arena()
    with ours, theirs:
        thread = Thread(target=serve, args=(theirs, Memory(arena), Obedient()))
        thread.start()
        arena.write(b"end so it is", 0)
        ours.send(REQUEST.pack(*RequestHeader(12, 0)))
        how, head_bytes, size = ANSWER.unpack(ours.recv(ANSWER.size))
        assert (how, bytes(arena.read(head_bytes, 12)), size) == (FATAL, b"so it is", 0)
        thread.join(20)
        assert not thread.is_alive()
    arena.close()


def test_serving_until_the_server_hangs_up() -> None:
    """A ring for each request, a rest after a while without; and at last it ends."""
    ours, theirs = socket.socketpair()
    arena = Arena()
    config = Config(make=f"{HANDLERS}:echo", memory_bytes=5, arguments={"suffix": "!"})
    with ours, theirs:
        config.send(ours)
        received, pool = Config.receive(theirs)
        assert (received, bytes(pool)) == (config, b"")
        handler = received.handler()
        assert isinstance(handler, Echo)
        thread = Thread(target=serve, args=(theirs, Memory(arena), handler))
        thread.start()
        for text in (b"one", b"two!"):
            arena.write(b"h" + text, 0)
            ours.send(REQUEST.pack(*RequestHeader(1, len(text))))
            how, head_bytes, size = ANSWER.unpack(ours.recv(ANSWER.size))
            assert (how, head_bytes, size) == (DONE, 1, len(text) + 1)
            assert arena.read(size, 2 + len(text)) == text + b"!"
            for _ in range(1000):
                if handler.rests:
                    break
                sleep(0.01)
            assert handler.rests == 1
            handler.rests = 0
        ours.shutdown(socket.SHUT_WR)
        thread.join(20)
        assert not thread.is_alive()
    arena.close()


def test_what_is_said_before_the_answer() -> None:
    """A shorter deadline, and parts, which lie between request and answer in the order told."""

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
            line.tell(b"one")
            line.shorten(250)
            line.tell(b"")
            line.tell(body)
            return WorkerResponse(b"head", (b"payload",))

    rings: list[bytes] = []
    arena = Arena()
    arena.write(b"askthis", 0)
    last = answer(Memory(arena), Handler(), rings.append, RequestHeader(3, 4))
    assert [ANSWER.unpack(ring) for ring in (*rings, last)] == [
        (PART, 3, 0),
        (SHORTER, 250, 0),
        (PART, 0, 0),
        (PART, 4, 0),
        (DONE, 4, 7),
    ]
    assert arena.read(arena.size, 0) == b"askthis" + b"one" + b"this" + b"head" + b"payload"
    arena.close()


def test_a_body_in_the_pool() -> None:
    """It is read where it is; its answer is in the arena, at the end of the head."""
    seen: list[Bytes] = []

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
            seen.append(body)
            return WorkerResponse(b"head", (body,))

    arena = Arena()
    arena.write(b"ask", 0)
    memory = Memory(arena, memoryview(b"another this other"))
    ring = answer(memory, Handler(), print, RequestHeader(3, 4, 8))
    assert ANSWER.unpack(ring) == (DONE, 4, 4)
    assert arena.read(arena.size, 0) == b"askheadthis"
    assert isinstance(seen[0], memoryview)
    arena.close()


def test_the_pool_comes_with_the_configuration() -> None:
    """A worker sees what the server writes, whose descriptor it need not keep."""
    pool = Pool(3)
    ours, theirs = socket.socketpair()
    config = Config(make=f"{HANDLERS}:obey", memory_bytes=None)
    with ours, theirs:
        config.send(ours, pool.descriptor)
        received, seen = Config.receive(theirs)
    block = pool.take(3)
    assert block is not None
    block.view[:] = b"abc"
    assert (received, seen[:3].tobytes()) == (config, b"abc")
    pool.close()


def test_a_fault_after_a_part() -> None:
    """It is told behind the part."""

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
            line.tell(b"one")
            raise ValueError("because")

    rings: list[bytes] = []
    arena = Arena()
    arena.write(b"ask", 0)
    how, size, rest = ANSWER.unpack(
        answer(Memory(arena), Handler(), rings.append, RequestHeader(3, 0))
    )
    assert (how, rest) == (FAULT, 0)
    assert arena.read(6, 0) == b"askone"
    assert arena.read(size, 6).endswith(b"ValueError: because\n")
    arena.close()


def test_private_memory_is_counted() -> None:
    """In bytes, and more of it is more."""
    before = data_bytes()
    with mmap(-1, 2**26, MAP_PRIVATE | MAP_ANONYMOUS):  # a heap may have so much that is free
        assert data_bytes() - before >= 2**26
    assert before > 2**20
