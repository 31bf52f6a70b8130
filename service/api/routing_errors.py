"""Answers where routing failed: no such path, or no such method on it."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.api.asgi import answer_error
from service.api.middleware import METHODS
from service.errors import did_you_mean, quote
from service.http.errors import MethodNotAllowedError, NotFoundError

# The target of OPTIONS that asks about the server as a whole (RFC 9110, section 9.3.7).
SERVER: Final = "*"


async def answer_routing_error(app: FastAPI, request: Request, error: Any) -> Response:
    """Return the response to an HTTPException of the framework."""
    if error.status_code == 405:
        allowed = _allowed(error)
        if request.method == "OPTIONS":
            return _listing(allowed)
        refused = MethodNotAllowedError(
            f"{quote(request.method)} is not served at {quote(request.url.path)}; "
            f"{', '.join(allowed)} are",
            hint="in a browser, /docs has every request to try"
            if request.method == "GET"
            else None,
        )
        refused.allowed = allowed
        return await answer_error(request, refused)
    if request.method == "OPTIONS" and request.scope["path"] == SERVER:
        return _listing(METHODS)
    paths = sorted([*app.openapi()["paths"], "/", "/docs", "/guide", "/openapi.json"])
    found = NotFoundError(
        f"nothing is served at {quote(request.url.path)}; there are {', '.join(paths)}",
        hint=did_you_mean(request.url.path, paths),
    )
    return await answer_error(request, found)


def _listing(methods: Iterable[str]) -> Response:
    """Return the response to OPTIONS."""
    return Response(status_code=204, headers={"Allow": ", ".join(sorted(methods))})


def _allowed(error: HTTPException) -> tuple[str, ...]:
    methods = {name.strip() for name in (error.headers or {}).get("Allow", "").split(",")}
    return tuple(sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))
