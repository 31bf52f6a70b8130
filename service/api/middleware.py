"""The outermost layer of the app: who enters, ids, headers, HEAD, and what nobody caught."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from itertools import count
from time import perf_counter_ns
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.compression import select_send
from service.errors import InternalError, ServiceError, did_you_mean, quote
from service.http.errors import MethodNotAllowedError, NotFoundError
from service.http.problems import error_response
from service.observability.record import LEFT, Reception, Visit
from service.observability.tracing import REFUSAL

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
log = logging.getLogger("service")


class RequestMiddleware:
    """Wraps an ASGI app so that every answer has a request id, and every failure an answer.

    POSTs of the operations go straight to their endpoints: the framework's layers would cost a
    small product more than it does itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        posts: Mapping[str, ASGIApp],
        reception: Reception,
        origins: Sequence[str] = (),
    ):
        """Wrap `app`; `posts` are endpoints by path; pages of `origins` may call from a browser."""
        self._app = app
        self._reception = reception
        self._serve: ASGIApp = sharing(self._enter, origins) if origins else self._enter
        self.posts = posts
        self._is_traced = False

    def trace(self) -> None:
        """Leave everything to the framework, which makes a span for what comes to it."""
        self.posts = {}
        self._is_traced = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only HTTP requests are touched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_ns = perf_counter_ns()
        request_id = request_id_of(dict(scope["headers"]).get(b"x-request-id"))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        post = scope["method"] == "POST" and scope["path"] in self.posts
        head = scope["method"] == "HEAD"
        # Operations compress their results themselves, and what they refuse is short.
        answer = ResponseSender(send, request_id, scope, head=head, may_pack=not post)
        state["answer"] = answer
        inner = {**scope, "method": "GET"} if head else scope
        try:
            await self._serve(inner, receive, answer)
        finally:
            self._tell(scope, inner, perf_counter_ns() - started_ns)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that may enter; whatever fails has an answer."""
        state, path = scope["state"], scope["path"]
        app = self.posts.get(path, self._app) if scope["method"] == "POST" else self._app
        try:
            self._reception.admit(path, dict(scope["headers"]), scope.get("client"))
            await app(scope, receive, send)
        except ClientDisconnect:
            log.info("client left request %s", state["request_id"])
        except ServiceError as error:
            if self._is_traced:
                state[REFUSAL] = error
                app = self._app
            else:
                app = error_response(scope, error)
            await app(scope, receive, send)
        except Exception:
            log.exception("request %s failed", state["request_id"])
            if state["answer"].status is None:
                answered = error_response(scope, failure(state["request_id"]))
                await answered(scope, receive, send)

    def _tell(self, scope: Scope, inner: Scope, elapsed_ns: int) -> None:
        """Count and log the request; the framework has left its route in `inner`."""
        state, path = inner["state"], inner["path"]
        exchange, status = state.pop("exchange", None), state["answer"].status or LEFT
        if exchange is not None:
            self._reception.answered(exchange, status)
            return
        route = path if path in self.posts else getattr(inner.get("route"), "path", None)
        visit = Visit(scope["method"], path, route, state["request_id"])
        self._reception.served(visit, status, elapsed_ns)


class ResponseSender:
    """The way out of one answer: adds headers to its start, and keeps the body of a HEAD."""

    __slots__ = ("_may_pack", "_request_id", "_scope", "_send", "head", "status")

    def __init__(self, send: Send, request_id: str, scope: Scope, *, head: bool, may_pack: bool):
        """Pass messages on to `send`; what `may_pack` is compressed if `scope` asks for that."""
        self.head = head
        self._may_pack = may_pack and not head
        self.status: int | None = None
        self._send = send
        self._request_id = request_id
        self._scope = scope

    async def __call__(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], (b"x-request-id", self._request_id.encode())]
            headers += [header for header in SECURITY if header not in headers]
            if self._may_pack:
                self._send = select_send(self._send, headers, self._scope)
            message = {**message, "headers": headers}
        elif self.head:
            message = {**message, "body": b""}
        await self._send(message)


async def service_problem(request: Request, error: Any) -> Response:
    """The answer to a ServiceError on a route of the framework."""
    return error_response(request.scope, error)


async def fault(request: Request, _: Exception) -> Response:
    """The answer to a failure on a route of the framework, which then goes on to the shell."""
    return error_response(request.scope, failure(request.scope["state"]["request_id"]))


def failure(request_id: str) -> InternalError:
    """The error that tells a client of a fault of ours: the request id and no more."""
    return InternalError(f"request {request_id} failed")


async def transport_problem(app: FastAPI, request: Request, error: Any) -> Response:
    """The answer where routing failed with an HTTPException: no such path, or method on it."""
    if error.status_code == 405:
        allowed = _allowed(error)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(allowed)})
        refused = MethodNotAllowedError(
            f"{quote(request.method)} is not served at {quote(request.url.path)}; "
            f"{', '.join(allowed)} are",
            hint="in a browser, /docs has every request to try"
            if request.method == "GET"
            else None,
        )
        refused.allowed = allowed
        return error_response(request.scope, refused)
    paths = sorted([*app.openapi()["paths"], "/", "/docs", "/openapi.json"])
    found = NotFoundError(
        f"nothing is served at {quote(request.url.path)}; there are {', '.join(paths)}",
        hint=did_you_mean(request.url.path, paths),
    )
    return error_response(request.scope, found)


def _allowed(error: HTTPException) -> tuple[str, ...]:
    methods = {name.strip() for name in (error.headers or {}).get("Allow", "").split(",")}
    return tuple(sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


def request_id_of(given: bytes | None) -> str:
    """The client's request id, if it is one, else a new one."""
    if given is not None:
        text = given.decode("latin-1")
        if REQUEST_ID.fullmatch(text):
            return text
    return f"{_INSTANCE}{next(_COUNT):08x}"


# Unique among instances by 96 random bits, and within one by counting: 16 random bytes for each
# request would take ten times as long.
_INSTANCE: Final = os.urandom(12).hex()
_COUNT: Final = count(1)

METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")
SENT: Final = ("Authorization", "Content-Encoding", "X-API-Key", "X-Request-Id", "traceparent")
READ: Final = (
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


def sharing(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """`app`, for pages of `origins` too; without cookies, since there are none."""
    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=METHODS, allow_headers=SENT, expose_headers=READ
    )
