"""uvicorn's protocol, with a shorter way for POSTs of operations.

ASGI takes a scope, a task, an event and two or three messages for each request, which cost a small
product several times its own time, and copy a large body twice. A plain POST of an operation is
received into one buffer and answered from the parser's own callback; everything else (other routes,
chunked bodies, `Expect`, HTTP/1.0, whatever is refused before its body is read) is uvicorn's.
"""

import asyncio
import logging
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.errors import MalformedRequestError
from service.api.exchange import Exchange
from service.api.problems import problem_response
from service.api.replies import Reply, response_reply
from service.api.routes import Endpoint
from service.api.shell import SECURITY, failure, request_id_of
from service.errors import ServiceError

log = logging.getLogger("service")

STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
NOTHING: Final = bytearray()
COMMON: Final = b"".join(b"%s: %s\r\n" % header for header in SECURITY)
# Up to here one write of joined chunks is quicker than several.
JOINED_BYTES: Final = 65_536


class Always:
    """What uvicorn sets when a connection is lost: nobody waits for it here."""

    @staticmethod
    def set() -> None:
        """Do nothing."""


class Post:
    """A POST of an operation that is being received or answered. uvicorn knows it as a cycle."""

    __slots__ = ("_body", "_end", "_exchange", "_protocol", "_query", "disconnected",
                 "keep_alive", "message_event", "response_complete")  # fmt: skip

    def __init__(self, protocol: "Protocol", exchange: Exchange, query: bytes, length: int):
        """Make room for a body of `length` bytes."""
        self._protocol = protocol
        self._exchange = exchange
        self._query = query
        self._body = bytearray(length)
        self._end = 0
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = Always

    def receive(self, chunk: bytes) -> None:
        """Take a part of the body. The parser gives no more than Content-Length says."""
        start, self._end = self._end, self._end + len(chunk)
        self._body[start : self._end] = chunk

    def complete(self) -> None:
        """Answer: at once, or when a slot is done with it."""
        try:
            body, self._body = self._body, NOTHING
            reply = self._exchange.respond(body, self._query)
            del body  # the exchange holds it for no longer than it must
        except Exception as error:  # noqa: BLE001  # every one of them is an answer
            reply = error_reply(error, self._exchange.request_id)
        if isinstance(reply, Reply):
            self._write(reply)
        else:
            self._protocol.start(self._answer_later(reply))

    async def _answer_later(self, coming: Awaitable[Reply]) -> None:
        try:
            reply = await coming
        except Exception as error:  # noqa: BLE001  # every one of them is an answer
            reply = error_reply(error, self._exchange.request_id)
        self._write(reply)

    def _write(self, reply: Reply) -> None:
        self.response_complete = True
        request_id = self._exchange.request_id
        del self._exchange  # its tensors would stay until the connection's next request
        if not self.disconnected:
            self._protocol.write(reply, request_id, keep_alive=self.keep_alive)
            self._protocol.on_response_complete()


def error_reply(error: Exception, request_id: str) -> Reply:
    """The reply to a call that ended in an error; a fault of ours is logged."""
    if not isinstance(error, ServiceError):
        log.error("request %s failed", request_id, exc_info=error)
        error = failure(request_id)
    return response_reply(problem_response(error))


class Protocol(HttpToolsProtocol):
    """One connection."""

    post: Post | None = None

    def on_headers_complete(self) -> None:
        """Begin a request: a plain POST of an operation here, anything else as uvicorn does."""
        self.post = self._plain_post()
        if self.post is None:
            super().on_headers_complete()
        else:
            self.cycle = self.post  # type: ignore[assignment]  # what uvicorn uses of it, it has

    def _plain_post(self) -> Post | None:
        path, _, query = self.url.partition(b"?")
        endpoint: Endpoint | None = self.app_state["posts"].get(path)
        if endpoint is None or self.parser.get_method() != b"POST" or self._is_busy():
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or self.expect_100_continue or not self.parser.should_keep_alive():
            return None
        if int(length) > endpoint.max_body_bytes:
            return None
        request_id = request_id_of(headers.get(b"x-request-id"))
        try:
            exchange = endpoint.begin(headers, request_id)
        except ServiceError:
            return None
        return Post(self, exchange, query, int(length))

    def _is_busy(self) -> bool:
        """Whether the request before is still being answered: pipelined ones are uvicorn's."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body."""
        if self.post is None:
            super().on_body(body)
        else:
            self.post.receive(body)

    def on_message_complete(self) -> None:
        """Answer the whole request."""
        if self.post is None:
            super().on_message_complete()
        else:
            self.post.complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request with a problem, and close the connection."""
        error = MalformedRequestError(f"{msg} The connection was closed")
        self.write(error_reply(error, request_id_of(None)), request_id_of(None), keep_alive=False)

    def start(self, work: Any) -> None:
        """Run a coroutine that a graceful shutdown waits for."""
        task: asyncio.Task[None] = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def write(self, reply: Reply, request_id: str, *, keep_alive: bool) -> None:
        """Write an answer."""
        headers = (*self.server_state.default_headers, *reply.headers)
        lines = [STATUS_LINES[reply.status], *[b"%b: %b\r\n" % header for header in headers]]
        end = b"" if keep_alive else b"connection: close\r\n"
        lines.append(b"x-request-id: %b\r\n%b%b\r\n" % (request_id.encode(), COMMON, end))
        if sum(map(len, reply.chunks)) <= JOINED_BYTES:
            self.transport.write(b"".join((*lines, *reply.chunks)))
        else:
            self.transport.write(b"".join(lines))
            for chunk in reply.chunks:
                self.transport.write(chunk)
        if not keep_alive:
            self.transport.close()
