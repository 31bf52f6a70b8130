"""The app under test, with its lifespan run, and a client of it. Strategies are measured once."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from pathlib import Path
from time import sleep
from typing import IO

import httpx
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from service.api.app import create_app
from service.executors import ForkServer
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.registry import Registry
from service.settings import Settings

ROOT = Path(__file__).parents[1]
BASE = "http://service.test"
# Opens a client of an app with these settings, and perhaps another registry.
Serve = Callable[..., AbstractAsyncContextManager[AsyncClient]]


def client_of(app: FastAPI) -> AsyncClient:
    """A client of `app`, whose failures come as answers, as from a server."""
    transport = ASGITransport(app, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url=BASE)


@contextmanager
def serving(stderr: IO[bytes] | None = None, /, **variables: str) -> Iterator[str]:
    """The address of a real server, in a process of its own; it logs to `stderr`, if given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stderr=stderr) as process:
        try:
            for _ in range(600):
                with suppress(httpx.TransportError):
                    if httpx.get(f"{url}/health/ready").status_code == 200:
                        break
                assert process.poll() is None, "the server has ended"
                sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(60)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[FastAPI]:
    """`app` between its startup, measurements included, and its shutdown."""
    async with app.router.lifespan_context(app):
        await app.state.service.warmed_up()
        yield app


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of the service."""
    return "asyncio"


@pytest.fixture(scope="session")
def rates() -> CostModel:
    """What each strategy costs here: measured once for all apps."""
    return CostModel()


@pytest.fixture(scope="session")
def template() -> Iterator[ForkServer]:
    """What worker processes are forked from: one for all apps."""
    template = ForkServer(("service.pipeline.worker",))
    yield template
    template.close()


@pytest.fixture(scope="session")
async def app(rates: CostModel, template: ForkServer) -> AsyncIterator[FastAPI]:
    """The service with its default settings, ready to compute."""
    async with running(create_app(Settings(), rates=rates, template=template)) as app:
        readiness = app.state.service.engine.planner.devices.readiness
        for _ in range(6000):
            if not readiness.absences:  # GPUs, if this host has any
                break
            await asyncio.sleep(0.05)
        yield app


@pytest.fixture(scope="session")
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of the service."""
    async with client_of(app) as client:
        yield client


@pytest.fixture
def serve(rates: CostModel, template: ForkServer) -> Serve:
    """Starts a service of one's own, for as long as the context lasts."""

    @asynccontextmanager
    async def serve(
        registry: Registry = REGISTRY, **settings: object
    ) -> AsyncIterator[AsyncClient]:
        values = Settings.model_validate(settings)
        app = create_app(values, registry=registry, rates=rates, template=template)
        async with running(app), client_of(app) as client:
            yield client

    return serve
