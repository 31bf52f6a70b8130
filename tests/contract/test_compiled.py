"""Compiled strategies over HTTP: where they run, what compiling takes, and where they cannot."""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from random import Random
from time import sleep
from typing import Any, Final

import httpx
import numpy as np
import pytest
import torch
from httpx import AsyncClient

from service.core.call import Tensor
from service.executors import ForkServer
from service.operations import REGISTRY
from service.pipeline.service import WORKER_MODULES
from service.registry import Inferred, Op, Registry
from tests.cases import SLOW, Row, assert_near, from_json
from tests.rigs.apps import Serve, app_of
from tests.rigs.requirements import needs
from tests.rigs.servers import server

SMALL: Final[dict[str, Any]] = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
PRODUCT: Final = [[19.0, 22.0], [43.0, 50.0]]
ABSENT: Final = "needs numba, which is not installed here: pip install 'tensor-service[compiled]'"
NAMES: Final = [
    pytest.param("numba", marks=needs("numba")),
    pytest.param("compile", marks=needs("C++ compiler")),
]


async def post(client: AsyncClient, name: str, **more: Any) -> dict[str, Any]:
    """Return the answer to a product by a strategy."""
    response = await client.post("/matmul", json={**SMALL, "strategy": name, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["strategy"] == name
    return answer


@pytest.fixture
async def mine(serve: Serve) -> AsyncIterator[AsyncClient]:
    """A client of a service with one worker process, which has compiled nothing.

    torch's compiler takes 13 s on an idle host, and as many times longer as others compute there.
    """
    async with serve(processes=1, deadline_ms=120_000) as client:
        yield client


@pytest.mark.parametrize("name", NAMES)
async def test_compiling_is_a_phase_of_its_own(mine: AsyncClient, name: str) -> None:
    """The first call of a process pays it, and the computation is as short as in the next."""
    answers = [await post(mine, name) for _ in range(3)]
    for answer in answers:
        timing = answer["timing"]
        assert answer["result"]["data"] == PRODUCT
        assert timing["executor"] == "process"
        phases = [value for key, value in timing.items() if key.endswith("_ms")]
        assert sum(phases) == pytest.approx(2 * timing["total_ms"], rel=0.05, abs=0.2)
    first, *others = (answer["timing"]["compile_ms"] for answer in answers)
    assert first > 20
    assert others == [0, 0]
    assert answers[0]["timing"]["compute_ms"] < first / 2
    other = (await mine.post("/matmul", json=SMALL)).json()
    assert other["timing"]["compile_ms"] == 0


def compiled_rows() -> list[Row]:
    """The rows of the table that are left out there, since each process would compile anew."""
    return [
        Row(op, name, sample, dtype, "cpu")
        for op in REGISTRY.values()
        for name in op.strategies
        if name in SLOW
        for sample in op.samples
        for dtype in ("float32", "float64", "int64", "complex64", "bfloat16")
    ]


@needs("C++ compiler")
async def test_rows_of_slow_compilers(mine: AsyncClient) -> None:
    """Each result is right, and each call that the strategy does not take is refused."""
    outcomes = Counter[int]()
    for row in compiled_rows():
        response = await mine.post(f"/{row.op.name}", json=row.body())
        answer = response.json()
        outcomes[response.status_code] += 1
        if not row.takes_dtype or row.chosen is None:
            assert response.status_code == 422, (row, answer)
            continue
        assert response.status_code == 200, (row, answer)
        assert answer["strategy"] == row.strategy
        assert answer["result"]["dtype"] == row.result_dtype
        assert_near(from_json(answer["result"]), row.expected(), row.result_dtype)
    assert min(outcomes[200], outcomes[422]) > 20


@needs("C++ compiler")
async def test_compiling_keeps_the_deadline(mine: AsyncClient) -> None:
    """A process that compiles is killed when its call is late; the next one compiles anew."""
    body = {**SMALL, "strategy": "compile", "deadline_ms": 300}
    response = await mine.post("/matmul", json=body)
    assert (response.status_code, response.json()["code"]) == (504, "deadline-exceeded")
    assert (await mine.post("/matmul", json=SMALL)).json()["result"]["data"] == PRODUCT
    assert (await post(mine, "loops"))["result"]["data"] == PRODUCT


@needs("numba")
async def test_steps_of_a_chain_are_compiled(mine: AsyncClient) -> None:
    """In a worker process as a single call is; no step counts the time as its own."""
    square = {"name": "h", "operation": "matmul", "a": SMALL["a"], "b": SMALL["b"]}
    size = {"name": "y", "operation": "norm", "x": {"step": "h"}, "strategy": "numba"}
    answer = (await mine.post("/chain", json={"steps": [square, size]})).json()
    timing = answer["timing"]
    assert answer["results"]["y"]["data"] == pytest.approx(np.linalg.norm(PRODUCT))
    assert timing["executor"] == "process"
    assert timing["compile_ms"] > 20
    assert answer["steps"][1]["strategy"] == "numba"
    assert answer["steps"][1]["compute_ms"] < timing["compile_ms"] / 2


def resident_bytes(client: AsyncClient) -> int:
    """Memory of the one worker process."""
    (worker,) = app_of(client).state.service.worker_pool._idle
    lines = Path(f"/proc/self/fdinfo/{worker._pidfd}").read_text(encoding="ascii").splitlines()
    pid = next(line.split()[1] for line in lines if line.startswith("Pid:"))
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


@pytest.mark.parametrize("name", NAMES)
async def test_no_shape_is_compiled_for(mine: AsyncClient, name: str) -> None:
    """A thousand shapes take neither time to compile nor memory."""
    random = Random(name)
    await post(mine, name)
    before = 0
    for number in range(600):
        if number == 100:
            before = resident_bytes(mine)
        m, k, n = (random.randrange(1, 30) for _ in range(3))
        body = {"a": [[1] * k] * m, "b": [[1] * n] * k}
        answer = await post(mine, name, **body, output="summary")
        assert answer["result"]["summary"]["max"] == k
        assert answer["timing"]["compile_ms"] == 0
    assert resident_bytes(mine) - before < 2**23


@needs("numba")
def test_the_server_loads_no_compiler() -> None:
    """Its libraries take memory in the processes alone that compute with them."""
    with server() as running, httpx.Client(base_url=running.url, timeout=60) as client:
        body = {**SMALL, "strategy": "numba"}
        assert client.post("/matmul", json=body).json()["result"]["data"] == PRODUCT
        steps = [{"name": "c", "operation": "matmul", **SMALL, "strategy": "numba"}]
        answer = client.post("/chain", json={"steps": steps}).json()
        assert answer["results"]["c"]["data"] == PRODUCT
        assert answer["timing"]["executor"] == "process"
        assert answer["timing"]["compile_ms"] == 0, "worker processes have it from the start"
        maps = Path(f"/proc/{running.process.pid}/maps").read_text(encoding="utf-8")
    assert "libtorch" in maps
    assert "llvmlite" not in maps


@needs("numba")
def test_workers_have_numba_from_the_start() -> None:
    """The process that they are forked from has loaded it."""
    fork_server = ForkServer(WORKER_MODULES)
    try:
        fork_server.warm()
        maps = Path(f"/proc/{fork_server.pid}/maps")
        for _ in range(600):
            if "llvmlite" in maps.read_text(encoding="utf-8"):
                break
            sleep(0.1)
        assert "llvmlite" in maps.read_text(encoding="utf-8")
    finally:
        fork_server.close()


@pytest.mark.parametrize("fails", [False, True])
def test_a_compiler_that_cannot_be_preloaded(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes start without it; only what numba compiles is preloaded."""
    compiled = []

    def compile_(inferred: Inferred, operands: Sequence[Tensor]) -> bool:
        compiled.append([x.dtype for x in operands])
        if fails:
            raise OSError("no space left")
        return True

    op: Op[Any] = REGISTRY["matmul"]
    strategies = {
        "numba": replace(op.strategies["numba"], missing=None, compile=compile_),
        "compile": replace(op.strategies["compile"], missing=None, compile=None),
    }
    registry = Registry(replace(op, auto=(), _strategies=strategies), REGISTRY["einsum"])
    monkeypatch.setattr("service.operations.REGISTRY", registry)
    monkeypatch.delitem(sys.modules, "service.operations.preload", raising=False)
    import_module("service.operations.preload")
    monkeypatch.delitem(sys.modules, "service.operations.preload", raising=False)
    assert compiled == [[torch.float32] * 2]


def without_numba() -> Registry:
    """The service's products as they are on a host that has no numba."""
    op: Op[Any] = REGISTRY["matmul"]
    strategies = dict(op.strategies)
    strategies["numba"] = replace(strategies["numba"], missing=ABSENT)
    strategies.pop("compile")
    return Registry(replace(op, _strategies=strategies))


async def test_what_is_absent_is_told(serve: Serve) -> None:
    """It is listed with the reason and the remedy, and planned, raced and called in vain."""
    async with serve(without_numba()) as client:
        (op,) = (await client.get("/strategies")).json()
        (numba,) = (each for each in op["strategies"] if each["name"] == "numba")
        assert (numba["available"], numba["reason"], numba["work_limits"]) == (False, ABSENT, [])
        assert "float32" in numba["dtypes"]["cpu"]
        plan = (await client.post("/matmul/plan", json=SMALL)).json()
        (row,) = (each for each in plan["strategies"] if each["strategy"] == "numba")
        assert (row["available"], row["reason"], row["compile_ms"]) == (False, ABSENT, None)
        race = (await client.post("/matmul/compare", json={**SMALL, "repeat": 1})).json()
        (row,) = (each for each in race["rows"] if each["strategy"] == "numba")
        assert row["skipped"] == ABSENT
        response = await client.post("/matmul", json={**SMALL, "strategy": "numba"})
        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "strategy-unsuitable")
        assert problem["detail"] == f"matmul strategy 'numba' {ABSENT}"
        assert problem["hint"].startswith("these take it: loops, python,")


@needs("numba")
async def test_a_race_tells_the_time_of_compiling(client: AsyncClient) -> None:
    """It stands beside the runs; a strategy that is not compiled has none."""
    body = {**SMALL, "strategies": ["numba", "torch"], "repeat": 3}
    first, second = [
        {
            row["strategy"]: row
            for row in (await client.post("/matmul/compare", json=body)).json()["rows"]
        }
        for _ in range(2)
    ]
    for rows in (first, second):
        assert rows["torch"]["compile_ms"] == 0
        assert rows["numba"]["agrees"]
    assert second["numba"]["compile_ms"] == 0


@needs("numba")
async def test_a_plan_tells_what_the_first_call_paid(mine: AsyncClient) -> None:
    """It has a prior before that."""

    async def planned() -> dict[str, float | None]:
        plan = (await mine.post("/matmul/plan", json=SMALL)).json()
        return {row["strategy"]: row["compile_ms"] for row in plan["strategies"]}

    before = await planned()
    assert before["torch"] == 0
    assert before["numba"] is not None
    answer = (await mine.post("/matmul", json={**SMALL, "strategy": "numba"})).json()
    after = await planned()
    paid = answer["timing"]["compile_ms"]
    assert paid > 0
    assert after["numba"] in {paid, before["numba"]}, "the longest so far"
