"""Apps whose worker processes run long calls, and waits for the state of these processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.api.app import create_app
from service.executors import ForkServer
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.apps import client_of, running


def cheap_loops(cost_model: CostModel) -> CostModel:
    """Return costs by which loops take almost no time, so that loops of any size are admitted."""
    model = CostModel.from_rows(cost_model.to_rows())
    for row in cost_model.to_rows():
        if row[1] == "loops":
            model.update([(*row[:5], 0.0, (0.0,), (60.0,))])
    return model


@asynccontextmanager
async def app_with_cheap_loops(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer, **settings: object
) -> AsyncIterator[tuple[FastAPI, AsyncClient]]:
    """Run an app that admits loops of any size, and yield it with a client of it."""
    await client.get("/health/ready")  # the session's app has measured
    values = Settings.model_validate({"processes": 1, **settings})
    app = create_app(values, cost_model=cheap_loops(cost_model), fork_server=fork_server)
    async with running(app), client_of(app) as mine:
        yield app, mine


async def until_idle(app: FastAPI) -> None:
    """Wait until no call runs in a worker process or waits for one."""
    for _ in range(2000):
        if not app.state.service.worker_pool.active_calls:
            return
        await asyncio.sleep(0.01)
    pytest.fail("a call is left")


async def until_busy(app: FastAPI) -> int:
    """Wait until a worker process computes, and return its pidfd."""
    for _ in range(2000):
        for worker in app.state.service.worker_pool._busy:
            if worker._socket is not None:
                pidfd: int = worker._pidfd
                return pidfd
        await asyncio.sleep(0.005)
    pytest.fail("no process computes")
