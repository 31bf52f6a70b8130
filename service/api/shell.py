"""The outermost layer of the app: request ids, common headers, HEAD, and what nobody caught."""

import logging
import os
import re
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.encodings import packing
from service.api.errors import MethodNotAllowedError, NotFoundError
from service.api.problems import error_response
from service.errors import (
    InternalError,
    ServiceError,
    did_you_mean,
    quote,
)

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
log = logging.getLogger("service")


class Shell:
    """Wraps an ASGI app so that every answer has a request id, and every failure an answer.

    POSTs of the operations go straight to their endpoints: the framework's layers would cost a
    small product more than it does itself.
    """

    def __init__(self, app: ASGIApp, posts: Mapping[str, ASGIApp]):
        """Wrap `app`; `posts` are endpoints by path."""
        self._app = app
        self._posts = posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only HTTP requests are touched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(dict(scope["headers"]).get(b"x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        post = self._posts.get(scope["path"]) if scope["method"] == "POST" else None
        app = post or self._app
        # Operations compress their results themselves, and what they refuse is short.
        answer = Answer(
            send, request_id, scope, head=scope["method"] == "HEAD", may_pack=post is None
        )
        if answer.head:
            scope = {**scope, "method": "GET"}
        try:
            await app(scope, receive, answer)
        except ClientDisconnect:
            log.info("client left request %s", request_id)
        except ServiceError as error:
            await error_response(scope, error)(scope, receive, answer)
        except Exception:
            log.exception("request %s failed", request_id)
            if not answer.started:
                answered = error_response(scope, failure(request_id))
                await answered(scope, receive, answer)


class Answer:
    """The way out of one answer: adds headers to its start, and keeps the body of a HEAD."""

    __slots__ = ("_may_pack", "_request_id", "_scope", "_send", "head", "started")

    def __init__(self, send: Send, request_id: str, scope: Scope, *, head: bool, may_pack: bool):
        """Pass messages on to `send`; what `may_pack` is compressed if `scope` asks for that."""
        self.head = head
        self._may_pack = may_pack and not head
        self.started = False
        self._send = send
        self._request_id = request_id
        self._scope = scope

    async def __call__(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            self.started = True
            headers = [*message["headers"], (b"x-request-id", self._request_id.encode())]
            headers += [header for header in SECURITY if header not in headers]
            if self._may_pack:
                self._send = packing(self._send, headers, self._scope)
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
            f"{', '.join(allowed)} are"
        )
        refused.allowed = allowed
        return error_response(request.scope, refused)
    paths = sorted([*app.openapi()["paths"], "/docs", "/openapi.json"])
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
