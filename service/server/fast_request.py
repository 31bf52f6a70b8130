"""A plain POST of an operation on the fast path: received, answered in a batch, sent."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Final, Protocol

from service.core.response import HttpResponse
from service.errors import DrainingError
from service.http.problems import error_response
from service.pipeline.application import AnyRequest

# The most responses that are made before the first of them is sent.
BATCH_SIZE: Final = 16


class NoEvent:
    """The event that uvicorn sets when a connection is lost: nothing waits for it here."""

    @staticmethod
    def set() -> None:
        """Do nothing."""


class Carrier(Protocol):
    """The connection of a request."""

    def start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Run a coroutine."""
        ...

    def finish(self, response: HttpResponse, request: AnyRequest, *, keep_alive: bool) -> None:
        """Send the response to a request, unless the client has left."""
        ...


class FastRequest:
    """A POST of an operation that is being received or answered.

    uvicorn takes it for one of its cycles: it reads `response_complete` and `keep_alive`, and sets
    `disconnected` and `message_event` when the connection is lost.
    """

    __slots__ = ("_connection", "_end", "_query", "_request", "_response", "_task",
                 "disconnected", "keep_alive", "response_complete")  # fmt: skip
    message_event = NoEvent

    def __init__(self, connection: Carrier, request: AnyRequest, query: bytes):
        """Begin to receive the body into the buffer of `request`."""
        self._connection = connection
        self._request = request
        self._query = query
        self._end = 0
        self._response: HttpResponse | None = None
        self.keep_alive = True
        self.response_complete = False
        self._task: asyncio.Task[None] | None = None

    def receive(self, chunk: bytes) -> None:
        """Take a part of the body. The parser gives no more than Content-Length says."""
        self.missing[: len(chunk)] = chunk
        self.advance(len(chunk))

    def advance(self, size: int) -> None:
        """Count bytes that have been received into `missing`."""
        self._end += size
        reading = self._request.reading
        if reading is not None:
            reading.feed(self._end)

    @property
    def missing(self) -> memoryview:
        """The memory that is to be filled with the rest of the body."""
        return memoryview(self._request.buffer)[self._end :]

    def answer(self) -> None:
        """Make the response to the whole body, or start an executor that makes it."""
        request = self._request
        try:
            response = request.respond(request.buffer, self._query)
        except Exception as error:  # noqa: BLE001  # every error is answered
            response = self._refusal(error)
        if isinstance(response, HttpResponse):
            self._response = response
        else:
            self._task = self._connection.start(self._answer_later(response))

    def _refusal(self, error: Exception) -> HttpResponse:
        request = self._request
        return error_response(error, request.request_id, inference=bool(request.version))

    async def _answer_later(self, coming: Awaitable[HttpResponse]) -> None:
        try:
            self._response = await coming
        except asyncio.CancelledError:
            # The client has left and gets nothing, or the time of a graceful shutdown is over.
            cut = DrainingError("the service is shutting down, and the call was not finished")
            self._response = self._refusal(cut)
            self.send()
            raise
        except Exception as error:  # noqa: BLE001  # every error is answered
            self._response = self._refusal(error)
        self.send()

    def leave(self) -> None:
        """Cancel the request: the client has left."""
        if self._task is not None:
            # Once it has begun: Python warns of a coroutine that never does. The request is
            # released when no executor reads its body any more.
            self._task.get_loop().call_soon(self._task.cancel)
        elif not self.response_complete:
            self._request.release()

    def send(self) -> None:
        """Send the response, if it is ready."""
        response = self._response
        if response is not None:
            self.response_complete = True
            request = self._request
            if request.hold is not None:
                request.release()
            # Its tensors would stay until the connection's next request.
            del self._request, self._response
            self._connection.finish(response, request, keep_alive=self.keep_alive)


class ResponseBatch:
    """Requests that became whole in one iteration of the event loop, answered together.

    Their responses are made one after the other, and then sent: over two system calls the processor
    forgets so much of Python's code that a small product takes twice as long. If the iteration
    before had one request alone, the first of this iteration does not wait for others.

    If all of them were answered, the loop goes on for `poll_ns` without sleeping: a client that
    sends one product after the other is soon back, and to wake a process takes longer than to
    answer a 2 x 2.
    """

    def __init__(self, poll_ns: int = 0, clock: Callable[[], int] = perf_counter_ns):
        """Begin with none; `clock` gives nanoseconds."""
        self._waiting: list[FastRequest] = []
        self._count = 0
        self._count_before = 0
        self._poll_ns = poll_ns
        self._clock = clock
        self._polls = False
        self._polls_until = 0
        self._all_sent = True

    def add(self, request: FastRequest, loop: asyncio.AbstractEventLoop) -> None:
        """Answer a request: at once, or with the others that `loop` finds in this iteration."""
        self._count += 1
        if self._count > 1 or self._count_before > 1:
            self._waiting.append(request)
        else:
            request.answer()
            request.send()
            self._all_sent = request.response_complete
        if self._count == 1:
            loop.call_soon(self._finish, loop)

    def _finish(self, loop: asyncio.AbstractEventLoop) -> None:
        requests, self._waiting = self._waiting, []
        self._count_before, self._count = self._count, 0
        for first in range(0, len(requests), BATCH_SIZE):
            batch = requests[first : first + BATCH_SIZE]
            for request in batch:
                request.answer()
            for request in batch:
                request.send()
        all_sent = self._all_sent and all(request.response_complete for request in requests)
        self._all_sent = True
        # While another process computes, it may need this core.
        self._polls_until = self._clock() + self._poll_ns if all_sent else 0
        if not self._polls:
            self._polls = True
            self._poll(loop)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """Prevent `loop` from sleeping, which it does when no callback is due."""
        if self._clock() < self._polls_until:
            loop.call_soon(self._poll, loop)
        else:
            self._polls = False
