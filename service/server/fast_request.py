"""A POST of an operation, from its head to its answer."""

import asyncio
import logging
from collections.abc import Awaitable
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
