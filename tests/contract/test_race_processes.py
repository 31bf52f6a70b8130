"""Races in a worker process: isolation from the server, and their ends."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.api.events import RaceEvents
from service.executors import ForkServer
from service.planning.cost_model import CostModel
from tests.rigs.apps import Serve, app_of
from tests.rigs.event_streams import STREAM, listening, read_stream
from tests.rigs.matmul_bodies import PADDING, product, slow_text
from tests.rigs.waiting import until
from tests.rigs.worker_processes import app_with_cheap_loops

FORMS = pytest.mark.parametrize("headers", [{}, STREAM], ids=["report", "stream"])
# A minute of loops; and a strategy that is skipped, whose row comes at once.
LONG = product(150, strategies=["loops"])
TOLD = product(150, strategies=["loops", "dask"])
SHORT = product(2, strategies=["loops", "torch"], repeat=2)


@pytest.fixture
async def mine(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer
) -> AsyncIterator[tuple[FastAPI, AsyncClient]]:
    """An app that admits loops of any size, and a client of it."""
    async with app_with_cheap_loops(client, cost_model, fork_server) as found:
        yield found


async def until_racing(app: FastAPI) -> int:
    """Wait until a process runs a race, and return its pidfd."""
    race_pool = app.state.service.race_pool
    await until(lambda: any(worker._socket is not None for worker in race_pool._busy))
    (worker,) = race_pool._busy
    pidfd: int = worker._pidfd
    return pidfd


async def until_over(app: FastAPI) -> None:
    """Wait until no race runs or waits, and none holds bytes."""
    service = app.state.service
    await until(lambda: not service.race_pool.active_calls and not service.inflight.held)


async def post(client: AsyncClient, body: bytes, headers: dict[str, str]) -> Any:
    """The report or the problem of a race: the answer, or the last event."""
    response = await client.post("/matmul/compare", content=body, headers=headers)
    if response.headers["content-type"].startswith("text/event-stream"):
        return list(read_stream(response.text))[-1].data
    return response.json()


async def works(app: FastAPI, client: AsyncClient) -> None:
    """Assert that the next race runs its two strategies."""
    await until_over(app)
    assert [row["runs"] for row in (await post(client, SHORT, {}))["rows"]] == [2, 2]


async def test_the_report_is_of_the_process(serve: Serve) -> None:
    """Its threads are those of a call, and nothing raced in the server."""
    async with serve(threads=2) as client:
        service = app_of(client).state.service
        for headers in ({}, STREAM):
            assert (await post(client, SHORT, headers))["host"]["threads"] == 2
        (worker,) = service.race_pool._idle
        assert worker._socket is not None
        assert service.worker_pool._idle == []
        assert service.race_threads._pool._threads == set()


@FORMS
async def test_long_text_is_read_by_the_process(
    client: AsyncClient, app: FastAPI, headers: dict[str, str]
) -> None:
    """Its errors are plain problem documents, and no memory is left."""
    report = await post(client, slow_text(SHORT) + PADDING * 3, headers)
    assert [row["runs"] for row in report["rows"]] == [2, 2]
    for body in (b"[" + PADDING, b'{"a": [1, 2], "b": [1]}' + PADDING):
        near, far = [
            await client.post("/matmul/compare", content=each, headers=headers)
            for each in (body[: -len(PADDING)], body)
        ]
        assert near.status_code == far.status_code
        assert near.headers["content-type"] == far.headers["content-type"]
        assert near.json()["code"] == far.json()["code"]
    await until_over(app)
    await until(lambda: not app.state.service.race_pool._idle[0].holds(0))


async def test_stored_operands_race_in_the_process(serve: Serve, tmp_path: Path) -> None:
    """The process reads them as the server does."""
    np.save(tmp_path / "x.npy", np.ones(3, np.float32))
    body = json.dumps({"x": {"ref": "x.npy"}, "strategies": ["loops", "torch"]}).encode()
    async with serve(data=tmp_path) as client:
        response = await client.post("/norm/compare", content=body)
        assert [row["agrees"] for row in response.json()["rows"]] == [True, True]
        assert len(app_of(client).state.service.race_pool._idle) == 1
        answer = await client.post("/matmul", content=product(24, strategy="loops"))
        assert answer.json()["timing"]["executor"] == "process"


@FORMS
@pytest.mark.parametrize("body", [LONG, TOLD, slow_text(LONG)], ids=["silent", "told", "unread"])
async def test_a_client_that_leaves_ends_its_race(
    mine: tuple[FastAPI, AsyncClient], headers: dict[str, str], body: bytes
) -> None:
    """A running race is killed at once, and a waiting one gives up its place."""
    app, client = mine
    race_pool = app.state.service.race_pool
    async with listening(app) as url, AsyncClient(base_url=url) as real:
        racing = asyncio.create_task(real.post("/matmul/compare", content=body, headers=headers))
        await until_racing(app)
        waiting = asyncio.create_task(real.post("/matmul/compare", content=LONG, headers=headers))
        await until(lambda: race_pool.active_calls == 2)
        waiting.cancel()
        await until(lambda: race_pool.active_calls == 1)
        assert race_pool.exits == 0
        racing.cancel()
        await until_over(app)
    assert race_pool.exits == 1
    await works(app, client)


@FORMS
@pytest.mark.parametrize("body", [LONG, TOLD], ids=["silent", "told"])
async def test_a_late_race_is_killed(
    client: AsyncClient,
    cost_model: CostModel,
    fork_server: ForkServer,
    headers: dict[str, str],
    body: bytes,
) -> None:
    """It is killed after twice the deadline of a call; the next one gets a process."""
    async with app_with_cheap_loops(client, cost_model, fork_server, deadline_ms=1500) as (
        app,
        mine,
    ):
        problem = await post(mine, body, headers)
        assert (problem["status"], problem["code"]) == (504, "deadline-exceeded")
        assert app.state.service.race_pool.exits <= 1
        await works(app, mine)


@FORMS
async def test_a_killed_process_is_not_noticed(
    mine: tuple[FastAPI, AsyncClient], headers: dict[str, str]
) -> None:
    """Another process runs the race, as long as no row has been sent."""
    app, client = mine
    body = product(60, strategies=["loops"], repeat=1)
    coming = asyncio.create_task(post(client, body, headers))
    signal.pidfd_send_signal(await until_racing(app), signal.SIGKILL)
    assert [row["runs"] for row in (await coming)["rows"]] == [1]
    assert app.state.service.race_pool.exits == 1


async def test_a_process_that_dies_after_a_row(mine: tuple[FastAPI, AsyncClient]) -> None:
    """Another process would have other rows, so the stream ends with a problem."""
    app, client = mine
    async with listening(app) as url, AsyncClient(base_url=url) as real:
        request = real.stream("POST", "/matmul/compare", content=TOLD, headers=STREAM)
        async with request as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "event: row"
            signal.pidfd_send_signal(await until_racing(app), signal.SIGKILL)
            rest = [line async for line in lines]
    assert "event: problem" in rest
    problem = json.loads(rest[rest.index("event: problem") + 1].removeprefix("data: "))
    assert (problem["status"], problem["code"]) == (503, "worker-died")
    await works(app, client)


@FORMS
async def test_without_room_a_race_is_told_to_come_again(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer, headers: dict[str, str]
) -> None:
    """It gets a 503 with Retry-After, also for a stream, read or not."""
    async with app_with_cheap_loops(client, cost_model, fork_server, queue=0) as (app, mine):
        first = asyncio.create_task(post(mine, LONG, {}))
        await until_racing(app)
        for body in (SHORT, slow_text(SHORT)):
            refused = await mine.post("/matmul/compare", content=body, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
        first.cancel()
        await until_over(app)


@FORMS
async def test_calls_have_places_of_their_own(
    mine: tuple[FastAPI, AsyncClient], headers: dict[str, str]
) -> None:
    """A race takes none of the processes that calls of loops run in."""
    app, client = mine
    racing = asyncio.create_task(post(client, LONG, headers))
    await until_racing(app)
    answer = await client.post("/matmul", content=product(60, strategy="loops"))
    assert answer.json()["timing"]["executor"] == "process"
    assert not racing.done()
    racing.cancel()
    await until_over(app)


async def test_a_process_without_memory_for_a_race(serve: Serve) -> None:
    """One 503, and the next race is run by the same process."""
    async with serve(worker_memory_bytes=2**26) as client:
        rows = {"shape": [1000, 1000], "dtype": "float64", "data": [0.5] * 1_000_000}
        body = json.dumps({"operands": [rows] * 6, "op": "add", "strategies": ["torch"]})
        response = await client.post("/broadcast/compare", content=body)
        assert (response.status_code, response.json()["code"]) == (503, "out-of-memory")
        app = app_of(client)
        assert app.state.service.race_pool.exits == 0
        await works(app, client)


async def test_a_stream_whose_request_is_cancelled() -> None:
    """A race is cancelled with the request that waits for its first row."""
    racing = asyncio.ensure_future(asyncio.Event().wait())
    waiting = asyncio.ensure_future(
        RaceEvents("mine").response(racing, at_once=False)  # type: ignore[arg-type]  # it never ends
    )
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((racing, waiting))
    assert racing.cancelled()
