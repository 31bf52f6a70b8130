"""The worker's end, run on a thread of the test's process."""

import socket
from collections.abc import Callable
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from threading import Thread
from time import sleep

import pytest

from service.executors import Bytes, Channel, Config, ExhaustedError, WorkerResponse
from service.executors.shared_buffer import SharedBuffer
from service.executors.worker_loop import (
    ANSWER,
    ASK,
    CONFIG,
    DEADLINE,
    DONE,
    EXHAUSTED,
    FATAL,
    FAULT,
    NOTIFICATION,
    PART,
    REQUEST,
    body_offset,
    data_bytes,
    handle_request,
    serve_requests,
)
from tests.unit.executors.handlers import Echo, Obedient

HANDLERS = "tests.unit.executors.handlers"


def no_answer() -> int:
    """Fail: nothing is asked."""
    raise LookupError


def put(buffer: SharedBuffer, head: bytes, body: bytes = b"") -> int:
    """Write a request, and return the offset of its end."""
    buffer.write(head, 0)
    return buffer.write(body, body_offset(len(head)))


def response_of(
    handle: Callable[[bytes, Bytes], WorkerResponse], head: bytes, body: bytes
) -> tuple[int, bytes, bytes]:
    """Return the status of a request, and the head and payload of its response."""

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
            return handle(head, body)

    buffer = SharedBuffer()
    at = put(buffer, head, body)
    status, head_bytes, size = NOTIFICATION.unpack(
        handle_request(buffer, Handler(), print, no_answer, (len(head), len(body)))
    )
    # The request can be sent to another worker.
    assert buffer.read(at, 0) == head.ljust(at - len(body), b"\0") + body
    found = status, bytes(buffer.read(head_bytes, at)), bytes(buffer.read(size, at + head_bytes))
    buffer.close()
    return found


def test_a_response_of_chunks() -> None:
    """Chunks follow each other; the request stays before them."""

    def handle(head: bytes, body: Bytes) -> WorkerResponse:
        return WorkerResponse(head.upper(), (body, b"", memoryview(b"more")))

    assert response_of(handle, b"head", b"body") == (DONE, b"HEAD", b"bodymore")
    assert response_of(handle, b"", b"") == (DONE, b"", b"more")


def test_a_fault_has_its_trace() -> None:
    """The server receives frames and types, which it logs, and no text; the worker goes on."""

    def handle(head: bytes, body: Bytes) -> WorkerResponse:
        raise ValueError("a secret")

    status, text, payload = response_of(handle, b"head", b"body")
    assert (status, payload) == (FAULT, b"")
    assert b'raise ValueError("a secret")\nValueError' in text
    assert text.endswith(b"\nValueError")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError("Unable to allocate 9 GiB"), b""),
        (ExhaustedError("cuda:0 is full"), b"cuda:0 is full"),
    ],
)
def test_memory_that_runs_out(error: MemoryError, text: bytes) -> None:
    """A MemoryError has a status of its own, and is no fault; the handler's words are passed on."""

    def handle(head: bytes, body: Bytes) -> WorkerResponse:
        raise error

    assert response_of(handle, b"head", b"body") == (EXHAUSTED, text, b"")


@pytest.mark.parametrize("room", [0, 40])
@pytest.mark.parametrize("word", ["emit 1 pid", "ask which", "pid"])
def test_a_buffer_that_cannot_grow(word: str, room: int) -> None:
    """Memory has run out; the worker goes on, also where there is no room for the reason."""

    class Full(SharedBuffer):
        is_full = False

        def write(self, data: Bytes, at: int) -> int:
            if self.is_full and len(data) > room:
                raise OSError(28, "No space left on device")
            return super().write(data, at)

    buffer, sent = Full(), list[bytes]()
    at = put(buffer, word.encode().ljust(60), b"b" * 60)
    buffer.is_full = True
    last = handle_request(buffer, Obedient(), sent.append, no_answer, (60, 60))
    status, size, rest = NOTIFICATION.unpack(last)
    assert (status, rest, sent) == (EXHAUSTED, 0, [])
    reason = bytes(buffer.read(size, at))
    assert reason.startswith(b"this host has no room for") if room else not reason
    buffer.close()


def test_a_server_that_ends_before_it_has_sent_all() -> None:
    """The error says so, and not that the configuration is malformed."""
    for sent in (b"", CONFIG.pack(9)[:3], CONFIG.pack(9), CONFIG.pack(9) + b"{}"):
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(sent)
            with pytest.raises(EOFError, match="the server has ended"):
                Config.receive(theirs)


def test_an_answer_of_the_server() -> None:
    """A worker waits for it, however long the server takes."""
    ours, theirs = socket.socketpair()
    buffer = SharedBuffer()
    with ours, theirs:
        thread = Thread(target=serve_requests, args=(theirs, [buffer], Obedient()))
        thread.start()
        at = put(buffer, b"ask which?")
        ours.send(REQUEST.pack(0, 10, 0))
        status, size, _ = NOTIFICATION.unpack(ours.recv(NOTIFICATION.size))
        assert (status, bytes(buffer.read(size, at))) == (ASK, b"which?")
        buffer.write(b"this one", at)
        ours.send(ANSWER.pack(8))
        status, head_bytes, _ = NOTIFICATION.unpack(ours.recv(NOTIFICATION.size))
        assert (status, bytes(buffer.read(head_bytes, at))) == (DONE, b"this one")
        ours.shutdown(socket.SHUT_WR)
        thread.join(20)
        assert not thread.is_alive()
    buffer.close()


def test_a_last_response() -> None:
    """After a FatalError the worker sends the reason and ends, with the socket still open."""
    ours, theirs = socket.socketpair()
    buffer = SharedBuffer()
    with ours, theirs:
        thread = Thread(target=serve_requests, args=(theirs, [buffer], Obedient()))
        thread.start()
        at = put(buffer, b"end so it is")
        ours.send(REQUEST.pack(0, 12, 0))
        status, head_bytes, size = NOTIFICATION.unpack(ours.recv(NOTIFICATION.size))
        assert (status, bytes(buffer.read(head_bytes, at)), size) == (FATAL, b"so it is", 0)
        thread.join(20)
        assert not thread.is_alive()
    buffer.close()


def test_serving_until_the_server_hangs_up() -> None:
    """A notification for each request, memory trimmed when idle, and an end with the socket."""
    ours, theirs = socket.socketpair()
    buffers = [SharedBuffer(), SharedBuffer()]
    config = Config(make=f"{HANDLERS}:echo", memory_bytes=5, arguments={"suffix": "!"})
    with ours, theirs:
        config.send(ours)
        received = Config.receive(theirs)
        assert received == config
        handler = received.handler()
        assert isinstance(handler, Echo)
        thread = Thread(target=serve_requests, args=(theirs, buffers, handler))
        thread.start()
        for number, text in enumerate((b"one", b"two!")):
            at = put(buffers[number], b"h", text)
            ours.send(REQUEST.pack(number, 1, len(text)))
            status, head_bytes, size = NOTIFICATION.unpack(ours.recv(NOTIFICATION.size))
            assert (status, head_bytes, size) == (DONE, 1, len(text) + 1)
            assert buffers[number].read(size, at + 1) == text + b"!"
            for _ in range(1000):
                if handler.trims:
                    break
                sleep(0.01)
            assert handler.trims == 1
            handler.trims = 0
        ours.shutdown(socket.SHUT_WR)
        thread.join(20)
        assert not thread.is_alive()
    for each in buffers:
        each.close()


def test_notifications_before_the_response() -> None:
    """Deadlines and parts are sent in order; parts lie between request and response."""

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
            channel.emit(b"one")
            channel.set_deadline(250)
            channel.emit(b"")
            channel.emit(body)
            return WorkerResponse(b"head", (b"payload",))

    sent: list[bytes] = []
    buffer = SharedBuffer()
    at = put(buffer, b"ask", b"this")
    last = handle_request(buffer, Handler(), sent.append, no_answer, (3, 4))
    assert [NOTIFICATION.unpack(each) for each in (*sent, last)] == [
        (PART, 3, 0),
        (DEADLINE, 250, 0),
        (PART, 0, 0),
        (PART, 4, 0),
        (DONE, 4, 7),
    ]
    assert buffer.read(buffer.size - at, at) == b"one" + b"this" + b"head" + b"payload"
    buffer.close()


def test_a_question_to_the_server() -> None:
    """Its answer takes its place in the buffer, and the response follows the parts before it."""

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
            channel.emit(b"one")
            found = channel.ask(b"which?") + channel.ask(b"and?")
            return WorkerResponse(b"head", (found,))

    sent: list[bytes] = []
    buffer = SharedBuffer()
    at = put(buffer, b"ask")

    def answer() -> int:
        status, size, _ = NOTIFICATION.unpack(sent[-1])
        assert status == ASK
        question = bytes(buffer.read(size, at + 3))
        return buffer.write(b"<" + question + b">", at + 3) - at - 3

    last = handle_request(buffer, Handler(), sent.append, answer, (3, 0))
    assert NOTIFICATION.unpack(last) == (DONE, 4, 14)
    assert buffer.read(21, at) == b"onehead<which?><and?>"
    buffer.close()


def test_a_fault_after_a_part() -> None:
    """The trace follows the part in the buffer."""

    class Handler(Obedient):
        def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
            channel.emit(b"one")
            raise ValueError("because")

    sent: list[bytes] = []
    buffer = SharedBuffer()
    at = put(buffer, b"ask")
    status, size, rest = NOTIFICATION.unpack(
        handle_request(buffer, Handler(), sent.append, no_answer, (3, 0))
    )
    assert (status, rest) == (FAULT, 0)
    assert buffer.read(3, at) == b"one"
    assert buffer.read(size, at + 3).endswith(b"\nValueError")
    buffer.close()


def test_private_memory_is_counted() -> None:
    """In bytes; an allocation of 64 MiB adds as much."""
    before = data_bytes()
    with mmap(-1, 2**26, MAP_PRIVATE | MAP_ANONYMOUS):  # a heap may have so much that is free
        assert data_bytes() - before >= 2**26
    assert before > 2**20
