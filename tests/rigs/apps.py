"""The app under test between startup and shutdown, and ASGI clients of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

BASE: Final = "http://service.test"
# Opens a client of an app with these settings, and perhaps another registry.
Serve = Callable[..., AbstractAsyncContextManager[AsyncClient]]


def client_of(app: FastAPI) -> AsyncClient:
    """Return a client of `app` that gets failures as responses, as from a server."""
    transport = ASGITransport(app, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url=BASE)


def app_of(client: AsyncClient) -> FastAPI:
    """Return the app behind a client made by `client_of`."""
    app = client._transport.app  # type: ignore[attr-defined]  # an ASGITransport
    assert isinstance(app, FastAPI)
    return app


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[FastAPI]:
    """Run `app` from its startup, measurements included, to its shutdown.

    Its `state.application` is what a server finds in the state of the lifespan.
    """
    async with app.router.lifespan_context(app) as state:
        app.state.application = (state or {})["application"]
        await app.state.service.warmed_up()
        yield app
