"""uvicorn's protocol, with a shorter way for POSTs of operations.

ASGI takes a scope, a task, an event and two or three messages for each request, which cost a small
product several times its own time, and copy a large body twice. A plain POST of an operation is
received into one buffer and answered from the parser's own callback; everything else (other routes,
chunked bodies, `Expect`, HTTP/1.0, whatever is refused before its body is read) is uvicorn's.
A request whose head equals that of the one before is not parsed again.

An offer to upgrade the connection, which Java's client makes in its first request, is declined as
RFC 9110 (section 7.8) has it: the request is served. uvicorn alone would lose its body.
"""

import asyncio
import logging
from typing import Any, Final

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from service.api.compute import Endpoint
from service.api.middleware import failure, request_id_of
from service.errors import ServiceError
from service.http.response import HttpResponse
from service.observability.record import LEFT, Reception
from service.pipeline.inference import InferEndpoint
from service.pipeline.request import OperationRequest
from service.server.connection import Connection, lines
from service.server.fast_request import BULK_BYTES, BodyReceiver, FastRequest
from service.server.head_cache import AnyTerms, CachedHead, head_of

log: Final = logging.getLogger("service")


class Protocol(Connection):
    """One connection."""

    # The plain POST that is received, and the last one: it may be answered while another request is
    # received, which then is uvicorn's cycle.
    post: FastRequest | None = None
    _last: FastRequest | None = None
    # Of the last plain POST that was parsed: what its head settles, and the bytes of its body.
    _parsed: tuple[bytes, AnyTerms, int] | None = None
    _head: CachedHead | None = None
    # How many messages the parser has met.
    _messages = 0

    def data_received(self, data: bytes) -> None:
        """Take what came, be it a part of a request or several."""
        post = self._again(data)
        if post is None:
            self._parse(data)
        else:
            self.cycle = self._last = post
            self.app_state["turn"].add(post, self.loop)

    def _again(self, data: bytes) -> FastRequest | None:
        """A whole request with the same head as the one before, or None."""
        head = self._head
        if head is None or not self.between or self.is_busy():
            return None
        body = head.body_of(data)
        if body is None:
            return None
        try:
            exchange = head.terms.begin(request_id_of(None))
            exchange.expect(len(body))
        except ServiceError:
            return None
        return FastRequest(self, exchange, head.query, body)

    def _parse(self, data: bytes) -> None:
        if self.is_too_long(data):
            self.refuse_head()
            return
        alone, first = self.between, self._messages + 1
        if not self._feed(data):
            return
        if self.in_head:
            self.head_bytes += len(data)
        elif self.post is not None and not self.between:
            self._receive_apart(self.post.room)
        elif alone and self.between and self._messages == first and self._parsed is not None:
            query, terms, length = self._parsed
            self._head = head_of(data[: len(data) - length], query, terms)

    def _feed(self, data: bytes) -> bool:
        """Have the parser read this; whether it goes on."""
        rest = data
        while True:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as offer:
                if not self._offers_upgrade():  # CONNECT: what follows would be for a tunnel
                    self.cycle.keep_alive = False
                    return False
                rest = self._declined() + rest[offer.args[0] :]
            except HttpParserError as error:
                self._refuse_unread(error)
                return False
            else:
                return True

    def _refuse_unread(self, error: HttpParserError) -> None:
        """Answer what could not be read: because of the client, or by a fault in a callback."""
        called = isinstance(error, HttpParserCallbackError)
        if called and not isinstance(error.__context__, HttpParserError):
            request_id = request_id_of(None)
            log.error("request %s failed", request_id, exc_info=error)
            self.refuse(failure(request_id), request_id)
        else:
            self.send_400_response("Invalid HTTP request received.")

    def _receive_apart(self, room: memoryview) -> None:
        """Have what is missing of a large body received past the parser."""

        def go_on() -> None:
            self._hand_to(self)
            self._renew_parser()
            self.on_message_complete()

        if len(room) >= BULK_BYTES:
            self._hand_to(BodyReceiver(self, room, go_on))

    def _hand_to(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol receive what comes; a transport notices when it begins to read."""
        self.transport.pause_reading()
        self.transport.set_protocol(protocol)
        self.transport.resume_reading()

    def _renew_parser(self) -> None:
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the request: what has come of its body would stay until Python collects cycles."""
        super().connection_lost(exc)
        if self._last is not None:
            self._last.leave()
        self.post = self._last = self.cycle = None

    def _offers_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _declined(self) -> bytes:
        """The head of a request again, without its offer; a new parser will find the body."""
        parser = self.parser
        self._renew_parser()
        first = (parser.get_method(), self.url, parser.get_http_version().encode())
        headers = [header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (*first, lines(headers))

    def on_message_begin(self) -> None:
        """Forget the message before."""
        self._messages += 1
        self._parsed = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a request: a plain POST of an operation here, anything else as uvicorn does."""
        self.in_head = False
        self.post = None
        if self._offers_upgrade():
            return  # it comes again
        self.post = self._plain_post()
        if self.post is None:
            super().on_headers_complete()
            if self.watch.is_ending:
                self.cycle.keep_alive = False
        else:
            self.cycle = self._last = self.post

    def _plain_post(self) -> FastRequest | None:
        path, _, query = self.url.partition(b"?")
        endpoint: Endpoint | InferEndpoint | None = self.app_state["posts"].get(path)
        if endpoint is None or self.parser.get_method() != b"POST" or self.is_busy():
            return None
        is_plain = b"#" not in query and self.parser.get_http_version() == "1.1"
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        stays = self.parser.should_keep_alive() and not self.expect_100_continue
        if not is_plain or not stays or not length.isdigit():
            return None
        try:
            terms: AnyTerms = endpoint.terms(headers)
            exchange = terms.begin(request_id_of(headers.get(b"x-request-id")))
            exchange.expect(int(length))
        except ServiceError:
            return None
        reception: Reception = self.app_state["reception"]
        if not reception.takes_shortcut(headers, self.client):
            exchange.end()
            return None
        # The same head lets the next request in, unless requests are counted.
        if b"x-request-id" not in headers and not reception.door.counts:
            self._parsed = (query, terms, int(length))
        try:
            return FastRequest(self, exchange, query, exchange.room(int(length)))
        except MemoryError:
            exchange.end()
            return None

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body."""
        if self.post is None:
            super().on_body(body)
        else:
            self.post.receive(body)

    def on_message_complete(self) -> None:
        """Answer the whole request."""
        self.between = True
        if self.post is not None:
            self.app_state["turn"].add(self.post, self.loop)
        elif not self._offers_upgrade():
            super().on_message_complete()

    def start(self, work: Any) -> asyncio.Task[None]:
        """Run a coroutine that a graceful shutdown waits for."""
        task: asyncio.Task[None] = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def finish(self, reply: HttpResponse, exchange: OperationRequest, *, keep_alive: bool) -> None:
        """Send the answer of a POST, tell of it, and be ready for the next request."""
        # A client that left, or has sent rubbish since, gets no answer.
        has_left = self.transport.is_closing()
        if not has_left:
            self.write(reply, exchange.request_id, keep_alive=keep_alive)
        reception: Reception = self.app_state["reception"]
        reception.answered(exchange, LEFT if has_left else reply.status)
        if not has_left:
            self.on_response_complete()
