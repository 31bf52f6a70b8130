"""Faults of a GPU beside other calls: on those of this host, or else in rehearsed device processes.

Four clients call GPUs and the CPU during each fault, and check every result.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx
import pytest
from httpx import AsyncClient

from service.executors import ForkServer, WorkerFaultError
from service.executors.device_process import DeviceProcess
from service.operations.kernels import TRITON
from service.planning.cost_model import CostModel
from tests.rigs.device_processes import GPU, SECOND, place_of
from tests.rigs.gpu_faults import ASSERTION, ILLEGAL
from tests.rigs.gpu_services import (
    ANY,
    NAMED,
    RACE,
    UNREADY,
    calls_for,
    check,
    memory_of,
    pid_of,
    post,
    refused,
    service_with_gpus,
    until_ready,
)
from tests.rigs.waiting import until
from tests.unit.executors.processes import is_alive

DEADLINE_MS: Final = 3_000
LATE: Final = (504, "deadline-exceeded")
LACKING: Final = [each.missing for each in TRITON if each.missing and place_of(GPU) != "cpu"]
# Device, fault, and the reason that a client is told.
LOSSES: Final = (
    pytest.param("cuda:0", "violate", ASSERTION, id="assertion"),
    pytest.param("cuda:1", "violate", ASSERTION, id="assertion on the second GPU"),
    pytest.param(
        "cuda:0",
        "trespass",
        ILLEGAL,
        id="null pointer",
        marks=pytest.mark.skipif(bool(LACKING), reason="; ".join(LACKING)),
    ),
    pytest.param("cuda:0", "die-9", "its process died", id="SIGKILL"),
)


@pytest.fixture(scope="module")
async def service(cost_model: CostModel, fork_server: ForkServer) -> AsyncIterator[AsyncClient]:
    """One service with two GPUs for most tests; its processes end with it."""
    both = (GPU, SECOND)
    async with service_with_gpus(
        cost_model, fork_server, gpus=both, deadline_ms=DEADLINE_MS
    ) as client:
        await until_ready(client)
        yield client
        await until_ready(client)
        pids = [pid_of(client, each.name) for each in both]
    assert not any(map(is_alive, pids))


@pytest.fixture
async def gpus(service: AsyncClient) -> AsyncClient:
    """A client of it, whose GPUs are ready."""
    await until_ready(service)
    return service


@pytest.fixture
def may_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Event]:
    """Event that each new device process waits for, until the test ends."""
    event, start = asyncio.Event(), DeviceProcess._start_process

    async def start_later(process: DeviceProcess) -> None:
        await event.wait()
        await start(process)

    monkeypatch.setattr(DeviceProcess, "_start_process", start_later)
    yield event
    event.set()


def exhausted(response: httpx.Response, detail: str) -> None:
    """Assert a 503 with Retry-After for a call that memory was short for."""
    assert (response.status_code, response.json()["code"]) == (503, "out-of-memory")
    assert response.json()["detail"] == detail
    assert int(response.headers["Retry-After"]) >= 1


async def test_two_gpus(gpus: AsyncClient) -> None:
    """Each computes calls and rows of races, in a process that uses no other GPU."""
    for device in (GPU, SECOND):
        check(await post(gpus, {**NAMED, "device": device.name}), device.name)
        assert (await memory_of(gpus, device.name))["place"] == place_of(device)
    fields = {"devices": ["cuda:0", "cuda:1", "cpu"], "strategies": ["broadcast", "torch"]}
    rows = (await gpus.post("/matmul/compare", json={**RACE, **fields})).json()["rows"]
    assert len(rows) == 6
    for row in rows:
        assert (row["runs"], row["agrees"], row["max_abs_error"]) == (3, True, 0)


@pytest.mark.parametrize(
    ("act", "detail"),
    [
        ("exhaust", "cuda:0 has not enough memory for the call"),
        ("fill", "this host has not enough memory for the call"),
        ("starve", "cuda:0 has not enough memory for matmul by 'torch'"),
    ],
)
async def test_memory_that_runs_out(gpus: AsyncClient, act: str, detail: str) -> None:
    """Only that call fails; its memory is free again, and the same process goes on."""
    pid, before = pid_of(gpus), await memory_of(gpus)
    async with calls_for(gpus, "cuda:0", "cuda", "cpu", "auto") as found:
        exhausted(await post(gpus, NAMED, act), detail)
        after = await memory_of(gpus)
        calls = found["cuda:0"].total()
        await until(lambda: found["cuda:0"].total() > calls)
    assert after["bytes"] - before["bytes"] < before["total"] / 10
    assert {*found["cuda:0"], *found["cuda"]} == {(200, "cuda:0")}
    assert {*found["cpu"]} == {(200, "cpu")}
    assert {*found["auto"]} <= {(200, "cuda:0"), (200, "cuda:1"), (200, "cpu")}
    assert pid_of(gpus) == pid


async def test_a_device_that_others_have_filled(gpus: AsyncClient) -> None:
    """It works: calls are refused, and its process goes on, whatever asks for a product of 2 x 2.

    That is the readiness probe, and an internal error.
    """
    pid, device = pid_of(gpus), "cuda:0 has not enough memory for matmul by 'torch'"
    async with calls_for(gpus, "cpu", "cuda:1") as found:
        for act in ("occupy", "mine", "stumble", "mine"):
            response = await post(gpus, NAMED, act)
            if act == "stumble":
                assert (response.status_code, response.json()["code"]) == (500, "internal-error")
            else:
                exhausted(response, device)
            ready = (await gpus.get("/health/ready")).json()["devices"]
            assert ready["cuda:0"] is None
        check(await post(gpus, NAMED, "vacate"))
    assert {status for counts in found.values() for status, _ in counts} == {200}
    assert pid_of(gpus) == pid


async def test_an_error_that_passes(gpus: AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """After an internal error the same process goes on, and so does a race."""
    pid = pid_of(gpus)
    headers = {"X-Request-Id": "stumble"}
    fields = {**RACE, "strategies": ["torch"], "precisions": ["ieee"]}
    async with calls_for(gpus, "cuda:0", "cuda", "cpu", "cuda:1") as found:
        response = await post(gpus, NAMED, "stumble")
        assert (response.status_code, response.json()["code"]) == (500, "internal-error")
        with caplog.at_level(logging.ERROR, "service.devices"):
            response = await gpus.post("/matmul/compare", json=fields, headers=headers)
    here, there = response.json()["rows"]
    assert here["agrees"]
    assert "the log of the server has the error" in there["skipped"]
    assert there["precision"] == "ieee"
    headers = {"X-Request-Id": "fill"}
    *_, there = (await gpus.post("/matmul/compare", json=fields, headers=headers)).json()["rows"]
    assert there["skipped"] == "this host has not enough memory for the call"
    (failed,) = [each for each in caplog.records if each.name == "service.devices"]
    assert failed.getMessage() == "matmul by torch on cuda:0 failed"
    assert failed.exc_info is not None
    assert isinstance(failed.exc_info[1], WorkerFaultError)
    assert "in stumble" in failed.exc_info[1].trace
    assert {status for counts in found.values() for status, _ in counts} == {200}
    check(await post(gpus, NAMED))
    assert pid_of(gpus) == pid


async def test_a_call_that_is_late(gpus: AsyncClient) -> None:
    """It gets a 504 in time; its work ends by itself, and the device stays ready."""
    pid = pid_of(gpus)
    async with calls_for(gpus, "cuda:0", "cuda", "cpu", "auto") as found:
        response = await post(gpus, {**NAMED, "deadline_ms": 100}, "wait-700")
        assert (response.status_code, response.json()["code"]) == LATE
        check(await post(gpus, NAMED))
    assert {status for counts in found.values() for status, _ in counts} == {200}
    assert pid_of(gpus) == pid


async def test_a_call_that_holds_the_device(gpus: AsyncClient) -> None:
    """After the server's deadline the process is replaced; calls that wait for it are refused."""
    pid = pid_of(gpus)
    async with calls_for(gpus, "cuda:0", "cuda", "cpu", "cuda:1") as found:
        response = await post(gpus, NAMED, "wait-60000")
        assert (response.status_code, response.json()["code"]) == LATE
        await until(lambda: not is_alive(pid))
        await until_ready(gpus)
        check(await post(gpus, NAMED))
    # A call that was admitted just before may be late before the process is ended.
    assert {*found["cuda:0"], *found["cuda"]} <= {(200, "cuda:0"), UNREADY, LATE}
    assert {*found["cpu"]} == {(200, "cpu")}
    assert {*found["cuda:1"]} == {(200, "cuda:1")}


@pytest.mark.parametrize(("device", "act", "reason"), LOSSES)
async def test_a_device_that_is_lost(
    gpus: AsyncClient,
    caplog: pytest.LogCaptureFixture,
    may_start: asyncio.Event,
    *,
    device: str,
    act: str,
    reason: str,
) -> None:
    """Only it is unready until its process is replaced; `auto` uses other devices meanwhile.

    No result is wrong, and calls for the other devices lose nothing.
    """
    other = "cuda:1" if device == "cuda:0" else "cuda:0"
    named, pids = (
        {**NAMED, "device": device},
        {each: pid_of(gpus, each) for each in (device, other)},
    )
    ends = await ends_of(gpus)
    async with calls_for(gpus, device, other, "cpu", "auto") as found:
        with caplog.at_level(logging.ERROR, "service.devices"):
            response = await post(gpus, named, act)
        refused(response, f"lost during the call: {reason}")
        assert "Compile with" not in response.text
        assert f"{device} is lost" in caplog.text
        refused(await post(gpus, named), "its process is being replaced")
        check(await post(gpus, ANY), other)
        devices = {each["name"]: each for each in (await gpus.get("/devices")).json()["devices"]}
        assert [name for name, each in devices.items() if not each["ready"]] == [device]
        assert "its process is being replaced" in devices[device]["reason"]
        ready = (await gpus.get("/health/ready")).json()["devices"]
        assert {name for name, why in ready.items() if why is None} == {other, "cpu"}
        await until(lambda: found[device][UNREADY])
        may_start.set()
        await until_ready(gpus)
        assert not is_alive(pids[device])
        check(await post(gpus, named), device)
    assert {*found[device]} == {(200, device), UNREADY}
    assert {*found[other]} == {(200, other)}
    assert {*found["cpu"]} == {(200, "cpu")}
    assert {*found["auto"]} <= {(200, "cuda:0"), (200, "cuda:1"), UNREADY}
    assert pid_of(gpus, other) == pids[other]
    assert await ends_of(gpus) == {**ends, device: ends[device] + 1}


async def ends_of(client: AsyncClient) -> dict[str, float]:
    """Return how many processes of each device have ended."""
    text = (await client.get("/metrics")).text
    name = "tensor_service_device_process_exits_total"
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return {line.split('"')[1]: float(line.split()[1]) for line in lines}


async def test_a_device_that_hangs(
    cost_model: CostModel, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The readiness probe detects it; if `auto` means the device, the service is not ready."""
    monkeypatch.setattr("service.executors.device_process.PROBE_MS", 1000)
    async with service_with_gpus(cost_model, fork_server, device="cuda") as client:
        refused(await client.get("/health/ready"), "cuda:0 is not ready")
        await until_ready(client)
        check(await post(client, ANY, "hang"))
        refused(await client.get("/health/ready"), "it did not answer for 1000 ms")
        refused(await post(client, ANY), "cuda:0 is not ready")
        await until_ready(client)
        assert (await client.get("/health/ready")).status_code == 200
        # A device that is lost in a race ends its rows.
        body: dict[str, Any] = {**RACE, "strategies": ["broadcast", "torch"]}
        response = await client.post(
            "/matmul/compare", json=body, headers={"X-Request-Id": "die-9"}
        )
        rows = response.json()["rows"]
        assert [row["device"] for row in rows] == ["cpu", "cuda:0"] * 2
        for row in rows:
            if row["device"] == "cuda:0":
                assert "cuda:0 was lost during the call: its process died" in row["skipped"]
            else:
                assert row["agrees"]
