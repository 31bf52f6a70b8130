"""Executors of calls, and isolation of the service from calls in worker processes."""

import asyncio
import gzip
import json
import signal

import httpx
import numpy as np
import pytest
from httpx import AsyncClient
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.api.app import create_app
from service.api.asgi import unless_disconnected
from service.executors import ForkServer
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.registry import Registry
from service.settings import Settings
from tests.rigs.apps import Serve, app_of, client_of, running
from tests.rigs.matmul_bodies import PADDING, SIZE, product, slow_text, square
from tests.rigs.request_bodies import NPY, SAFETENSORS, npy_of, safetensors_of, tensor_of
from tests.rigs.waiting import until
from tests.rigs.worker_processes import app_with_cheap_loops, until_busy, until_idle


def check(response: httpx.Response, executor: str, size: int = SIZE) -> None:
    """Assert that the product is correct and was computed by this executor."""
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["timing"]["executor"] == executor
    assert np.array_equal(answer["result"]["data"], square(size) @ square(size, 1))


async def test_the_plan_chooses_the_executor(client: AsyncClient) -> None:
    """Short native calls run inline, longer bodies on threads, loops and slow text in processes."""
    check(await client.post("/matmul", content=product(2)), "inline", 2)
    padded = product(2) + b" " * 70_000
    check(await client.post("/matmul", content=padded), "inline", 2)
    worded = json.loads(product(2))
    for name in "ab":
        data = [str(int(item)) for row in worded[name] for item in row]
        worded[name] = {"shape": [2, 2], "dtype": "int64", "data": data}
    padded = json.dumps(worded).encode() + b" " * 70_000
    check(await client.post("/matmul", content=padded), "thread", 2)
    check(await client.post("/matmul", content=product(strategy="loops")), "process")
    check(await client.post("/matmul", content=product(2) + PADDING), "thread", 2)
    check(await client.post("/matmul", content=slow_text(product(2))), "process", 2)
    loops = product(strategy="loops") + b" " * 70_000
    check(await client.post("/matmul", content=loops), "process")


async def test_another_registry_stays_in_the_server(serve: Serve) -> None:
    """Workers import the service's own: what they do not have runs on a thread."""
    async with serve(Registry(REGISTRY["matmul"])) as client:
        check(await client.post("/matmul", content=product(strategy="loops")), "thread")
        check(await client.post("/matmul", content=slow_text(product(2))), "thread", 2)
        service = app_of(client).state.service
        assert service.worker_pool is None
        service.trim_memory()


@pytest.mark.parametrize(
    ("body", "executor"),
    [
        (product(), "thread"),
        (product() + PADDING, "thread"),
        (slow_text(product())[: -len(PADDING)], "thread"),
        (slow_text(product()), "process"),
    ],
    ids=["plain", "long", "slow", "long and slow"],
)
async def test_compressed_text_is_inflated_on_a_thread(
    client: AsyncClient, body: bytes, executor: str
) -> None:
    """A worker process inflates what becomes long text that is slow to read again."""
    headers = {"Content-Encoding": "gzip"}
    response = await client.post("/matmul", content=gzip.compress(body), headers=headers)
    check(response, executor)


async def test_a_long_text_is_written_on_a_thread(client: AsyncClient) -> None:
    """Nothing of it needs the GIL."""
    x = tensor_of("int32", (400, 400)).fill_(3)
    body = safetensors_of({"0": x, "1": x.clone()})
    headers = {"Content-Type": SAFETENSORS}
    response = await client.post("/broadcast?op=add", content=body, headers=headers)
    answer = response.json()
    assert answer["timing"]["executor"] == "thread"
    assert answer["result"]["data"] == [[6] * 400] * 400


async def test_a_process_answers_as_the_server_does(client: AsyncClient) -> None:
    """Status, headers and body: results, refusals and what is no JSON, in any format."""
    x = npy_of(square(300).astype(np.float32))
    headers = {"Content-Type": NPY, "Accept": NPY, "X-Request-Id": "mine"}
    response = await client.post("/norm?strategy=python&dim=[0]", content=x, headers=headers)
    assert (response.status_code, response.headers["Content-Type"]) == (200, NPY)
    assert json.loads(response.headers["X-Envelope"])["timing"]["executor"] == "process"
    assert json.loads(response.headers["X-Envelope"])["request_id"] == "mine"

    for text in (b'{"a": [1, 2], "b": [1]}', b'{"a": [1], "b": [NaN]}', b'{"a": [1]}', b"[", b""):
        near, far = [await client.post("/matmul", content=text + pad) for pad in (b"", PADDING)]
        documents = [each.json() for each in (near, far)]
        for each in documents:
            each.pop("instance")
            each.pop("detail")
        assert near.status_code == far.status_code
        assert documents[0] == documents[1]
        assert near.headers["Content-Type"] == far.headers["Content-Type"]


async def test_a_format_that_cannot_hold_the_result(client: AsyncClient) -> None:
    """The worker agrees on formats as the server does."""
    body = slow_text(product(2, dtype="bfloat16"))
    response = await client.post("/matmul", content=body, headers={"Accept": NPY})
    assert (response.status_code, response.json()["code"]) == (406, "not-acceptable")


async def test_a_dtype_is_measured_beside_calls(
    cost_model: CostModel, fork_server: ForkServer
) -> None:
    """Calls go on by priors while a process measures; afterwards, workers plan as the server."""
    rows = [row for row in cost_model.to_rows() if row[3] != "float16"]
    app = create_app(Settings(), cost_model=CostModel.from_rows(rows), fork_server=fork_server)
    async with running(app), client_of(app) as client:
        body = product(2, dtype="float16")
        for each in (body, slow_text(body)):
            response = await client.post("/matmul", content=each)
            answer = response.json()
            assert answer["result"]["dtype"] == "float16"
            assert answer["timing"]["decode_ms"] < 1000
        engine = app.state.service.engine
        await until(lambda: not engine.unmeasured(), 120)
        plan = (await client.post("/matmul/plan", content=product(2, dtype="float16"))).json()
        assert {row["basis"] for row in plan["strategies"] if row["available"]} == {"measured"}


async def test_memory_that_runs_out_in_a_worker(serve: Serve) -> None:
    """The call gets a 503, and the same process serves the next one."""
    async with serve(worker_memory_bytes=2**26, processes=1) as client:
        rows = {"shape": [1000, 1000], "dtype": "float64", "data": [0.5] * 1_000_000}
        fields = {"operands": [rows] * 2, "op": "add", "strategy": "python", "output": "none"}
        response = await client.post("/broadcast", content=json.dumps(fields).encode())
        assert (response.status_code, response.json()["code"]) == (503, "out-of-memory")
        assert int(response.headers["Retry-After"]) >= 1
        check(await client.post("/matmul", content=slow_text(product(2))), "process", 2)


async def test_large_calls_leave_nothing(serve: Serve) -> None:
    """Their memory is returned to the system soon after, and the next call works."""
    async with serve(processes=1) as client:
        service = app_of(client).state.service
        x = {"shape": [1000, 1000], "dtype": "float64", "data": [0.5] * 1_000_000}
        read = slow_text(json.dumps({"x": x}).encode())
        written = slow_text(json.dumps({"operands": [[1]], "to": [1100, 1100]}).encode())
        for path, body in (("/norm", read), ("/broadcast", written)):
            headers = {"Accept-Encoding": "identity"}
            response = await client.post(path, content=body, headers=headers)
            (worker,) = service.worker_pool._idle
            assert worker._buffers[0].size > max(len(body), len(response.content)) > 4_000_000
            for _ in range(1000):
                if not worker._buffers[0].size:
                    break
                await asyncio.sleep(0.01)
            assert worker._buffers[0].size == 0
        check(await client.post("/matmul", content=slow_text(product(2))), "process", 2)


@pytest.mark.parametrize("is_slow", [False, True], ids=["planned", "not yet decoded"])
async def test_a_deadline_frees_the_core(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer, is_slow: bool
) -> None:
    """The late call gets a 504, and the next one a process. The deadline may be in the body."""
    async with app_with_cheap_loops(client, cost_model, fork_server) as (app, mine):
        short = product(60, strategy="loops")
        long = product(150, strategy="loops", deadline_ms=700)
        if is_slow:
            short, long = slow_text(short), slow_text(long)
        check(await mine.post("/matmul", content=short), "process", 60)
        response = await mine.post("/matmul", content=long)
        assert (response.status_code, response.json()["code"]) == (504, "deadline-exceeded")
        await until_idle(app)
        check(await mine.post("/matmul", content=short), "process", 60)


async def test_a_killed_process_is_not_noticed(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer
) -> None:
    """Another process computes its call; a call whose process is killed each time gets a 503."""
    async with app_with_cheap_loops(client, cost_model, fork_server) as (app, mine):
        body = product(60, strategy="loops")
        coming = asyncio.create_task(mine.post("/matmul", content=body))
        signal.pidfd_send_signal(await until_busy(app), signal.SIGKILL)
        check(await coming, "process", 60)

        coming = asyncio.create_task(mine.post("/matmul", content=body))
        while not coming.done():
            for worker in app.state.service.worker_pool._busy:
                await worker.kill()
            await asyncio.sleep(0.05)
        response = await coming
        assert (response.status_code, response.json()["code"]) == (503, "worker-died")
        assert int(response.headers["Retry-After"]) >= 1


async def test_a_client_that_leaves_ends_its_work(
    client: AsyncClient, cost_model: CostModel, fork_server: ForkServer
) -> None:
    """Its place is free and its process has ended long before the work would have."""
    async with app_with_cheap_loops(client, cost_model, fork_server) as (app, mine):
        leaving = asyncio.create_task(mine.post("/matmul", content=product(150, strategy="loops")))
        await until_busy(app)
        leaving.cancel()
        await until_idle(app)
        assert app.state.service.inflight.held == 0


async def test_what_comes_before_the_client_leaves() -> None:
    """A result is returned; otherwise the work is cancelled and ClientDisconnect raised."""
    never = asyncio.Event()
    left = asyncio.Event()
    cancelled = []

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def five() -> int:
        return 5

    async def forever() -> None:
        try:
            await never.wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    assert await unless_disconnected(five(), receive) == 5
    left.set()
    with pytest.raises(ClientDisconnect):
        await unless_disconnected(forever(), receive)
    await asyncio.sleep(0)
    assert cancelled == [True]
