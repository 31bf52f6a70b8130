"""A POST of an operation, from its head to its answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Final, Protocol

from service.api.middleware import failure
from service.errors import DrainingError, ServiceError
from service.http.response import HttpResponse
from service.pipeline.request import OperationRequest, Room

log = logging.getLogger("service")

NOTHING: Final = bytearray()


class Always:
    """What uvicorn sets when a connection is lost: nobody waits for it here."""

    @staticmethod
    def set() -> None:
        """Do nothing."""


class Carrier(Protocol):
    """What a POST asks of the connection that it came by."""

    def start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Run a coroutine."""
        ...

    def finish(self, reply: HttpResponse, exchange: OperationRequest, *, keep_alive: bool) -> None:
        """Send the reply of an exchange, unless the client has left."""
        ...


class FastRequest:
    """A POST of an operation that is being received or answered. uvicorn knows it as a cycle."""

    __slots__ = ("_body", "_connection", "_end", "_exchange", "_query", "_reply", "_task",
                 "disconnected", "keep_alive", "message_event", "response_complete")  # fmt: skip

    def __init__(self, connection: Carrier, exchange: OperationRequest, query: bytes, body: Room):
        """Have a body, or room for one that `receive` will fill."""
        self._connection = connection
        self._exchange = exchange
        self._query = query
        self._body = body
        self._end = 0
        self._reply: HttpResponse | None = None
        self.keep_alive = True
        self.response_complete = False
        # uvicorn sets both when the connection is lost.
        self.disconnected = False
        self.message_event = Always
        self._task: asyncio.Task[None] | None = None

    def receive(self, chunk: bytes) -> None:
        """Take a part of the body. The parser gives no more than Content-Length says."""
        self.room[: len(chunk)] = chunk
        self._end += len(chunk)

    @property
    def room(self) -> memoryview:
        """Where the rest of the body goes."""
        return memoryview(self._body)[self._end :]

    def answer(self) -> None:
        """Make the answer to the whole body, or have it made on a slot and sent from there."""
        try:
            body, self._body = self._body, NOTHING
            reply = self._exchange.respond(body, self._query)
            del body  # the exchange holds it for no longer than it must
        except ServiceError as error:
            reply = self._exchange.refused(error)
        except Exception:
            log.exception("request %s failed", self._exchange.request_id)
            reply = self._exchange.refused(failure(self._exchange.request_id))
        if isinstance(reply, HttpResponse):
            self._reply = reply
        else:
            self._task = self._connection.start(self._answer_later(reply))

    async def _answer_later(self, coming: Awaitable[HttpResponse]) -> None:
        try:
            self._reply = await coming
        except asyncio.CancelledError:
            # The client has left, who gets nothing, or the server does not wait any longer.
            cut = DrainingError("the service is shutting down, and the call was not finished")
            self._reply = self._exchange.refused(cut)
            self.send()
            raise
        except ServiceError as error:
            self._reply = self._exchange.refused(error)
        except Exception:
            log.exception("request %s failed", self._exchange.request_id)
            self._reply = self._exchange.refused(failure(self._exchange.request_id))
        self.send()

    def leave(self) -> None:
        """Give up what nobody waits for any more."""
        if self._task is not None:
            # When it has begun: a coroutine that never does is a mistake to Python. It ends the
            # exchange, once whoever reads the body holds it.
            self._task.get_loop().call_soon(self._task.cancel)
        elif not self.response_complete:
            self._exchange.end()

    def send(self) -> None:
        """Send the answer, if it is ready."""
        reply = self._reply
        if reply is not None:
            self.response_complete = True
            exchange = self._exchange
            exchange.end()
            # Its tensors would stay until the connection's next request.
            del self._exchange, self._reply
            self._connection.finish(reply, exchange, keep_alive=self.keep_alive)


# So many answers are made before the first of them is sent.
BATCH_SIZE: Final = 16


class ResponseBatch:
    """The POSTs that became whole in one turn of the event loop.

    Their answers are made one after the other, and then sent: over two system calls the processor
    forgets so much of Python's code that a small product takes twice as long. Where the turn before
    had one POST alone, the first of this turn waits for no other.

    If it could answer them all, the loop goes on for `poll_ns` without sleeping: who sends one
    product after the other is soon back, and to wake a process takes longer than to answer a 2 x 2.
    """

    def __init__(self, poll_ns: int = 0, clock: Callable[[], int] = perf_counter_ns):
        """Begin with none. `clock` gives nanoseconds."""
        self._waiting: list[FastRequest] = []
        self._count = 0
        self._count_before = 0
        self._poll_ns = poll_ns
        self._clock = clock
        self._polls = False
        self._polls_until = 0
        self._sent = True

    def add(self, post: FastRequest, loop: asyncio.AbstractEventLoop) -> None:
        """Answer this one: at once, or with the others that `loop` finds now."""
        self._count += 1
        if self._count > 1 or self._count_before > 1:
            self._waiting.append(post)
        else:
            post.answer()
            post.send()
            self._sent = post.response_complete
        if self._count == 1:
            loop.call_soon(self._end, loop)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        posts, self._waiting = self._waiting, []
        self._count_before, self._count = self._count, 0
        for first in range(0, len(posts), BATCH_SIZE):
            some = posts[first : first + BATCH_SIZE]
            for post in some:
                post.answer()
            for post in some:
                post.send()
        sent = self._sent and all(post.response_complete for post in posts)
        self._sent = True
        # Whoever computes for another may need this very core.
        self._polls_until = self._clock() + self._poll_ns if sent else 0
        if not self._polls:
            self._polls = True
            self._poll(loop)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keep `loop` from sleeping, which it does when nothing is to be called."""
        if self._clock() < self._polls_until:
            loop.call_soon(self._poll, loop)
        else:
            self._polls = False


# What is left of a body is received so from here on: uvloop reads 256 KB at a time by itself.
BULK_BYTES: Final = 2**18


class BodyReceiver(asyncio.BufferedProtocol):
    """Receives the rest of a body for a protocol, which learns of everything else as before."""

    def __init__(self, owner: asyncio.Protocol, room: memoryview, done: Callable[[], object]):
        """Fill `room`, and call `done`."""
        self._owner = owner
        self._room = room
        self._done = done

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: no more than are missing."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self._room = self._room[nbytes:]
        if not self._room:
            self._done()

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        self._owner.resume_writing()
