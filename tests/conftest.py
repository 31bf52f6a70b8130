"""Fixtures of all tests: the app under test and a client of it. Strategies are measured once."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from hypothesis import settings

from service.api.app import create_app
from service.bootstrap import make_core
from service.core.devices import CPU
from service.core.dtypes import DTYPES
from service.executors import ForkServer
from service.operations import REGISTRY
from service.planning.cost_model import CostModel, Curve
from service.registry import Registry
from service.settings import Settings
from tests.rigs.apps import Serve, client_of, running
from tests.rigs.costs import cost_rows
from tests.rigs.gpus import with_gpus
from tests.rigs.paths import CLIENT
from tests.rigs.servers import serving

# Servers measure float32 alone: the work in the background would disturb what is tested.
os.environ["SERVICE_CALIBRATE"] = "false"
# Programs that tests start find this copy of the client, as pytest does by `pythonpath`.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(CLIENT.parent), os.environ.get("PYTHONPATH")))
)

# An example takes as long as a busy host lets it. Hypothesis does the same where CI is set.
settings.register_profile("without deadline", parent=settings(), deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of the service."""
    return "asyncio"


@pytest.fixture(scope="session")
def cost_model() -> CostModel:
    """The costs of each strategy on this host, measured once for all apps.

    Those of float32 stand for all dtypes, so that no app measures in the background. What has
    to be compiled is not measured at all.
    """
    model = CostModel()
    make_core(Settings(), cost_model=model, gpus=()).engine.warm_up()
    model.update(
        row
        for row in cost_rows(CPU, Curve(50_000.0, (0.0,), (1_000.0,)))
        if REGISTRY[row[0]].strategies[row[1]].compile is not None and row[3] == "float32"
    )
    for row in model.to_rows():
        model.update((*row[:3], name, *row[4:]) for name in DTYPES)
    return model


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """The process that worker processes are forked from, one for all apps."""
    fork_server = ForkServer(("service.pipeline.worker",))
    yield fork_server
    fork_server.close()


@pytest.fixture(scope="session")
async def app(cost_model: CostModel, fork_server: ForkServer) -> AsyncIterator[FastAPI]:
    """The service with its default settings, ready to compute."""
    async with running(
        create_app(Settings(), fork_server=fork_server, **with_gpus(cost_model))
    ) as app:
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


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    """The address of a server with the default settings, which is ready: one for all tests."""
    with serving() as url:
        yield url


@pytest.fixture
def serve(cost_model: CostModel, fork_server: ForkServer) -> Serve:
    """A function that runs another service, with settings of its own, and yields a client of it."""

    @asynccontextmanager
    async def serve(
        registry: Registry = REGISTRY, **settings: object
    ) -> AsyncIterator[AsyncClient]:
        values = Settings.model_validate(settings)
        app = create_app(values, registry=registry, cost_model=cost_model, fork_server=fork_server)
        async with running(app), client_of(app) as client:
            yield client

    return serve
