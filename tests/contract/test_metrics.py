"""GET /metrics of a running service."""

import json
from typing import Any

from httpx import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from service.settings import Settings
from tests.rigs.apps import Serve
from tests.rigs.matmul_bodies import slow_text

PRODUCT: dict[str, Any] = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}


async def samples(client: AsyncClient) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples of each name by the values of their labels, in order of label names."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.text):
        for each in family.samples:
            labels = tuple(value for _, value in sorted(each.labels.items()))
            found.setdefault(each.name.removeprefix("tensor_service_"), {})[labels] = each.value
    return found


async def test_every_request_is_counted(serve: Serve) -> None:
    """Calls are counted by strategy and executor, any request by its route."""
    async with serve(queue=7, slots=3) as client:
        for strategy in ("loops", "loops", "torch"):
            await client.post("/matmul", json=PRODUCT | {"strategy": strategy})
        await client.post("/matmul", json={})
        await client.post("/matmul", json=PRODUCT, headers={"Content-Type": "image/png"})
        await client.post("/matmul/plan", json=PRODUCT)
        await client.get("/problems/overloaded")
        await client.head("/limits")
        for name in range(3):
            await client.get(f"/nothing/{name}")
        await client.request("BREW", "/limits")
        found = await samples(client)
    calls = {key[1:]: count for key, count in found["calls_total"].items()}
    assert calls["matmul", "200", "loops"] == 2
    assert calls["matmul", "200", "torch"] == 1
    assert calls["matmul", "422", ""] == 1
    assert {key[0] for key in found["calls_total"]} <= {"inline", "thread", "process", ""}
    assert found["requests_total"] == {
        ("POST", "/matmul", "200"): 3,
        ("POST", "/matmul", "422"): 1,
        ("POST", "/matmul", "415"): 1,
        ("POST", "/matmul/plan", "200"): 1,
        ("GET", "/problems/{code}", "200"): 1,
        ("HEAD", "/limits", "200"): 1,
        ("GET", "other", "404"): 3,
        ("other", "/limits", "405"): 1,
    }
    assert found["phase_seconds_count"]["matmul", "compute", "loops"] == 2
    assert found["phase_seconds_sum"]["matmul", "compute", "loops"] > 0
    assert found["ready"] == {(): 1}
    assert found["slots"] == {("thread",): 3, ("race",): 1, ("process",): 3}
    assert found["queue_room"] == {("thread",): 7, ("race",): 7, ("process",): 7}
    assert found["calls_inside"] == {("thread",): 0, ("race",): 0, ("process",): 0}
    assert found["bytes_in_flight"] == {(): 0}
    assert found["worker_ends_total"] == {(): 0}


async def test_calls_of_worker_processes_are_counted(serve: Serve) -> None:
    """Strategy and phases come from the process, whether the server planned the call or not."""
    side = [[1.0] * 24] * 24
    body = json.dumps({"a": side, "b": side, "strategy": "loops"}).encode()
    async with serve() as client:
        for each in (body, slow_text(body)):
            assert (await client.post("/matmul", content=each)).status_code == 200
        found = await samples(client)
    assert found["calls_total"] == {("process", "matmul", "200", "loops"): 2}
    assert found["phase_seconds_count"]["matmul", "compute", "loops"] == 2
    assert found["phase_seconds_sum"]["matmul", "compute", "loops"] > 0.001


async def test_apps_do_not_share_counters(serve: Serve) -> None:
    """Each app has its own."""
    async with serve() as one, serve() as other:
        await one.post("/norm", json={"x": [3, 4]})
        assert "norm" in str((await samples(one))["calls_total"])
        assert "calls_total" not in await samples(other)


def test_the_folder_is_a_setting() -> None:
    """Nothing is shared unless it is set, or `serve` starts several processes."""
    assert Settings().metrics_dir == ""
