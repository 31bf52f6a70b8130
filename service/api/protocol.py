"""uvicorn's protocol, with a shorter way for POSTs of operations.

ASGI takes a scope, a task, an event and two or three messages for each request, which cost a small
product several times its own time, and copy a large body twice. A plain POST of an operation is
received into one buffer and answered from the parser's own callback; everything else (other routes,
chunked bodies, `Expect`, HTTP/1.0, whatever is refused before its body is read) is uvicorn's.

An offer to upgrade the connection, which Java's client makes in its first request, is declined as
RFC 9110 (section 7.8) has it: the request is served. uvicorn alone would lose its body.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from http import HTTPStatus
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
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
COMMON: Final = b"".join(b"%b: %b\r\n" % header for header in SECURITY)
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
        self.response_complete = False
        # uvicorn sets both when the connection is lost.
        self.disconnected = False
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
        except Exception as error:  # noqa: BLE001  # a fault is logged and answered
            reply = error_reply(error, self._exchange.request_id)
        if isinstance(reply, Reply):
            self._write(reply)
        else:
            self._protocol.start(self._answer_later(reply))

    async def _answer_later(self, coming: Awaitable[Reply]) -> None:
        try:
            reply = await coming
        except Exception as error:  # noqa: BLE001  # a fault is logged and answered
            reply = error_reply(error, self._exchange.request_id)
        self._write(reply)

    def _write(self, reply: Reply) -> None:
        self.response_complete = True
        request_id = self._exchange.request_id
        del self._exchange  # its tensors would stay until the connection's next request
        # A client that left, or has sent rubbish since, gets no answer.
        if not self._protocol.transport.is_closing():
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

    def data_received(self, data: bytes) -> None:
        """Take what came, be it a part of a request or several."""
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as offer:
                data = self._declined() + data[offer.args[0] :]
            except HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return
            else:
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the request: what has come of its body would stay until Python collects cycles."""
        super().connection_lost(exc)
        self.post = self.cycle = None  # type: ignore[assignment]  # uvicorn's type forgets its None

    def _offers_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _declined(self) -> bytes:
        """The head of a request again, without its offer; a new parser will find the body."""
        parser, self.parser = self.parser, HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        first = (parser.get_method(), self.url, parser.get_http_version().encode())
        headers = [header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (*first, _lines(headers))

    def on_headers_complete(self) -> None:
        """Begin a request: a plain POST of an operation here, anything else as uvicorn does."""
        self.post = None
        if self._offers_upgrade():
            return  # it comes again
        self.post = self._plain_post()
        if self.post is None:
            super().on_headers_complete()
        else:
            self.cycle = self.post  # type: ignore[assignment]  # it has all that uvicorn asks

    def _plain_post(self) -> Post | None:
        path, _, query = self.url.partition(b"?")
        endpoint: Endpoint | None = self.app_state["posts"].get(path)
        if endpoint is None or self.parser.get_method() != b"POST" or self._is_busy():
            return None
        if b"#" in query or self.parser.get_http_version() != "1.1":
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
        """Whether the answer before is not yet complete, or not read: uvicorn makes them wait."""
        cycle: Any = self.cycle
        return self.flow.write_paused or (cycle is not None and not cycle.response_complete)

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body."""
        if self.post is None:
            super().on_body(body)
        else:
            self.post.receive(body)

    def on_message_complete(self) -> None:
        """Answer the whole request."""
        if self.post is not None:
            self.post.complete()
        elif not self._offers_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request with a problem, and close the connection."""
        error = MalformedRequestError(f"{msg} The connection was closed")
        request_id = request_id_of(None)
        self.write(error_reply(error, request_id), request_id, keep_alive=False)

    def start(self, work: Any) -> None:
        """Run a coroutine that a graceful shutdown waits for."""
        task: asyncio.Task[None] = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def write(self, reply: Reply, request_id: str, *, keep_alive: bool) -> None:
        """Write an answer."""
        headers = _lines((*self.server_state.default_headers, *reply.headers))
        end = b"" if keep_alive else b"connection: close\r\n"
        tail = b"x-request-id: %b\r\n%b%b\r\n" % (request_id.encode(), COMMON, end)
        head = (STATUS_LINES[reply.status], headers, tail)
        if sum(map(len, reply.chunks)) <= JOINED_BYTES:
            self.transport.write(b"".join((*head, *reply.chunks)))
        else:
            self.transport.write(b"".join(head))
            for chunk in reply.chunks:
                self.transport.write(chunk)
        if not keep_alive:
            self.transport.close()


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines of these headers."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
