"""The outermost layer of the app: admission, request ids, headers, HEAD, errors, records."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from time import perf_counter_ns
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.asgi import send_error
from service.api.compression import select_send
from service.core.response import SECURITY_HEADERS
from service.errors import ServiceError, quote
from service.http.auth import Authenticator
from service.http.errors import CrossOriginError
from service.http.negotiation import join_lines
from service.observability.record import CLIENT_CLOSED, Recorder, RequestRecord
from service.pipeline.inference import InferenceEndpoint
from service.pipeline.request import request_id_of

# In the state of a scope: the ServiceError that refused the request, for `ErrorMiddleware`.
REFUSAL: Final = "refusal"
# Of all routes together.
METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")
CORS_SENT: Final = ("Authorization", "Content-Encoding", "X-API-Key", "X-Request-Id", "traceparent")
CORS_READ: Final = (
    "Allow",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Device",
    "X-Envelope",
    "X-Request-Id",
    "X-Strategy",
    "X-Tensor-Dtype",
    "X-Tensor-Shape",
)
log: Final = logging.getLogger("service")


class RequestMiddleware:
    """Wraps an ASGI app so that every response has a request id, and every error a response.

    POSTs of operations go straight to their endpoints: the framework's layers would cost a small
    product more than it does itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[str, ASGIApp],
        authenticator: Authenticator,
        recorder: Recorder,
        origins: Sequence[str] = (),
    ):
        """Wrap `app`, with `endpoints` by path; pages of `origins` may call from a browser."""
        self._app = app
        self._authenticator = authenticator
        self._recorder = recorder
        self._serve: ASGIApp = OriginsMiddleware(self._admit, origins) if origins else self._admit
        self.endpoints = endpoints
        self._is_traced = False

    def trace(self) -> None:
        """Leave everything to the framework, which makes a span for what comes to it."""
        self.endpoints = {}
        self._is_traced = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only HTTP requests are touched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = without_slash(scope)
        started_ns = perf_counter_ns()
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            scope = {**scope, "headers": join_lines(scope["headers"])}
        request_id = request_id_of(headers.get(b"x-request-id"))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        is_call = scope["method"] == "POST" and scope["path"] in self.endpoints
        is_head = scope["method"] == "HEAD"
        # Operations compress their results themselves, and their errors are short.
        sender = ResponseSender(send, request_id, scope, is_head=is_head, may_pack=not is_call)
        state["sender"] = sender
        inner = {**scope, "method": "GET"} if is_head else scope
        try:
            await self._serve(inner, receive, sender)
        finally:
            self._record(scope, inner, perf_counter_ns() - started_ns)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that is admitted; an error is answered."""
        state, path = scope["state"], scope["path"]
        app = self.endpoints.get(path, self._app) if scope["method"] == "POST" else self._app
        try:
            self._authenticator.admit(path, dict(scope["headers"]), scope.get("client"))
            await app(scope, receive, send)
        except ClientDisconnect:
            log.info("client left request %s", state["request_id"])
        except ServiceError as error:
            if self._is_traced:
                state[REFUSAL] = error
                await self._app(scope, receive, send)
            else:
                await send_error(error, scope, send)
        except Exception as error:
            if state["sender"].status is None:
                await send_error(error, scope, send)
            else:
                log.exception("request %s failed", state["request_id"])

    def _record(self, scope: Scope, inner: Scope, elapsed_ns: int) -> None:
        """Count and log the request; the framework has left its route in `inner`."""
        state, path = inner["state"], inner["path"]
        status = state["sender"].status or CLIENT_CLOSED
        request = state.pop("request", None)
        if request is not None:
            self._recorder.record_call(request, status)
            return
        endpoint = state.pop("endpoint", None)
        if isinstance(endpoint, InferenceEndpoint):
            self._recorder.statistics.fail(endpoint.op.name, endpoint.version, elapsed_ns)
        route = path if path in self.endpoints else getattr(inner.get("route"), "path", None)
        self._recorder.record_request(
            RequestRecord(scope["method"], path, route, state["request_id"], status, elapsed_ns)
        )


def without_slash(scope: Scope) -> Scope:
    """Return the scope of the same path without a slash at its end.

    So each route is served at both paths, with one name in metrics. A redirect would name a scheme
    and a path that a proxy in front may have changed, and not every client repeats a POST. Relative
    links of a page hold at one path only: `service.api.pages` redirects.
    """
    path: str = scope["path"]
    if not path.endswith("/") or path.endswith("//") or path == scope.get("root_path", "") + "/":
        return scope
    return {**scope, "path": path[:-1]}


class ResponseSender:
    """Sends one response: adds headers to its start, and keeps back the body of a HEAD."""

    __slots__ = ("_is_head", "_may_pack", "_request_id", "_scope", "_send", "status")

    def __init__(self, send: Send, request_id: str, scope: Scope, *, is_head: bool, may_pack: bool):
        """Pass messages on to `send`; with `may_pack` compressed, if `scope` asks for that."""
        self._is_head = is_head
        self._may_pack = may_pack and not is_head
        self.status: int | None = None
        self._send = send
        self._request_id = request_id
        self._scope = scope

    async def __call__(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], (b"x-request-id", self._request_id.encode())]
            headers += [header for header in SECURITY_HEADERS if header not in headers]
            if self._may_pack:
                self._send = select_send(self._send, headers, self._scope)
            message = {**message, "headers": headers}
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)


class ErrorMiddleware:
    """A layer inside the framework: answers what was refused, within a span."""

    def __init__(self, app: ASGIApp):
        """Pass all other requests on to `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event."""
        error = scope.get("state", {}).get(REFUSAL)
        if error is None:
            await self._app(scope, receive, send)
        else:
            await send_error(error, scope, send)


class OriginsMiddleware(CORSMiddleware):
    """CORS for pages of the listed origins, without cookies, since there are none.

    A preflight is answered for any path: a page can read the problem document of its request then.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]):
        """Serve `app` to pages of `origins`, too."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=CORS_SENT,
            expose_headers=CORS_READ,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a preflight that is refused gets a problem document."""
        try:
            await super().__call__(scope, receive, send)
        except CrossOriginError as error:
            await send_error(error, scope, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to a preflight; CrossOriginError if it asks for too much."""
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        origin = request_headers["origin"]
        if not self.is_allowed_origin(origin):
            raise CrossOriginError(f"pages of {quote(origin)} may not call (SERVICE_CORS_ORIGINS)")
        method = request_headers["access-control-request-method"]
        names = request_headers.get("access-control-request-headers", "")
        raise CrossOriginError(
            f"a page asks for {quote(method)} with the headers {quote(names)}; "
            f"it may send {', '.join(METHODS)} with {', '.join(self.allow_headers)}"
        )
