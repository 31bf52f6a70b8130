"""A service with GPUs, and clients that call several devices at a time and check each answer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from httpx import AsyncClient

from service.api.app import create_app
from service.core.devices import Device
from service.executors import ForkServer
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.apps import app_of, client_of, running
from tests.rigs.device_processes import GPU, MAKE, MEMORY, curves_of
from tests.rigs.waiting import until

# A device process loads CUDA when it starts; one that takes longer has failed.
START_S: Final = 120
# Clients whose calls take longer, all together, are taken to hang.
HANG_S: Final = 180
NAMED: Final[dict[str, Any]] = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]], "device": "cuda"}
ANY: Final = {**NAMED, "device": "auto"}
RESULT: Final = [[19.0, 22.0], [43.0, 50.0]]
# A race of that product.
RACE: Final[dict[str, Any]] = {**NAMED, "devices": ["cpu", "cuda"], "repeat": 3}
# Of an answer: its status, and its device or code.
Counts = Counter[tuple[int, str]]
UNREADY: Final = (503, "device-unready")


@asynccontextmanager
async def service_with_gpus(
    cost_model: CostModel,
    fork_server: ForkServer,
    *,
    gpus: Sequence[Device] = (GPU,),
    device_worker: str = MAKE,
    **settings: object,
) -> AsyncIterator[AsyncClient]:
    """Run a service with these GPUs, whose device processes may not be ready yet."""
    values = Settings.model_validate(settings)
    known = CostModel.from_rows([*cost_model.to_rows(), *curves_of(*gpus)])
    app = create_app(
        values, cost_model=known, fork_server=fork_server, gpus=gpus, device_worker=device_worker
    )
    async with running(app), client_of(app) as client:
        yield client


async def until_ready(client: AsyncClient, *devices: str) -> None:
    """Wait until these devices, or all, are ready."""
    readiness = app_of(client).state.service.engine.planner.devices.readiness
    wanted = devices or ("cuda:0", "cuda:1")
    await until(lambda: not any(map(readiness.reason, wanted)), START_S)


def pid_of(client: AsyncClient, device: str = "cuda:0") -> int:
    """Return the id of the device process."""
    pidfd = app_of(client).state.service.device_processes[device]._worker._pidfd
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pid:")))


async def memory_of(client: AsyncClient, device: str = "cuda:0") -> dict[str, Any]:
    """Return where a device process computes, the bytes that it holds there, and all there are."""
    process = app_of(client).state.service.device_processes[device]
    answer, _ = await process.run(MEMORY, b"", deadline_ms=5_000)
    found: dict[str, Any] = orjson.loads(answer)
    return found


def check(response: httpx.Response, device: str = "cuda:0") -> dict[str, Any]:
    """Assert the small product, computed on a device."""
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["result"]["data"] == RESULT
    assert answer["device"] == device
    assert answer["timing"]["executor"] == ("process" if device != "cpu" else "inline")
    return answer


def refused(response: httpx.Response, detail: str) -> None:
    """Assert a 503 with Retry-After that names the device."""
    assert (response.status_code, response.json()["code"]) == UNREADY
    assert detail in response.json()["detail"]
    assert int(response.headers["Retry-After"]) >= 1


async def post(client: AsyncClient, body: object, act: str = "mine") -> httpx.Response:
    """Send a product; the device process first injects the fault that the request id names."""
    return await client.post("/matmul", json=body, headers={"X-Request-Id": act})


@asynccontextmanager
async def calls_for(client: AsyncClient, *devices: str) -> AsyncIterator[Mapping[str, Counts]]:
    """Have a client for each of these devices send products, and check each result.

    Calls for the first device hold it for a while, so that it is lost during one of them. A device
    may be named twice. TimeoutError if all this takes longer than HANG_S.
    """
    found: dict[str, Counts] = {device: Counter() for device in devices}
    is_over = asyncio.Event()

    async def call(device: str, first: int) -> None:
        for number in count(first, len(devices)):  # in no other product
            body = {"a": [[number, 1], [0, 1]], "b": [[1, 0], [number, 2]], "device": device}
            response = await post(client, body, "wait-20" if device == devices[0] else "mine")
            answer = response.json()
            if response.status_code == 200:
                assert answer["result"]["data"] == [[2 * number, 2], [number, 2]]
            elif response.status_code == 503:
                assert int(response.headers["Retry-After"]) >= 1
            found[device][response.status_code, answer.get("code") or answer["device"]] += 1
            await asyncio.sleep(0.05)
            if is_over.is_set():
                return

    async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as tasks:
        for number, device in enumerate(devices):
            tasks.create_task(call(device, number))
        try:
            await until(lambda: all(found.values()))
            yield found
        finally:
            is_over.set()
