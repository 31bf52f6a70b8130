"""The strategy `dask` on two workers of a real cluster, also when they die."""

import asyncio
import os
import signal
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
import pytest
from httpx import AsyncClient, Response

from service.core.dtypes import IN_BLOCKS, describe
from service.errors import ClusterUnavailableError
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.cases import Row, assert_near, from_json, rows
from tests.rigs.apps import Serve, client_of, running
from tests.rigs.dask_clusters import MEMORY, Local, local_cluster
from tests.rigs.requirements import needs

pytestmark = needs("dask")

Json = dict[str, Any]
# Two files of 134 MB each, and a product of 4 MB.
LONG: Final = (1024, 32_768)
WIDE: Final = 6000
BY_DASK: Final = [
    pytest.param(row, id=row.name)
    for row in rows()
    if row.strategy == "dask"
    and row.device == "cpu"
    and row.dtype in {describe(each).name for each in IN_BLOCKS}
    and row.takes_dtype
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of stored arrays, two of which are together larger than a worker's memory."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for name, shape in (("a", LONG), ("b", LONG[::-1])):
        np.save(folder / f"{name}.npy", random.random(shape, np.float32))
    np.save(folder / "column.npy", np.arange(WIDE, dtype=np.float32).reshape(-1, 1))
    np.save(folder / "row.npy", np.ones((1, WIDE), np.float32))
    assert sum((folder / f"{name}.npy").stat().st_size for name in "ab") > MEMORY
    return folder


@pytest.fixture(scope="module")
def product(data: Path) -> Any:
    """The product of the two, by numpy."""
    return np.load(data / "a.npy") @ np.load(data / "b.npy")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Two workers, shared by all tests that do not kill workers."""
    with local_cluster(tmp_path_factory.mktemp("dask"), workers=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def client(cluster: Local, data: Path, cost_model: CostModel) -> AsyncIterator[AsyncClient]:
    """A client of a service with the cluster."""
    from service.api.app import create_app

    settings = Settings(dask_scheduler=cluster.address, data=data)
    async with (
        running(create_app(settings, cost_model=cost_model)) as app,
        client_of(app) as client,
    ):
        yield client


def references(**more: object) -> Json:
    """Return a product of the two large arrays, of which only a summary is requested."""
    return {"a": {"ref": "a.npy"}, "b": {"ref": "b.npy"}, "output": "summary", **more}


async def post(client: AsyncClient, path: str, body: Json, status: int = 200) -> Json:
    """Send a request, assert the status and return the JSON."""
    response = await client.post(path, json=body)
    assert response.status_code == status, response.text
    answer: Json = response.json()
    return answer


@pytest.mark.parametrize("row", BY_DASK)
async def test_table(row: Row, client: AsyncClient) -> None:
    """Every sample by dask has numpy's result, or is refused with a reason."""
    body = row.body() | {"device": "cluster"}
    meaning = row.op.infer_sample(row.sample, describe_of(row.dtype))
    if row.op.strategies["dask"].unsuitable(meaning, "cluster") is not None:
        problem = await post(client, f"/{row.op.name}", body, 422)
        assert problem["code"] == "strategy-unsuitable"
        return
    answer = await post(client, f"/{row.op.name}", body)
    assert (answer["strategy"], answer["device"]) == ("dask", "cluster")
    assert answer["result"]["dtype"] == row.result_dtype
    assert_near(from_json(answer["result"]), row.expected(), row.result_dtype)


def describe_of(name: str) -> Any:
    """The torch dtype of that name."""
    from service.core.dtypes import DTYPES

    return DTYPES[name].torch


async def test_a_product_larger_than_a_worker(client: AsyncClient, product: Any) -> None:
    """`auto` takes the cluster when operands are over this host's limit, and the numbers agree."""
    plan = await post(client, "/matmul/plan", references())
    chosen = {each["strategy"]: each for each in plan["strategies"] if each["accepted"]}
    assert (plan["strategy"], plan["device"], list(chosen)) == ("dask", "cluster", ["dask"])
    answer = await post(client, "/matmul", references(output="base64"))
    assert (answer["strategy"], answer["device"]) == ("dask", "cluster")
    found = np.frombuffer(b64decode(answer["result"]["b64"]), np.float32)
    np.testing.assert_allclose(found.reshape(1024, 1024), product, rtol=1e-4)


async def test_a_suspect_result_has_a_warning(client: AsyncClient) -> None:
    """A cluster does not compute again; a result that is as it should be has no warning."""
    for x, warnings in (([1e20, 1e20], 1), ([3.0, 4.0], 0)):
        answer = await post(client, "/norm", {"x": x, "device": "cluster"})
        assert answer["strategy"] == "dask"
        assert len(answer["warnings"]) == warnings


async def test_auto_stays_here_when_it_can(client: AsyncClient) -> None:
    """A call that this host holds is computed on it, by reference too."""
    body = {"operands": [{"ref": "column.npy"}, {"ref": "column.npy"}], "op": "eq"}
    answer = await post(client, "/broadcast", body | {"output": "none"})
    assert (answer["strategy"], answer["device"]) == ("torch", "cpu")


async def test_a_result_too_large_for_this_host_is_stored(client: AsyncClient, data: Path) -> None:
    """36 million elements are written by the workers, and summarised without being held."""
    outer = {"operands": [{"ref": "column.npy"}, {"ref": "row.npy"}], "op": "mul"}
    refused = await post(client, "/broadcast", outer, 422)
    assert refused["code"] == "limit-exceeded"
    answer = await post(client, "/broadcast", outer | {"output": {"store": "outer.npy"}})
    assert answer["result"] == {"shape": [WIDE] * 2, "dtype": "float32", "ref": "outer.npy"}
    stored = np.load(data / "outer.npy", mmap_mode="r")
    assert np.array_equal(stored[::599, 7], np.arange(WIDE, dtype=np.float32)[::599])
    (data / "outer.npy").unlink()
    assert not [name for name in os.listdir(data) if name.startswith(".")]


async def test_a_summary_of_a_result_too_large_for_this_host(
    client: AsyncClient, data: Path
) -> None:
    """The file that it is made from is gone afterwards."""
    before = sorted(os.listdir(data))
    body = {"operands": [{"ref": "column.npy"}], "to": [WIDE, 3000], "output": "summary"}
    answer = await post(client, "/broadcast", body)
    summary = answer["result"]["summary"]
    assert (summary["min"], summary["max"]) == (0.0, WIDE - 1.0)
    assert summary["mean"] == pytest.approx((WIDE - 1) / 2)
    assert sorted(os.listdir(data)) == before


async def test_a_deadline_stops_the_cluster(client: AsyncClient, cluster: Local) -> None:
    """The work is given up, and the next call finds the cluster free."""
    for worker in cluster.workers:
        worker.send_signal(signal.SIGSTOP)
    body = references(strategy="dask", deadline_ms=6000)
    problem = await post(client, "/matmul", body, 504)
    assert problem["code"] == "deadline-exceeded"
    for worker in cluster.workers:
        worker.send_signal(signal.SIGCONT)
    started = monotonic()
    await post(client, "/norm", {"x": [3.0, 4.0], "strategy": "dask"})
    assert monotonic() - started < 10


async def test_a_worker_that_cannot_read_a_file(client: AsyncClient, data: Path) -> None:
    """A file that is removed meanwhile gets its own problem."""
    np.save(data / "gone.npy", np.ones((3, 3), np.float32))
    context = client._transport.app.state.service.context  # type: ignore[attr-defined]
    stored = context.arrays.find("gone.npy", "/x")
    (data / "gone.npy").unlink()
    (device,) = reading_devices(client)
    with pytest.raises(ClusterUnavailableError, match="could not read"):
        await asyncio.to_thread(
            lambda: device.cluster.fetch(device.cluster.to_blocks([stored])[0], 10.0)
        )


def reading_devices(client: AsyncClient) -> list[Any]:
    """Return the clusters of the service."""
    service = client._transport.app.state.service  # type: ignore[attr-defined]
    return [each for each in service.engine.planner.devices.members if each.cluster is not None]


async def test_strategies_and_races(client: AsyncClient) -> None:
    """dask is available, has a limit of work, and takes no part in races."""
    answer = (await client.get("/strategies")).json()
    dask = next(each for each in answer[0]["strategies"] if each["name"] == "dask")
    assert dask["available"]
    assert dask["work_limits"][0]["device"] == "cluster"
    body: Json = {"a": [[1.0]], "b": [[2.0]], "repeat": 1}
    report = await post(client, "/matmul/compare", body)
    assert "dask" not in {row["strategy"] for row in report["rows"]}
    body["strategies"] = ["torch", "dask"]
    report = await post(client, "/matmul/compare", body)
    skipped = {(row["strategy"], row["device"]): row.get("skipped") for row in report["rows"]}
    assert skipped["dask", "cluster"] == "runs beyond this host, and a race is held on it"
    assert ("torch", "cluster") not in skipped


async def test_limit_of_the_cluster(serve: Serve, cluster: Local, data: Path) -> None:
    """Operands and result together are bounded there too."""
    async with serve(dask_scheduler=cluster.address, data=data, dask_max_bytes=2**20) as client:
        problem = await post(client, "/matmul", references(strategy="dask"), 422)
        assert "SERVICE_DASK_MAX_BYTES" in problem["detail"]


async def test_a_worker_is_killed(serve: Serve, tmp_path: Path, data: Path, product: Any) -> None:
    """The others do its part, and the answer is right within 10 s."""
    with local_cluster(tmp_path, workers=2) as cluster:
        async with serve(dask_scheduler=cluster.address, data=data) as client:
            await both_workers(client)
            body = references(strategy="dask", output="flat")
            asked = asyncio.create_task(client.post("/matmul", json=body))
            await asyncio.sleep(0.3)  # the product takes twice as long and more
            assert not asked.done()
            cluster.workers[0].kill()
            started = monotonic()
            answer = await asked
            assert answer.status_code == 200, answer.text
            assert monotonic() - started < 10
            found = np.array(answer.json()["result"]["data"]).reshape(product.shape)
            np.testing.assert_allclose(found, product, rtol=1e-4)


async def both_workers(client: AsyncClient) -> None:
    """Wait until the scheduler and both workers are there."""
    (device,) = reading_devices(client)
    for _ in range(200):
        answer = await client.post("/norm", json={"x": [3.0, 4.0], "strategy": "dask"})
        if answer.status_code == 200 and device.cluster.threads == 2:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the workers did not come")


async def test_a_task_that_kills_workers(serve: Serve, tmp_path: Path) -> None:
    """The task is given up, and the problem says so."""
    with local_cluster(tmp_path, workers=2, failures=0) as local:
        async with serve(dask_scheduler=local.address) as client:
            await both_workers(client)
            (device,) = reading_devices(client)
            ones = device.cluster._dask_array.ones(1)
            # With `meta`, nothing is tried out here.
            deadly = ones.map_blocks(lambda _: os._exit(1), dtype="f8", meta=np.empty(0))
            with pytest.raises(ClusterUnavailableError, match="again and again"):
                await asyncio.to_thread(device.cluster.fetch, deadly, 10.0)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_scheduler_is_gone(
    end: signal.Signals, serve: Serve, tmp_path: Path, data: Path
) -> None:
    """A call under way and a new one get 503 within 5 s; other strategies go on all the while."""
    with local_cluster(tmp_path, workers=2) as cluster:
        async with serve(dask_scheduler=cluster.address, data=data) as client:
            await both_workers(client)
            asked = asyncio.create_task(client.post("/matmul", json=references(strategy="dask")))
            await asyncio.sleep(0.3)
            assert not asked.done()
            assert cluster.scheduler is not None
            cluster.scheduler.send_signal(end)
            await lost(client, asked)
            await lost(client, asyncio.create_task(client.post("/matmul", json=references())))


async def lost(client: AsyncClient, asked: asyncio.Task[Response]) -> None:
    """Wait for a 503 while products on the host go on."""
    started = monotonic()
    computed = 0
    while not asked.done():
        answer = await post(client, "/matmul", {"a": [[2.0]], "b": [[3.0]]})
        assert answer["result"]["data"] == [[6.0]]
        computed += 1
        await asyncio.sleep(0.05)
    problem = (await asked).json()
    assert (problem["status"], problem["code"]) == (503, "cluster-unavailable")
    assert (await asked).headers["retry-after"] == "1"
    assert monotonic() - started < 5
    assert computed


async def test_a_scheduler_that_comes_later(serve: Serve, tmp_path: Path) -> None:
    """The service is ready without it, says 503, and finds it when it is there."""
    with local_cluster(tmp_path, workers=0) as cluster:
        assert cluster.scheduler is not None
        cluster.end()
        cluster.scheduler = None
        async with serve(dask_scheduler=cluster.address) as client:
            ready = await client.get("/health/ready")
            assert ready.status_code == 200
            assert "cluster" not in ready.json()["devices"]
            body = {"x": [3.0, 4.0], "strategy": "dask"}
            started = monotonic()
            problems = await asyncio.gather(*(post(client, "/norm", body, 503) for _ in range(4)))
            assert {problem["code"] for problem in problems} == {"cluster-unavailable"}
            assert (
                monotonic() - started < 2 * 5
            )  # they waited for two slots, and not for each other
            cluster.start(workers=1)
            until = monotonic() + 30
            while (answer := await client.post("/norm", json=body)).status_code != 200:
                assert monotonic() < until, answer.text
            assert answer.json()["result"]["data"] == 5.0
