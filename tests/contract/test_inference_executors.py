"""Calls of the Open Inference Protocol use the same executors as those of the own routes."""

import asyncio
import gzip
import signal
from typing import Any

import numpy as np
import orjson
import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.executors import ForkServer
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.registry import Registry
from tests.rigs.apps import Serve, app_of
from tests.rigs.inference_bodies import LENGTH, as_bytes, as_json, parts, values_of
from tests.rigs.matmul_bodies import PADDING, SIZE, slow_text, square
from tests.rigs.worker_processes import app_with_cheap_loops, until_busy, until_idle

LOOPS = "/v2/models/matmul/versions/loops/infer"
AUTO = "/v2/models/matmul/infer"


def inputs(size: int = SIZE) -> dict[str, Any]:
    """Two squares."""
    return {"a": square(size), "b": square(size, 1)}


def text(size: int = SIZE, **fields: object) -> bytes:
    """A product of two squares as JSON."""
    return orjson.dumps(as_json(inputs(size), "float32", **fields))


def executors_of(app: FastAPI) -> list[tuple[str, str, int]]:
    """Return strategy, executor and status of the calls until now."""
    return [key[1:] for key in app.state.recorder.counters.calls]


async def test_the_plan_chooses_the_executor(serve: Serve) -> None:
    """Loops, and slow text over a megabyte, compressed or not, run in a process."""
    packed = {"Content-Encoding": "gzip"}
    blob, binary = as_bytes(inputs(), "float32", parameters={"strategy": "loops"})
    asked = as_json(inputs(2), "float32")
    long = orjson.dumps(asked | {"id": "x" * 1_100_000})
    head, lengths = as_bytes(inputs(2), "float32", id="x" * 1_100_000)
    for path, body, headers, expected in (
        (AUTO, text(2), {}, ("torch", "inline")),
        (LOOPS, text(), {}, ("loops", "process")),
        (AUTO, blob, binary, ("loops", "process")),
        (AUTO, text(2) + PADDING, {}, ("torch", "thread")),
        (AUTO, slow_text(text(2)), {}, ("torch", "process")),
        (AUTO, long, {LENGTH: str(len(long))}, ("torch", "thread")),
        (AUTO, head, lengths, ("torch", "thread")),
        (AUTO, gzip.compress(text()), packed, ("torch", "thread")),
        (AUTO, gzip.compress(slow_text(text())), packed, ("torch", "process")),
        (AUTO, gzip.compress(blob), packed | binary, ("loops", "process")),
        (AUTO, gzip.compress(head), packed | lengths, ("torch", "thread")),
    ):
        async with serve() as client:
            response = await client.post(path, content=body, headers=headers)
            assert response.status_code == 200, response.text
            answer, data = parts(response)
            found = values_of(answer["outputs"][0], data)
            size = len(found)
            assert np.array_equal(found, square(size) @ square(size, 1))
            assert answer["model_version"] == expected[0]
            assert executors_of(app_of(client)) == [(*expected, 200)]


async def test_a_process_answers_as_the_server_does(client: AsyncClient) -> None:
    """Ids, binary results, compression, and refusals in the protocol's form."""
    body, headers = as_bytes(inputs(), "float32", id="7", parameters={"binary_data_output": True})
    response = await client.post(LOOPS, content=body, headers=headers)
    answer, data = parts(response)
    assert answer["id"] == "7"
    assert np.array_equal(np.frombuffer(data, "<f4").reshape(SIZE, SIZE), square() @ square(seed=1))
    assert "compute;dur=" in response.headers["Server-Timing"]

    response = await client.post(LOOPS, content=text(), headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"

    for wrong in (b"[", b"", b'{"inputs": [NaN]}', text(2, outputs=[{"name": "y"}])):
        near, far = [await client.post(AUTO, content=wrong + pad) for pad in (b"", PADDING)]
        assert near.status_code == far.status_code
        assert set(near.json()) == set(far.json()) == {"error"}
        assert near.headers["Content-Type"] == far.headers["Content-Type"]


async def test_statistics_count_what_a_process_did(serve: Serve) -> None:
    """An answer for its strategy, with its phases; a refusal for the version that was asked."""
    async with serve() as client:
        await client.post(AUTO, content=text(parameters={"strategy": "loops"}))
        await client.post(AUTO, content=b"[" + PADDING)
        await client.post(LOOPS, content=b"[" + PADDING)
        found = (await client.get("/v2/models/matmul/stats")).json()["model_stats"]
    stats = {each["version"]: each["inference_stats"] for each in found}
    counts = {
        name: (each["success"]["count"], each["fail"]["count"]) for name, each in stats.items()
    }
    assert counts["loops"] == (1, 1)
    assert counts["auto"] == (0, 1)
    assert stats["loops"]["compute_infer"]["ns"] > 10_000_000  # of 13 824 steps in Python


async def test_another_registry_stays_in_the_server(serve: Serve) -> None:
    """Workers import the service's own registry."""
    async with serve(Registry(REGISTRY["matmul"])) as client:
        for path, body in ((LOOPS, text()), (AUTO, text(2) + PADDING)):
            assert (await client.post(path, content=body)).status_code == 200
        assert {executor for _, executor, _ in executors_of(app_of(client))} == {"thread"}


@pytest.mark.parametrize("pad", [b"", PADDING], ids=["planned", "not yet decoded"])
async def test_a_deadline_frees_the_core(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer, pad: bytes
) -> None:
    """The late call gets a 504 in the protocol's form, and the next one a process."""
    async with app_with_cheap_loops(client, cost_model, fork_server) as (app, mine):
        body = text(150, parameters={"timeout": 700_000}) + pad
        response = await mine.post(LOOPS, content=body)
        assert (response.status_code, set(response.json())) == (504, {"error"})
        await until_idle(app)
        assert (await mine.post(LOOPS, content=text())).status_code == 200
        found = (await mine.get("/v2/models/matmul/versions/loops/stats")).json()["model_stats"]
        assert found[0]["inference_stats"]["fail"]["count"] == 1


async def test_a_killed_process_is_not_noticed(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer
) -> None:
    """Another process computes its call."""
    async with app_with_cheap_loops(client, cost_model, fork_server) as (app, mine):
        coming = asyncio.create_task(mine.post(LOOPS, content=text(60)))
        signal.pidfd_send_signal(await until_busy(app), signal.SIGKILL)
        answer, data = parts(await coming)
        expected = square(60) @ square(60, 1)
        assert np.array_equal(values_of(answer["outputs"][0], data), expected)
        assert app.state.service.worker_pool.exits == 1


async def test_a_client_that_leaves_ends_its_work(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer
) -> None:
    """Its place is free and its process has ended long before the work would have."""
    async with app_with_cheap_loops(client, cost_model, fork_server) as (app, mine):
        leaving = asyncio.create_task(mine.post(LOOPS, content=text(150)))
        await until_busy(app)
        leaving.cancel()
        await until_idle(app)
