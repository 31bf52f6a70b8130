"""uvicorn's protocol with a fast path for POSTs of operations.

ASGI takes a scope, a task, an event and two or three messages for each request, which cost a small
product several times its own time, and copy a large body twice. A plain POST of an operation is
received into one buffer and answered from the parser's own callback. Everything else is left to
uvicorn: other routes, chunked bodies, `Expect`, HTTP/1.0, and errors before the body is received.
A request whose head equals that of the one before is not parsed again.

An offer to upgrade the connection, which Java's client makes in its first request, is declined as
RFC 9110 (section 7.8) has it: the request is served. uvicorn alone would lose its body.
"""

import asyncio
from typing import Any, Final

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from service.core.response import HttpResponse, header_lines
from service.errors import ServiceError
from service.http.negotiation import join_lines
from service.observability.record import CLIENT_CLOSED
from service.pipeline.application import AnyNegotiated, AnyRequest
from service.pipeline.request import request_id_of
from service.server.connection import Connection
from service.server.fast_request import FastRequest
from service.server.head_cache import CachedHead, cache_head
from service.server.head_checks import check_head, with_path
from service.server.receivers import BodyReceiver

# The rest of a body is received past the parser from here on: uvloop reads 256 KB at a time.
BULK_BYTES: Final = 2**18
# A body up to here is received to its end after an early answer, and the connection is kept: many
# clients send head and body one after the other. The rest of a longer one is not waited for.
KEPT_BYTES: Final = 65_536


class CycleTransport:
    """Transport of uvicorn's responses: nothing follows the last one, which can be read."""

    def __init__(self, connection: Connection):
        """Delegate to the transport of `connection`."""
        self._connection = connection

    def is_closing(self) -> bool:
        """Return whether nothing more is sent."""
        return self._connection.has_ended()

    def write(self, data: bytes) -> None:
        """Send a part of a response, unless the connection has ended."""
        connection = self._connection
        if not connection.is_ended:
            connection.transport.write(data)

    def close(self) -> None:
        """Close the connection after its last response."""
        self._connection.close()


class FastPathProtocol(Connection):
    """One connection of a client."""

    # The plain POST that is received, and the last one: it may be answered while another request is
    # received, which then is uvicorn's cycle.
    _receiving: FastRequest | None = None
    _last: FastRequest | None = None
    # Of the last plain POST that was parsed: its query string, formats, and length of its body.
    _parsed: tuple[bytes, AnyNegotiated, int] | None = None
    _head: CachedHead | None = None
    # Number of messages that the parser has met.
    _messages = 0

    def connection_made(self, transport: Any) -> None:
        """Begin; the version of HTTP is left to `check_head`."""
        super().connection_made(transport)
        self._renew_parser()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, or several requests."""
        request = self._repeated(data)
        if request is None:
            self._parse(data)
        else:
            self.cycle = self._last = request
            self.batch.add(request, self.loop)

    def _repeated(self, data: bytes) -> FastRequest | None:
        """Return a whole request with the same head as the one before, or None."""
        head = self._head
        if head is None or not self.is_between or self.is_busy():
            return None
        body_at = head.body_at(data)
        if not body_at:
            return None
        body = data[body_at:]
        try:
            request = head.negotiated.begin(request_id_of(None), len(body), body)
        except ServiceError:
            return None
        return FastRequest(self, request, head.query)

    def _parse(self, data: bytes) -> None:
        if self.is_too_long(data):
            self.refuse_head()
            return
        alone, first = self.is_between, self._messages + 1
        if not self._feed(data):
            return
        if self.in_head:
            self.head_bytes += len(data)
        elif self._receiving is not None and not self.is_between:
            self._receive_past_parser(self._receiving)
        elif alone and self.is_between and self._messages == first and self._parsed is not None:
            query, negotiated, length = self._parsed
            self._head = cache_head(data[: len(data) - length], query, negotiated)

    def _feed(self, data: bytes) -> bool:
        """Have the parser read `data`; return whether the connection goes on."""
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
        """Answer what could not be read: an error of the client, or a fault in a callback."""
        cause = error.__context__
        if isinstance(cause, ServiceError):
            self.refuse(cause)
        elif isinstance(error, HttpParserCallbackError) and not isinstance(cause, HttpParserError):
            self.refuse(error)
        else:
            self.send_400_response("Invalid HTTP request received.")

    def _receive_past_parser(self, request: FastRequest) -> None:
        """Receive the rest of a large body without the parser."""

        def go_on() -> None:
            self.pass_data_to(self)
            self._renew_parser()
            self.on_message_complete()

        if len(request.missing) >= BULK_BYTES:
            self.pass_data_to(BodyReceiver(self, request, go_on))

    def _renew_parser(self) -> None:
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(
            lenient_data_after_close=True,  # as uvicorn does
            lenient_version=True,
        )

    def drop_request(self) -> None:
        """Drop the request: its body would stay until Python collects cycles."""
        super().drop_request()
        if self._last is not None:
            self._last.leave()
        self._receiving = self._last = self.cycle = None

    def _offers_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _declined(self) -> bytes:
        """Return the head of a request without its offer, for a new parser."""
        parser = self.parser
        self._renew_parser()
        first = (parser.get_method(), self.url, parser.get_http_version().encode())
        headers = [header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (*first, header_lines(headers))

    def on_message_begin(self) -> None:
        """Begin a message."""
        self._messages += 1
        self._parsed = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a request: a plain POST of an operation here, any other as uvicorn does."""
        self.in_head = False
        self._receiving = None
        if self._offers_upgrade():
            return  # it comes again
        check_head(self.parser.get_http_version(), self.headers)
        if not self.url.startswith(b"/"):
            self.url = with_path(self.url)
        self._receiving = self._plain_post()
        if self._receiving is None:
            super().on_headers_complete()
            self._prepare_cycle()
        else:
            self.cycle = self._last = self._receiving

    def _prepare_cycle(self) -> None:
        """Keep the connection after an early answer only if the rest of the body is short."""
        cycle, headers = self.cycle, dict(self.headers)
        cycle.transport = CycleTransport(self)
        self.is_kept = cycle.keep_alive and not self.monitor.is_ending
        # A client that waits for `100 Continue` may send the body after an error, or not.
        is_near = b"transfer-encoding" not in headers and not self.expect_100_continue
        length = int(headers.get(b"content-length", b"0"))
        cycle.keep_alive = self.is_kept and is_near and length <= KEPT_BYTES

    def _plain_post(self) -> FastRequest | None:
        """Return the request of an operation that the fast path takes, or None."""
        path, _, query = self.url.partition(b"?")
        endpoint = self.application.endpoints.get(path)
        if endpoint is None or self.parser.get_method() != b"POST" or self.is_busy():
            return None
        is_plain = b"#" not in query and self.parser.get_http_version() == "1.1"
        headers = dict(self.headers)
        if len(headers) < len(self.headers):
            headers = dict(join_lines(self.headers))
        digits = headers.get(b"content-length", b"")
        stays = self.parser.should_keep_alive() and not self.expect_100_continue
        if not is_plain or not stays or not digits.isdigit():
            return None
        try:
            negotiated = endpoint.negotiate(headers)
            request = negotiated.begin(request_id_of(headers.get(b"x-request-id")), int(digits))
        except ServiceError:
            return None
        if not self.application.admits(path.decode("latin-1"), headers, self.client):
            request.release()
            return None
        # The same head admits the next request, unless requests are counted.
        if b"x-request-id" not in headers and not self.application.authenticator.has_quota:
            self._parsed = (query, negotiated, int(digits))
        return FastRequest(self, request, query)

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body."""
        if self._receiving is None:
            super().on_body(body)
        else:
            self._receiving.receive(body)

    def on_message_complete(self) -> None:
        """Answer the whole request."""
        self.is_between = True
        if self._receiving is not None:
            self.batch.add(self._receiving, self.loop)
        elif not self._offers_upgrade():
            if not self.cycle.response_started:
                self.cycle.keep_alive = self.is_kept
            super().on_message_complete()

    def start(self, work: Any) -> asyncio.Task[None]:
        """Run a coroutine that a graceful shutdown waits for."""
        task: asyncio.Task[None] = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def finish(self, response: HttpResponse, request: AnyRequest, *, keep_alive: bool) -> None:
        """Send and record the response to a POST, and be ready for the next request."""
        # No response after the client has left, or after the last response of the connection.
        has_left = self.is_ended or self.transport.is_closing()
        if not has_left:
            self.write(response, request.request_id, keep_alive=keep_alive)
        status = CLIENT_CLOSED if has_left else response.status
        self.application.recorder.record_call(request, status)
        if not has_left:
            if not keep_alive:
                self.close()
            self.on_response_complete()
