"""A service with GPUs, each with a device process: on those of this host, or else on the CPU."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from httpx import AsyncClient

from service.api.app import create_app
from service.executors import ForkServer
from service.executors.device_process import DeviceProcess
from service.operations import REGISTRY
from service.pipeline.service import DEVICE_WORKER
from service.planning.calibration import calibrate
from service.planning.cost_model import DOWNLOAD, HOP, TRANSFER, UPLOAD, CostModel, Curve
from service.registry import Registry
from service.settings import Settings
from tests.rigs.apps import app_of, client_of, running
from tests.rigs.device_processes import GPU, MAKE, curves_of, place_of
from tests.rigs.event_streams import STREAM, read_stream
from tests.rigs.gpu_services import (
    ANY,
    NAMED,
    RACE,
    RESULT,
    check,
    post,
    refused,
    service_with_gpus,
    until_ready,
)
from tests.rigs.inference_bodies import as_bytes, as_json, parts, values_of
from tests.rigs.matmul_bodies import PADDING, product, slow_text, square
from tests.rigs.request_bodies import RAW, SAFETENSORS, safetensors_of
from tests.rigs.waiting import until


@pytest.fixture(scope="module")
async def shared(cost_model: CostModel, fork_server: ForkServer) -> AsyncIterator[AsyncClient]:
    """One service for all tests that do not break its device."""
    async with service_with_gpus(cost_model, fork_server) as client:
        yield client


@pytest.fixture
async def gpu(shared: AsyncClient) -> AsyncClient:
    """A client of it, whose GPU is ready."""
    await until_ready(shared)
    return shared


async def test_a_call_for_a_gpu(gpu: AsyncClient) -> None:
    """Named or chosen by `auto`: the device process computes it and measures each phase."""
    for body in (NAMED, ANY, {**NAMED, "device": "cuda:0"}):
        answer = check(await post(gpu, body))
        timing = answer["timing"]
        phases = [timing[f"{name}_ms"] for name in ("decode", "queue", "upload", "compute")]
        phases += [timing["download_ms"], timing["encode_ms"]]
        assert sum(phases) == pytest.approx(timing["total_ms"], rel=0.05, abs=0.1)
        assert answer["request_id"] == "mine"
    check(await post(gpu, {**NAMED, "device": "cpu"}), "cpu")


async def test_arithmetic(gpu: AsyncClient) -> None:
    """The device has TF32, as its process has told, for calls that are planned here or there."""
    (device, _) = (await gpu.get("/devices")).json()["devices"]
    if place_of(GPU) != "cpu" and device["precisions"] == ["ieee"]:
        pytest.skip("the GPU of this host has no TF32")
    assert device["precisions"] == ["ieee", "tf32", "bf16x3"]
    asked = {"precision": "tf32", "deterministic": True}
    for fields in ({"device": "auto"}, {"device": "cuda", "strategy": "einsum"}):
        body = json.dumps(NAMED | asked | fields).encode()
        for text in (body, slow_text(body)):
            answer = check(await gpu.post("/matmul", content=text))
            assert {name: answer[name] for name in asked} == asked
            assert answer["strategy"] == fields.get("strategy", "torch")
    chain = {
        "operands": [[[1, 2]], [[3], [4]]],
        "precision": "tf32",
        "steps": [
            {"name": "y", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}},
            {"name": "z", "operation": "broadcast", "op": "neg", "operands": [{"step": "y"}]},
        ],
    }
    answer = (await gpu.post("/chain", json=chain)).json()
    assert (answer["device"], answer["precision"]) == ("cuda:0", "tf32")
    assert answer["results"]["z"]["data"] == [[-11.0]]
    response = await gpu.post("/matmul/gradients", json=NAMED | asked)
    assert (response.json()["device"], response.json()["precision"]) == ("cuda:0", "tf32")
    response = await gpu.post("/norm", json={"x": [3, 4], "precision": "tf32"})
    detail = "norm strategy 'auto' was asked for tf32; all strategies of norm compute in ieee"
    assert response.json()["detail"] == detail


async def test_every_way_of_a_call(gpu: AsyncClient) -> None:
    """Operands as short and long text, compressed or not, and as bytes; results as bytes."""
    for fields in (NAMED, ANY):
        text = json.dumps(fields).encode()
        for body in (text, text + b" " * 70_000, text + PADDING, slow_text(text)):
            check(await gpu.post("/matmul", content=body))
    tensors = {"a": torch.tensor(NAMED["a"]).float(), "b": torch.tensor(NAMED["b"]).float()}
    headers = {"Content-Type": SAFETENSORS, "Accept": RAW}
    body = safetensors_of(tensors)
    response = await gpu.post("/matmul?device=cuda", content=body, headers=headers)
    assert response.headers["X-Device"] == "cuda:0"
    assert response.content == torch.tensor(RESULT).numpy().tobytes()


async def test_a_result_that_overflowed_on_the_way(gpu: AsyncClient) -> None:
    """The device process computes it again if auto chose, however the body came."""
    for name, strategy in (("auto", "scaled"), ("torch", "torch")):
        body = json.dumps({"x": [1e20, 1e20], "device": "cuda", "strategy": name}).encode()
        for each in (body, slow_text(body)):
            answer = (await gpu.post("/norm", content=each)).json()
            assert (answer["device"], answer["strategy"]) == ("cuda:0", strategy)
            assert len(answer["warnings"]) == 1


async def test_long_text_is_planned_by_a_worker(gpu: AsyncClient) -> None:
    """Calls planned for the GPU go to the device process; the worker computes the others."""
    for fields, device in (
        ({"device": "cuda"}, "cuda:0"),
        ({}, "cuda:0"),
        ({"strategy": "numpy"}, "cpu"),
        ({"device": "cpu"}, "cpu"),
        ({"deadline_ms": 20_000, "device": "cuda"}, "cuda:0"),
    ):
        response = await gpu.post("/matmul", content=slow_text(product(**fields)))
        answer = response.json()
        assert (answer["device"], answer["timing"]["executor"]) == (device, "process")
        assert np.array_equal(answer["result"]["data"], square() @ square(seed=1))
        timing = answer["timing"]
        assert timing["decode_ms"] > 0
        assert timing["queue_ms"] >= 0
    response = await gpu.post("/matmul", content=slow_text(product(device="cuda:7")))
    assert (response.status_code, response.json()["code"]) == (422, "device-unavailable")


async def test_a_chain(gpu: AsyncClient) -> None:
    """All its steps run in the device process, whether the server plans them or a worker."""
    half = {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}}
    whole = {"name": "y", "operation": "broadcast", "op": "add", "operands": [{"step": "h"}, 1]}
    body = {"operands": [NAMED["a"], NAMED["b"]], "steps": [half, whole]}
    for fields in ({"device": "cuda"}, {}, {"deadline_ms": 20_000}):
        for text in (
            json.dumps(body | fields).encode(),
            slow_text(json.dumps(body | fields).encode()),
        ):
            answer = (await gpu.post("/chain", content=text)).json()
            assert answer["results"]["y"]["data"] == [[20.0, 23.0], [44.0, 51.0]]
            assert (answer["device"], answer["timing"]["executor"]) == ("cuda:0", "process")


async def test_gradients(gpu: AsyncClient) -> None:
    """All of them are computed in the device process, whether the server plans them or a worker."""
    text = json.dumps({**NAMED, "upstream": [[1, 0], [0, 1]]}).encode()
    for body in (text, slow_text(text)):
        answer = (await gpu.post("/matmul/gradients", content=body)).json()
        assert answer["gradients"]["a"]["result"]["data"] == [[5.0, 7.0], [6.0, 8.0]]
        assert answer["gradients"]["b"]["result"]["data"] == [[1.0, 3.0], [2.0, 4.0]]
        assert (answer["device"], answer["timing"]["executor"]) == ("cuda:0", "process")


async def test_a_large_result(gpu: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes of text come back through a shared buffer of the device process."""
    monkeypatch.setattr("service.executors.device_process.KEPT_BYTES", 1_000_000)
    body = {"operands": [[[1]]], "to": [1100, 1000], "device": "cuda"}
    headers = {"Accept-Encoding": "identity"}
    response = await gpu.post("/broadcast", json=body, headers=headers)
    assert response.json()["device"] == "cuda:0"
    assert len(response.content) > 4_000_000
    service = app_of(gpu).state.service
    await until(lambda: not service.device_processes["cuda:0"]._worker.holds(1_000_000))


async def test_stored_arrays(
    cost_model: CostModel, fork_server: ForkServer, tmp_path: Path
) -> None:
    """The device process reads operands and stores results; the server moves neither."""
    np.save(tmp_path / "a.npy", square().astype(np.float32))
    async with service_with_gpus(cost_model, fork_server, data=tmp_path) as client:
        await until_ready(client)
        body: dict[str, object] = {"a": {"ref": "a.npy"}, "b": {"ref": "a.npy"}}
        response = await post(client, {**body, "device": "cuda"})
        answer = response.json()
        assert (answer["device"], answer["timing"]["executor"]) == ("cuda:0", "process")
        assert np.array_equal(answer["result"]["data"], square() @ square())
        response = await post(client, {**body, "output": {"store": "c.npy"}})
        assert response.json()["device"] == "cuda:0"
        assert np.array_equal(np.load(tmp_path / "c.npy"), square() @ square())
        response = await post(client, {**body, "device": "cpu"})
        assert response.json()["device"] == "cpu"


async def test_plans_and_strategies(gpu: AsyncClient) -> None:
    """They use the costs that the device process measured, and the limits of any call."""
    response = await gpu.post("/matmul/plan", json=NAMED)
    plan = response.json()
    assert (plan["device"], plan["accepted"]) == ("cuda:0", True)
    shapes = {"a": {"shape": [9, 10**9]}, "b": {"shape": [10**9, 9]}, "device": "cuda"}
    response = await gpu.post("/matmul/plan", json=shapes)
    assert response.json()["accepted"] is False
    found = (await gpu.get("/strategies")).json()
    limits = {limit["device"] for limit in found[0]["strategies"][0]["work_limits"]}
    assert limits == {"cuda:0", "cpu"}


async def test_a_race_on_cpu_and_gpu(gpu: AsyncClient) -> None:
    """Each row has its device, and its copies beside its runs; all have one baseline."""
    text = json.dumps({**RACE, "strategies": ["loops", "broadcast", "numpy", "torch"]}).encode()
    for body in (text, slow_text(text)):
        report = (await gpu.post("/matmul/compare", content=body)).json()
        rows = {(row["strategy"], row["device"]): row for row in report["rows"]}
        assert len(rows) == 8
        assert rows.pop(("numpy", "cuda:0"))["skipped"] == "does not run on cuda"
        for (_, device), row in rows.items():
            assert (row["runs"], row["agrees"], row["max_abs_error"]) == (3, True, 0)
            assert (row["upload_ms"] > 0, row["download_ms"] > 0) == (device != "cpu",) * 2
        slowest = rows["loops", "cpu"]
        assert (report["baseline"], slowest["speedup"]) == ("loops", 1)
        fast = rows["torch", "cuda:0"]
        assert fast["speedup"] == pytest.approx(slowest["median_ms"] / fast["median_ms"])
    service = app_of(gpu).state.service
    assert len(service.race_pool._idle) == 1
    assert service.race_threads._pool._threads == set()


async def test_a_stream_of_a_race_on_a_gpu(gpu: AsyncClient) -> None:
    """Each row comes as its strategy finishes; a large result is checked in part."""
    numbers = (np.arange(1200) / 7).tolist()
    body = {"equation": "i,j->ij", "operands": [numbers, numbers], "strategies": ["torch"]}
    fields = {"devices": ["cuda"], "repeat": 2}
    response = await gpu.post("/einsum/compare", json=body | fields, headers=STREAM)
    row, report = read_stream(response.text)
    assert (row.event, row.data["device"], row.data["agrees"]) == ("row", "cuda:0", True)
    assert row.data["runs"] == 2
    assert report.data["rows"] == [row.data | {"speedup": 1}]
    assert 1000 < report.data["reference"]["checked"] < report.data["reference"]["elements"]


async def test_a_race_of_a_chain_on_a_gpu(gpu: AsyncClient) -> None:
    """Its steps run in the device process, and all results are checked."""
    half = {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}}
    whole = {"name": "y", "operation": "broadcast", "op": "add", "operands": [{"step": "h"}, 1]}
    body = {"operands": [NAMED["a"], NAMED["b"]], "steps": [half, whole]}
    fields = {"strategies": ["torch"], "devices": ["cuda"], "repeat": 1}
    fields |= {"results": ["y", "h"]}
    report = (await gpu.post("/chain/compare", json=body | fields)).json()
    (row,) = report["rows"]
    assert (row["device"], row["runs"], row["agrees"]) == ("cuda:0", 1, True)
    assert report["reference"]["checked"] == 4 + 4


async def test_calls_run_between_the_slices_of_a_race(gpu: AsyncClient) -> None:
    """A race of many seconds holds the device for none; it ends when its client leaves."""
    service = app_of(gpu).state.service
    fields = {"strategies": ["torch"], "devices": ["cuda"], "repeat": 1000, "budget_ms": 20_000}
    many = square().tolist()
    body = {"a": many, "b": many, **fields}
    racing = asyncio.create_task(gpu.post("/matmul/compare", json=body))
    process = service.device_processes["cuda:0"]
    await until(lambda: process.active_calls or racing.done())
    for _ in range(5):
        check(await post(gpu, NAMED))
    assert not racing.done()
    racing.cancel()
    await until(lambda: not process.active_calls and not service.race_pool.active_calls)
    check(await post(gpu, NAMED))


async def test_the_open_inference_protocol(gpu: AsyncClient) -> None:
    """The device process computes calls that name its device or that `auto` sends there."""
    url = "/v2/models/matmul/infer"
    inputs = {name: np.array(NAMED[name], np.float32) for name in ("a", "b")}
    for parameters in ({"device": "cuda"}, {"device": "cuda:0"}, {}):
        text = json.dumps(as_json(inputs, "float32", parameters=parameters)).encode()
        given = {**parameters, "binary_data_output": True}
        blob, lengths = as_bytes(inputs, "float32", parameters=given)
        for body, headers in ((text, {}), (slow_text(text), {}), (blob, lengths)):
            response = await gpu.post(url, content=body, headers=headers)
            assert response.status_code == 200, response.text
            answer, data = parts(response)
            assert answer["parameters"]["device"] == "cuda:0"
            assert bool(data) == (body is blob)
            assert values_of(answer["outputs"][0], data).tolist() == RESULT
            assert "upload;dur=" in response.headers["Server-Timing"]
            act = {**headers, "X-Request-Id": "exhaust"}  # in the device process alone
            response = await gpu.post(url, content=body, headers=act)
            assert (response.status_code, [*response.json()]) == (503, ["error"])
    body = json.dumps(as_json(inputs, "float32", parameters={"device": "cpu"})).encode()
    response = await gpu.post(url, content=body)
    assert response.json()["parameters"]["device"] == "cpu"
    statistics = (await gpu.get("/v2/models/matmul/versions/torch/stats")).json()
    assert statistics["model_stats"][0]["inference_stats"]["success"]["count"] == 10


async def test_auto_takes_a_gpu_where_that_is_faster(
    cost_model: CostModel, fork_server: ForkServer
) -> None:
    """A small call stays on the CPU, as the way to the GPU takes longer; a large one does not."""
    async with service_with_gpus(cost_model, fork_server) as client:
        engine = app_of(client).state.service.engine
        hop = Curve(0.0, [0.0, 1.0], [200_000.0, 200_000.0])
        engine.planner.cost_model.add((TRANSFER, HOP, "cuda:0", torch.uint8, ""), hop)
        await until_ready(client)
        (known,) = [row for row in engine.planner.cost_model.to_rows() if row[1] == HOP]
        assert Curve(*known[5:]) == hop, "what is known is not measured again"
        wins = (await client.get("/devices")).json()["devices"][0]["wins_from"]
        assert wins | {"n": 0} == {"op": "matmul", "dtype": "float32", "n": 0}
        assert wins["n"] > 2
        for n, device in ((2, "cpu"), (wins["n"] // 2, "cpu"), (wins["n"], "cuda:0")):
            shapes = {"a": {"shape": [n, n]}, "b": {"shape": [n, n]}}
            plan = (await client.post("/matmul/plan", json=shapes)).json()
            assert plan["device"] == device
            for each in plan["strategies"]:
                if each["available"]:
                    on_gpu = each["device"] == "cuda:0"
                    assert each["transfer_ms"] == pytest.approx(0.2 if on_gpu else 0)
                    assert each["estimated_ms"] > each["transfer_ms"]
        check(await post(client, ANY), "cpu")
        check(await post(client, NAMED))
        half = {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}}
        chain = {"operands": [NAMED["a"], NAMED["b"]], "steps": [half]}
        assert (await client.post("/chain", json=chain)).json()["device"] == "cpu"


async def test_what_is_told_of_a_gpu(gpu: AsyncClient) -> None:
    """Devices, readiness and metrics."""
    devices = {each["name"]: each for each in (await gpu.get("/devices")).json()["devices"]}
    assert (devices["cuda:0"]["ready"], devices["cuda:0"]["reason"]) == (True, None)
    assert devices["cuda:0"]["wins_from"] == {"op": "matmul", "dtype": "float32", "n": 1}
    assert devices["cpu"]["wins_from"] is None
    ready = await gpu.get("/health/ready")
    assert ready.json() == {"status": "ready", "devices": {"cuda:0": None, "cpu": None}}
    text = (await gpu.get("/metrics")).text
    assert 'tensor_service_device_ready{device="cuda:0"} 1.0' in text
    assert 'tensor_service_device_calls{device="cuda:0"} 0.0' in text


async def test_the_server_touches_no_gpu(gpu: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request loads CUDA: the one function that loads it is not called."""
    touched = []
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: touched.append("loaded"))
    for path, body in (
        ("/matmul", NAMED),
        ("/matmul", {**NAMED, "dtype": "float16"}),
        ("/matmul/plan", {**NAMED, "dtype": "float64"}),
        ("/matmul/compare", {**RACE, "strategies": ["torch"], "dtype": "complex64"}),
        ("/norm", {"x": [3, 4]}),
    ):
        response = await gpu.post(path, json=body)
        assert response.status_code == 200, response.text
    for path in ("/strategies", "/devices", "/health/ready", "/metrics", "/limits"):
        assert (await gpu.get(path)).status_code == 200
    assert not touched
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it so
    with pytest.raises(LookupError, match="the process that owns it alone"):
        calibrate(REGISTRY["norm"], REGISTRY["norm"].strategies["torch"], GPU, torch.float32)


async def test_nothing_waits_for_a_gpu(
    cost_model: CostModel, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its process is ready, `auto` takes the CPU, and calls that name it are refused."""

    async def start_later(process: DeviceProcess) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(DeviceProcess, "_start_process", start_later)
    async with service_with_gpus(cost_model, fork_server) as client:
        for body in (json.dumps(ANY).encode(), slow_text(json.dumps(ANY).encode())):
            answer = (await client.post("/matmul", content=body)).json()
            assert answer["device"] == "cpu"
        named = json.dumps(NAMED).encode()
        for path in ("/matmul", "/matmul/compare"):
            for body in (named, slow_text(named)):
                refused(await client.post(path, content=body), "cuda:0 is not ready")
        refused(await client.post("/matmul/plan", json=NAMED), "cuda:0 is not ready")
        ready = (await client.get("/health/ready")).json()["devices"]
        assert ready["cpu"] is None
        assert ready["cuda:0"] is not None
        limits = (await client.get("/strategies")).json()[0]["strategies"][0]["work_limits"]
        assert {limit["device"] for limit in limits} == {"cpu"}


async def test_a_device_process_measures(
    cost_model: CostModel, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It measures float32 before it is ready, and the other dtypes one after another later."""
    # The first round begins before the device is ready.
    monkeypatch.setattr("service.pipeline.service.CALIBRATION_ROUNDS", 1)
    # Two others stand for all, whose loops take seconds.
    known = (row for row in curves_of(GPU) if row[3] not in ("float32", "int64", "complex64"))
    app = create_app(
        Settings(),
        cost_model=CostModel.from_rows([*cost_model.to_rows(), *known]),
        fork_server=fork_server,
        gpus=(GPU,),
        device_worker=MAKE,
    )
    async with running(app), client_of(app) as client:
        await until_ready(client)
        model = app.state.service.engine.planner.cost_model
        # The kernels of strategies that are compiled have no GPU to be measured on.
        expected = {
            tuple(row[:4])
            for row in curves_of(GPU)
            if row[0] != TRANSFER and REGISTRY[row[0]].strategies[row[1]].compile is None
        }
        found = {tuple(row[:4]) for row in model.to_rows()}
        assert {row for row in expected if row[3] == "float32"} <= found
        check(await post(client, NAMED))
        assert {row[:3] for row in found if row[0] == TRANSFER} == {
            (TRANSFER, what, "cuda:0") for what in (UPLOAD, DOWNLOAD, HOP)
        }
        for _ in range(1200):
            if expected <= {tuple(row[:4]) for row in model.to_rows()}:
                break
            await asyncio.sleep(0.1)
        assert expected <= {tuple(row[:4]) for row in model.to_rows()}


async def test_a_device_process_that_cannot_start(
    cost_model: CostModel, fork_server: ForkServer
) -> None:
    """The problem has the reason, and the rest of the service goes on; no host has so many GPUs."""
    absent = replace(GPU, torch_device="cuda:99")
    async with service_with_gpus(
        cost_model, fork_server, gpus=(absent,), device_worker=DEVICE_WORKER
    ) as client:
        readiness = app_of(client).state.service.engine.planner.devices.readiness
        await until(lambda: "could not be started" in readiness.reason("cuda:0"))
        refused(await post(client, NAMED), "its process could not be started: ")
        check(await post(client, ANY), "cpu")


async def test_another_registry_has_no_gpu(cost_model: CostModel, fork_server: ForkServer) -> None:
    """Device processes import the service's own registry; the server itself uses no GPU."""
    app = create_app(
        Settings(),
        registry=Registry(REGISTRY["matmul"]),
        cost_model=cost_model,
        fork_server=fork_server,
    )
    async with running(app), client_of(app) as client:
        assert [each["name"] for each in (await client.get("/devices")).json()["devices"]] == [
            "cpu"
        ]
        check(await post(client, ANY), "cpu")
