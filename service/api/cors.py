"""Pages of other origins: Starlette's own answer to a browser that asks whether they may call."""

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

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
