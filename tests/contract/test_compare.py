"""Races: every strategy on the same inputs, in one report or as a stream, and what ends them."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf, nan
from pathlib import Path
from statistics import median
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from httpx import AsyncClient

from service import compare
from service.api.app import create_app
from service.api.events import RaceEvents, RaceResponse
from service.codecs import READERS
from service.compare.agreement import Agreement
from service.compare.bench import LocalBench, SkippedError
from service.compare.options import CompareOptions
from service.compare.race import prepare_race
from service.compare.rates import Rates
from service.compare.reference import Basis
from service.compare.report import Host, Report, Row, cpu_name
from service.core.arithmetic import Arithmetic
from service.core.call import Call, Spec, Tensor
from service.core.devices import Device
from service.examples import Example, compare_examples
from service.http.serializers import report_answer, row_answer
from service.operations import REGISTRY
from service.pipeline.dispatch import dispatch, prepare
from service.pipeline.race import RaceRequest
from service.pipeline.request import Negotiated
from service.pipeline.service import Service
from service.planning.cost_model import CostModel
from service.planning.plan import Plan
from service.registry import Op, Registry, Sample, parse_params
from service.settings import Settings
from tests import cases
from tests.cases import SLOW, TOLERANCES, Json
from tests.rigs.apps import Serve, client_of, running
from tests.rigs.event_streams import STREAM, Sse, listening, read_stream
from tests.rigs.gpus import NO_GPU
from tests.rigs.waiting import until

A: Json = [[1, 2, 3], [4, 5, 6]]
B: Json = [[1, 0], [0, 1], [1, 1]]
MATMUL: dict[str, Json] = {"a": A, "b": B, "device": "cpu"}
EXACT: dict[str, Json] = {"dtype": "int64", "rtol": 0, "atol": 0, "device": "cpu"}
RATES = ("gflops", "gb_per_s", "peak_share")
TIMES = ("median_ms", "min_ms", "iqr_ms", "speedup")


async def race(client: AsyncClient, op: str, body: Mapping[str, Json]) -> Json:
    """Run a race and return its report."""
    response = await client.post(f"/{op}/compare", json=dict(body))
    assert response.status_code == 200, response.text
    return response.json()


async def stream(client: AsyncClient, op: str, body: Mapping[str, Json]) -> list[Sse]:
    """Run a race and return its events."""
    response = await client.post(f"/{op}/compare", json=dict(body), headers=STREAM)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    return list(read_stream(response.text))


def ran(report: Json) -> list[Json]:
    """The rows that were not skipped, for want of a need of theirs or for another reason."""
    return [row for row in report["rows"] if "skipped" not in row]


def raced(op: str) -> list[str]:
    """The strategies that race: all that run on one host."""
    return [each.name for each in REGISTRY[op].strategies.values() if each.dtypes or each.cuda]


def ladder(*names: str) -> Op[Any]:
    """Return a matmul with some of its real strategies."""
    op = REGISTRY["matmul"]
    picked = {name: op.strategies[name] for name in names}
    return replace(op, auto=("torch",), _strategies=picked)


def with_strategy(op: Op[Any], name: str, compute: Callable[[Tensor, Tensor], Tensor]) -> Op[Any]:
    """`op`, with a strategy that is not in the registry; its name is measured once for all."""
    torch_ = REGISTRY["matmul"].strategies["torch"]
    compute.__doc__ = compute.__doc__ or "For a test."
    op.strategy(name, adapt=torch_.adapt, work=torch_.work, dtypes=torch_.dtypes)(compute)
    return op


@dataclass
class Gate:
    """A strategy that waits when its first number is 77, so that a race can be met halfway."""

    entered: Event = field(default_factory=Event)
    leave: Event = field(default_factory=Event)
    runs: int = 0

    def compute(self, a: Tensor, b: Tensor) -> Tensor:
        """Waits at most a minute, so that no failure of a test hangs it."""
        if a.numel() and a.flatten()[0] == 77:
            self.runs += 1
            self.entered.set()
            assert self.leave.wait(60)
        return a @ b


GATED: dict[str, Json] = {"a": [[77, 1]], "b": [[1], [1]], "device": "cpu"}


def samples() -> list[object]:
    """Every sample of every operation in three dtypes."""
    return [
        pytest.param(op, sample, dtype, id=f"{op.name}-{sample.name.replace(' ', '_')}-{dtype}")
        for op in REGISTRY.values()
        for sample in op.samples
        for dtype in ("float32", "int64", "complex64")
    ]


@pytest.mark.parametrize(("op", "sample", "dtype"), samples())
async def test_every_strategy_has_its_row(
    client: AsyncClient, op: Op[Any], sample: Sample, dtype: str
) -> None:
    """In the registry's order, it ran and agrees, or was skipped as a plan says."""
    row = cases.Row(op, "auto", sample, dtype, "cpu")
    body = row.body() | {"repeat": 3}
    del body["strategy"]
    response = await client.post(f"/{op.name}/compare", json=body)
    planned = await client.post(f"/{op.name}/plan", json=row.body())
    if not row.takes_dtype:
        assert response.status_code == 422
        assert response.json() | {"instance": ""} == planned.json() | {"instance": ""}
        return
    report, plan = response.json(), planned.json()
    assert response.status_code == 200
    assert report["op"] == op.name
    assert report["shapes"] == [list(shape) for shape in sample.shapes]
    assert report["dtype"] == dtype
    assert report["multiply_adds"] == plan["work"]["multiply_adds"]
    elements = plan["result"]["elements"]
    assert (report["reference"]["checked"], report["reference"]["elements"]) == (elements,) * 2
    strategies = [each for each in plan["strategies"] if each["strategy"] in raced(op.name)]
    assert [(each["strategy"], each["device"]) for each in report["rows"]] == [
        (each["strategy"], each["device"]) for each in strategies
    ]
    ran = [each for each in report["rows"] if "skipped" not in each]
    assert [each["strategy"] for each in ran] == [each for each in row.takers() if each not in SLOW]
    assert report["baseline"] == ran[0]["strategy"]
    for each, strategy in zip(report["rows"], strategies, strict=True):
        assert each["estimated_ms"] == strategy["estimated_ms"]
        if "skipped" in each:
            if strategy["accepted"]:
                assert (each["strategy"] in SLOW, "names it" in each["skipped"]) == (True, True)
            else:
                assert each["skipped"] == strategy["reason"]
            assert not {"runs", *TIMES, *RATES, "agrees", "max_abs_error"} & set(each)
            continue
        assert 1 <= each["runs"] <= 3
        assert (each["gflops"] is None) == (each["peak_share"] is None)
        assert (each["agrees"], each["disagreeing"]) == (True, 0)
        rtol, atol = TOLERANCES.get(row.result_dtype, (0, 0))
        largest = max(1, np.abs(row.expected()).max(initial=0))
        assert each["max_abs_error"] <= atol + rtol * largest
        assert (each["worst"] is None) == (each["max_abs_error"] == 0)


async def test_figures_of_a_report_fit_together(client: AsyncClient) -> None:
    """Minimum, median and spread are ordered, and speed-ups are over the baseline's median."""
    report = await race(client, "matmul", {**MATMUL, "repeat": 7})
    rows = {row["strategy"]: row for row in ran(report)}
    assert report["baseline"] == "loops"
    assert rows["loops"]["speedup"] == 1
    for row in rows.values():
        assert row["runs"] == 7
        assert 0 < row["min_ms"] <= row["median_ms"]
        assert row["iqr_ms"] >= 0
        peak = report["host"]["peaks"][row["device"]]
        # 12 multiply-adds, and 16 numbers of 4 bytes
        assert row["gflops"] == pytest.approx(24e-6 / row["median_ms"], rel=1e-2)
        assert row["gb_per_s"] == pytest.approx(64e-6 / row["median_ms"], rel=1e-2)
        bounds = row["gflops"] / peak["gflops"], row["gb_per_s"] / peak["gb_per_s"]
        assert row["peak_share"] == pytest.approx(max(bounds), rel=1e-4)
        expected = rows["loops"]["median_ms"] / row["median_ms"]
        # times are rounded to a nanosecond, the speed-up is of the unrounded ones
        assert row["speedup"] == pytest.approx(expected, rel=1e-2)


async def test_the_host_is_named(client: AsyncClient, app: FastAPI) -> None:
    """A time means nothing without its machine."""
    host = (await race(client, "matmul", MATMUL))["host"]
    service: Service = app.state.service
    assert host["cpu"]
    assert host["threads"] == service.settings.threads
    assert host["devices"] == [each.name for each in service.engine.planner.devices.members]
    assert host["versions"]["torch"] == torch.__version__
    assert set(host["versions"]) == {"service", "python", "torch", "numpy"}
    peak = host["peaks"]["cpu"]
    assert peak["gflops"] > 0
    assert peak["gb_per_s"] > 0


def test_a_processor_without_a_name_is_called_by_its_kind(tmp_path: Path) -> None:
    """Without a name from Linux, Python's name of the architecture is used."""
    other = cpu_name(tmp_path / "absent")
    assert other
    nameless = tmp_path / "nameless"
    nameless.write_text("processor : 0\n", encoding="utf-8")
    assert cpu_name(nameless) == other
    named = tmp_path / "named"
    named.write_text("processor : 0\nmodel name\t: Abacus 9 \n", encoding="utf-8")
    assert cpu_name(named) == "Abacus 9"


@pytest.mark.parametrize(
    "example", [pytest.param(each, id=f"{each.op}-{each.name}") for each in compare_examples()]
)
async def test_an_example_is_answered_as_it_says(client: AsyncClient, example: Example) -> None:
    """The races of the document run, and have what they say."""
    report = await race(client, example.op, {**example.body, "device": "cpu"})
    assert {key: report[key] for key in example.expected} == example.expected
    here = {*cases.here(REGISTRY["matmul" if example.op == "chain" else example.op])}
    named = {*example.body.get("strategies", here)}
    assert {row["strategy"] for row in ran(report)} >= here & named


async def test_an_overflow_is_loud(client: AsyncClient) -> None:
    """Norms that square [1e20, 1e20] in float32 are infinite; the others agree."""
    report = await race(client, "norm", {"x": [1e20, 1e20], "device": "cpu"})
    agreeing = {row["strategy"] for row in ran(report) if row["agrees"]}
    assert agreeing == {"python", "scaled"}
    for row in ran(report):
        if row["strategy"] not in agreeing:
            assert (row["disagreeing"], row["worst"]) == (1, [])
            assert (row["max_abs_error"], row["max_rel_error"]) == ("Infinity", "Infinity")
        else:
            assert row["disagreeing"] == 0
            assert 0 < row["max_rel_error"] < 1e-6


@pytest.mark.parametrize(
    ("size", "fields"), [(1e200, {}), (1e-200, {"atol": 0}), (1.5e308, {"strategies": ["scaled"]})]
)
async def test_the_reference_is_the_truth(
    client: AsyncClient, size: float, fields: dict[str, Json]
) -> None:
    """In float64 as well: squares that overflow or underflow are wrong, `scaled` alone is right."""
    body = {"x": [size / 2, size / 2], "dtype": "float64", "device": "cpu", **fields}
    report = await race(client, "norm", body)
    assert {row["strategy"] for row in ran(report) if row["agrees"]} == {"scaled"}
    assert report["reference"] == {"method": "exact arithmetic", "checked": 1, "elements": 1}
    for row in ran(report):
        if row["strategy"] == "scaled":
            assert row["max_rel_error"] < 1e-15
            assert row["max_ulp_error"] <= 2
        else:
            assert row["max_rel_error"] in (1, "Infinity")


def fsum(a: Tensor, b: Tensor) -> Tensor:
    """An inner product of three numbers, exact if the products are."""
    if a.shape != (1, 3):
        return a @ b
    return torch.tensor([[math.fsum((a * b.T).flatten().tolist())]], dtype=a.dtype)


async def test_the_exact_strategy_of_a_sum_that_cancels_is_right(serve: Serve) -> None:
    """1e16 + 1 - 1e16 is 1; from left to right it is 0 in float64."""
    op = with_strategy(ladder("loops", "torch"), "fsum", fsum)
    body = {"a": [[1e16, 1, -1e16]], "b": [[1], [1], [1]], "dtype": "float64"}
    async with serve(Registry(op)) as client:
        report = await race(client, "matmul", body)
    rows = {row["strategy"]: row for row in report["rows"]}
    assert (rows["fsum"]["agrees"], rows["fsum"]["max_ulp_error"]) == (True, 0)
    loops = rows["loops"]
    assert (loops["agrees"], loops["max_abs_error"], loops["max_rel_error"]) == (False, 1, 1)
    assert loops["max_ulp_error"] == 2.0**52


async def test_a_rounded_result_is_off_by_half_a_unit(client: AsyncClient) -> None:
    """0.1 * 0.1 in float64 has an error, though no float64 is nearer; medians are beside it."""
    body = {"operands": [[0.1, 0.5], [0.1, 0.5]], "op": "mul", "dtype": "float64"}
    for row in ran(await race(client, "broadcast", {**body, "device": "cpu"})):
        assert row["agrees"]
        assert 0 < row["max_ulp_error"] <= 0.5
        assert 0 < row["max_abs_error"] < 1e-17
        assert row["median_abs_error"] == row["max_abs_error"] / 2
        assert row["median_ulp_error"] == row["max_ulp_error"] / 2
        assert row["median_rel_error"] == row["max_rel_error"] / 2


async def test_a_large_result_is_checked_in_part(client: AsyncClient) -> None:
    """The report says how many elements were checked, and by what."""
    numbers = (np.arange(1200) / 7).tolist()
    body = {"equation": "i,j->ij", "operands": [numbers, numbers], "strategies": ["torch"]}
    report = await race(client, "einsum", {**body, "repeat": 1, "device": "cpu"})
    reference = report["reference"]
    assert (reference["method"], reference["elements"]) == ("exact arithmetic", 1200**2)
    assert 1000 < reference["checked"] < 1200**2
    assert report["rows"][0]["agrees"]


def off_by_one(a: Tensor, b: Tensor) -> Tensor:
    """Wrong in one element of the last row, unless it is alone."""
    c = a @ b
    if c.dim() == 2 and c.shape[1] > 1:
        c[-1, 0] += 1
    return c


@pytest.mark.parametrize("dtype", ["float32", "int64"])
async def test_a_wrong_strategy_is_found(serve: Serve, dtype: str) -> None:
    """It is fast and wrong: the row says in how many elements, where, and by how much."""
    op = with_strategy(ladder("loops", "torch"), "off-by-one", off_by_one)
    async with serve(Registry(op)) as client:
        report = await race(client, "matmul", {**MATMUL, "dtype": dtype})
        lost_signs = {**MATMUL, "dtype": dtype, "rtol": 1e3, "atol": 1e5}
        fooled = await race(client, "matmul", lost_signs)
    right, also_right, wrong = report["rows"]
    assert right["agrees"]
    assert also_right["agrees"]
    assert (wrong["agrees"], wrong["disagreeing"], wrong["worst"]) == (False, 1, [1, 0])
    assert (wrong["max_abs_error"], wrong["max_rel_error"]) == (1, 0.1)
    assert wrong["speedup"] > 0
    assert [row["agrees"] for row in fooled["rows"]] == [True] * 3


def exhausted(a: Tensor, b: Tensor) -> Tensor:
    """Runs out of memory on what no probe is like."""
    if a.shape == (2, 3):
        raise MemoryError
    return a @ b


async def test_a_strategy_out_of_memory_is_skipped(serve: Serve) -> None:
    """Its row has the reason, and the others race on."""
    op = with_strategy(ladder("torch"), "exhausted", exhausted)
    async with serve(Registry(op)) as client:
        report = await race(client, "matmul", MATMUL)
        alone = await race(client, "matmul", MATMUL | {"strategies": ["exhausted"]})
    rows = {row["strategy"]: row for row in report["rows"]}
    assert rows["torch"]["agrees"]
    for row in (rows["exhausted"], *alone["rows"]):
        assert row["skipped"] == "cpu has not enough memory for matmul by 'exhausted'"


def broken(a: Tensor, b: Tensor) -> Tensor:
    """Has a bug with what no probe is like."""
    if a.shape == (2, 3):
        raise RuntimeError("a bug")
    return a @ b


async def test_a_strategy_with_a_bug_ends_the_race(serve: Serve) -> None:
    """It gets the same 500 as a run."""
    op = with_strategy(ladder("torch"), "broken", broken)
    async with serve(Registry(op)) as client:
        response = await client.post("/matmul/compare", json=MATMUL)
        assert (response.status_code, response.json()["code"]) == (500, "internal-error")


async def test_tolerances_decide_what_agrees(client: AsyncClient) -> None:
    """0.1 * 0.1 + 0.2 * 0.2 in float32 is near the result in float64, not equal to it."""
    body = {**MATMUL, "a": [[0.1, 0.2]], "b": [[0.1], [0.2]], "strategies": ["loops"]}
    near = (await race(client, "matmul", body))["rows"][0]
    assert (near["agrees"], near["worst"]) == (True, [0, 0])
    assert 0 < near["max_abs_error"] < 1e-7
    for tolerance, agrees in (
        ({"rtol": 0, "atol": 0}, False),
        ({"rtol": 1e-6, "atol": 0}, True),
        ({"rtol": 0, "atol": 1e-7}, True),
        ({"rtol": 1e-12, "atol": 1e-12}, False),
    ):
        row = (await race(client, "matmul", {**body, **tolerance}))["rows"][0]
        assert (row["agrees"], row["disagreeing"]) == (agrees, 0 if agrees else 1), tolerance


async def test_integers_race_exactly(client: AsyncClient) -> None:
    """Beyond 2^53, where float64 has gaps, an integer result still has no error at all."""
    body = {**EXACT, "a": [[2**61 + 1, 3]], "b": [[1], [1]]}
    rows = ran(await race(client, "matmul", body))
    assert [row["strategy"] for row in rows] == cases.here(REGISTRY["matmul"], "int64")
    for row in rows:
        assert (row["agrees"], row["max_abs_error"], row["worst"]) == (True, 0, None)


async def test_an_off_by_one_beyond_float64_is_found(serve: Serve) -> None:
    """The difference of two integers is taken before it is rounded."""
    op = with_strategy(ladder("torch"), "off-by-one", off_by_one)
    big = {**EXACT, "a": [[2**61]], "b": [[1, 1]]}
    async with serve(Registry(op)) as client:
        right, wrong = (await race(client, "matmul", big))["rows"]
    assert right["agrees"]
    assert (wrong["agrees"], wrong["disagreeing"]) == (False, 1)
    assert (wrong["max_abs_error"], wrong["worst"]) == (1, [0, 0])


@pytest.mark.parametrize(
    ("op", "body", "code"),
    [
        ("matmul", {"a": [[1, 2]], "b": [[1, 2]]}, "shape-mismatch"),
        ("matmul", {"a": [2**62], "b": [2], "dtype": "int64"}, "integer-overflow"),
        ("matmul", {"a": [[1], [1, 2]], "b": [1]}, "ragged-array"),
        ("matmul", {"a": {"shape": [2]}, "b": [1, 2]}, "missing-field"),
        ("matmul", {"a": [1]}, "missing-field"),
        ("matmul", {**MATMUL, "repeats": 3}, "unknown-field"),
        ("einsum", {"equation": "ij>ji", "operands": [A]}, "invalid-equation"),
        ("norm", {"x": [True], "dtype": "bool"}, "dtype-unsupported"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_what_cannot_run_is_a_problem_and_no_stream(
    client: AsyncClient, op: str, body: dict[str, Json], code: str, accept: str
) -> None:
    """Errors before the first run are problem documents, also for a stream."""
    response = await client.post(f"/{op}/compare", json=body, headers={"Accept": accept})
    assert (response.status_code, response.json()["code"]) == (422, code)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"strategies": "torch"}, "invalid-field"),
        ({"strategies": ["torch", 1]}, "invalid-field"),
        ({"strategies": [None]}, "invalid-field"),
        ({"strategies": []}, "invalid-field"),
        ({"devices": []}, "invalid-field"),
        ({"strategies": ["torch"] * 65}, "invalid-field"),
        ({"strategies": ["torch", "tortch"]}, "unknown-strategy"),
        ({"strategies": ["auto"]}, "unknown-strategy"),
        ({"devices": "cpu"}, "invalid-field"),
        ({"devices": [0]}, "invalid-field"),
        ({"devices": ["cpu", "tpu"]}, "device-unavailable"),
        ({"device": "tpu"}, "device-unavailable"),
        ({"baseline": 3}, "invalid-field"),
        ({"baseline": "x" * 65}, "invalid-field"),
        ({"baseline": "loop"}, "unknown-strategy"),
        ({"baseline": "auto"}, "unknown-strategy"),
        ({"baseline": ""}, "unknown-strategy"),
        ({"repeat": 0}, "invalid-field"),
        ({"repeat": 1001}, "invalid-field"),
        ({"repeat": 1.5}, "invalid-field"),
        ({"repeat": True}, "invalid-field"),
        ({"budget_ms": 0}, "invalid-field"),
        ({"budget_ms": 60_001}, "invalid-field"),
        ({"budget_ms": "1"}, "invalid-field"),
        ({"rtol": -1e-9}, "invalid-field"),
        ({"rtol": "1e-3"}, "invalid-field"),
        ({"rtol": []}, "invalid-field"),
        ({"atol": -1}, "invalid-field"),
        ({"atol": True}, "invalid-field"),
        ({"deadline_ms": 0}, "invalid-field"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_option_out_of_range_is_refused(
    client: AsyncClient, fields: dict[str, Json], code: str
) -> None:
    """The problem names the field or the choices."""
    response = await client.post("/matmul/compare", json={**MATMUL, **fields})
    assert (response.status_code, response.json()["code"]) == (422, code)
    (name,) = fields
    if code == "invalid-field":
        assert response.json()["errors"][0]["pointer"].startswith(f"/{name}")
    if code == "unknown-strategy":
        assert "loops, python, elementwise" in response.json()["detail"]


@pytest.mark.parametrize("name", ["strategies", "rtol"])
async def test_an_option_that_is_null_has_its_default(client: AsyncClient, name: str) -> None:
    """All strategies run, and agree although float32 is not exact here."""
    body = {**MATMUL, "a": [[0.1, 0.2]], "b": [[0.1], [0.2]], "atol": 0, "repeat": 1}
    plain, found = [await race(client, "matmul", each) for each in (body, {**body, name: None})]
    assert [row["strategy"] for row in found["rows"]] == [row["strategy"] for row in plain["rows"]]
    agreeing = [row for row in found["rows"] if row.get("agrees")]
    assert any(row["max_abs_error"] > 0 for row in agreeing)
    assert found["baseline"] == plain["baseline"]


async def test_named_strategies_race_in_the_order_of_the_registry(client: AsyncClient) -> None:
    """In any order and repeated, they run slowest first and once."""
    body = {**MATMUL, "strategies": ["torch", "python", "torch", "loops"], "device": "cpu"}
    report = await race(client, "matmul", body)
    assert [row["strategy"] for row in report["rows"]] == ["loops", "python", "torch"]
    assert report["baseline"] == "loops"


async def test_a_named_baseline_runs_too(client: AsyncClient) -> None:
    """It runs beside the named strategies, and speed-ups are relative to it."""
    body = {**MATMUL, "strategies": ["torch"], "baseline": "python", "device": "cpu"}
    report = await race(client, "matmul", body)
    assert [row["strategy"] for row in report["rows"]] == ["python", "torch"]
    assert (report["baseline"], report["rows"][0]["speedup"]) == ("python", 1)
    report = await race(client, "matmul", {**MATMUL, "baseline": "numpy"})
    assert report["baseline"] == "numpy"
    assert report["rows"][0]["speedup"] < report["rows"][-1]["speedup"] == 1


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"], ["cpu", "auto"], ["auto", "auto"]])
async def test_a_device_races_once(client: AsyncClient, app: FastAPI, devices: list[str]) -> None:
    """Also when it is named twice, or by two names."""
    planner = app.state.service.engine.planner
    asked = [device.name for name in devices for device in planner.devices.candidates(name)]
    expected = list(dict.fromkeys(asked))
    body = {**MATMUL, "strategies": ["torch", "numpy"], "devices": devices}
    report = await race(client, "matmul", body)
    pairs = [(row["strategy"], row["device"]) for row in report["rows"]]
    assert pairs == [(name, device) for name in ("torch", "numpy") for device in expected]


@NO_GPU
async def test_a_race_on_a_gpu(client: AsyncClient) -> None:
    """One row for each strategy and device; a GPU has copies beside its runs."""
    body = {**MATMUL, "devices": ["cpu", "cuda"]}
    report = await race(client, "matmul", body)
    assert len(report["rows"]) == 2 * len(raced("matmul"))
    for row in report["rows"]:
        strategy = REGISTRY["matmul"].strategies[row["strategy"]]
        if row["device"] == "cpu":
            assert row.get("agrees", True)
        elif strategy.cuda:
            assert "skipped" in row or (row["agrees"] and row["upload_ms"] > 0)
        else:
            assert row["skipped"] == (strategy.missing or "does not run on cuda")


@pytest.mark.parametrize("repeat", [1, 2, 5, 6, 20])
async def test_repeat_is_the_most_runs(client: AsyncClient, repeat: int) -> None:
    """Within the time budget, all of them are made."""
    body = {**MATMUL, "strategies": ["torch", "numpy"], "repeat": repeat, "budget_ms": 60_000}
    report = await race(client, "matmul", body)
    assert [row["runs"] for row in report["rows"]] == [repeat] * len(report["rows"])


async def test_each_strategy_runs_though_the_budget_is_spent(client: AsyncClient) -> None:
    """A millisecond for eight strategies leaves the slow ones a single run."""
    rows = np.ones((16, 16)).tolist()
    report = await race(
        client, "matmul", {**MATMUL, "a": rows, "b": rows, "budget_ms": 1, "repeat": 1000}
    )
    runs = {row["strategy"]: row["runs"] for row in ran(report)}
    assert runs["loops"] == 1
    assert all(1 <= count < 1000 for count in runs.values())


async def test_strategies_over_the_deadline_are_skipped(client: AsyncClient) -> None:
    """With the estimate and the reason that a run would be refused with; the others race."""
    ones = np.ones((64, 64)).tolist()
    body = {"a": ones, "b": ones, "deadline_ms": 60, "device": "cpu", "repeat": 2}
    report = await race(client, "matmul", body)
    rows = {row["strategy"]: row for row in report["rows"]}
    assert list(rows) == raced("matmul")
    refused = await client.post("/matmul", json=body_of_run(body, "loops"))
    assert rows["loops"]["skipped"] == refused.json()["detail"]
    assert rows["loops"]["estimated_ms"] > 60
    assert "runs" not in rows["loops"]
    assert rows["torch"]["agrees"]
    assert report["baseline"] != "loops"
    assert rows[report["baseline"]]["speedup"] == 1


def body_of_run(body: dict[str, Json], strategy: str) -> dict[str, Json]:
    """Return the request that runs one strategy of a race."""
    operation = {key: value for key, value in body.items() if key != "repeat"}
    return {**operation, "strategy": strategy}


async def test_all_strategies_together_keep_within_the_deadline(
    client: AsyncClient, app: FastAPI
) -> None:
    """Quick ones come first; what is left is too short for a slow one that would do alone."""
    planner, op = app.state.service.engine.planner, REGISTRY["matmul"]
    (cpu,) = planner.devices.candidates("cpu")

    def costs_ns(size: int) -> dict[str, int]:
        meaning = op.infer_sample(Sample("", ((size, size),) * 2), torch.float32)
        return {
            name: planner.cost_model.estimate_ns(strategy, cpu, meaning)
            for name, strategy in op.strategies.items()
            if strategy.dtypes_on("cpu")
        }

    def deadline_ms(costs: dict[str, int]) -> int:
        return costs["loops"] // 1_000_000 + 1  # enough for it alone

    size = next(
        n for n in range(8, 60) if sum(costs_ns(n).values()) > 1e6 * deadline_ms(costs_ns(n))
    )
    costs = costs_ns(size)
    assert max(costs.values()) == costs["loops"]
    ones = np.ones((size, size)).tolist()
    body = {"a": ones, "b": ones, "deadline_ms": deadline_ms(costs), "device": "cpu"}
    report = await race(client, "matmul", body)
    rows = {row["strategy"]: row for row in report["rows"]}
    assert "the deadline leaves" in rows["loops"]["skipped"]
    assert rows["loops"]["estimated_ms"] == pytest.approx(costs["loops"] / 1e6)
    kept = await race(client, "matmul", {**body, "baseline": "loops"})
    rows = {row["strategy"]: row for row in kept["rows"]}
    assert (kept["baseline"], rows["loops"]["speedup"]) == ("loops", 1)
    assert any("the deadline leaves" in row.get("skipped", "") for row in rows.values())


async def test_a_baseline_that_is_not_admitted_is_not_dropped(client: AsyncClient) -> None:
    """It keeps its row with the reason, stays the baseline, and no speed-up is made up."""
    ones = np.ones((128, 128)).tolist()
    body = {"a": ones, "b": ones, "deadline_ms": 100, "baseline": "loops", "device": "cpu"}
    report = await race(client, "matmul", {**body, "strategies": ["torch"], "repeat": 1})
    loops, torch_ = report["rows"]
    assert (report["baseline"], loops["strategy"]) == ("loops", "loops")
    assert "would take about" in loops["skipped"]
    assert (torch_["runs"], torch_["speedup"]) == (1, None)


async def test_a_race_without_strategies_is_a_report(client: AsyncClient) -> None:
    """All are skipped: there is no baseline, and nothing was computed for a reference either."""
    body = {"x": [1.0, 2.0], "ord": 0, "strategies": ["loops", "einsum"], "device": "cpu"}
    report = await race(client, "norm", body)
    assert report["baseline"] is None
    assert all(row["skipped"].startswith("does not take ord 0") for row in report["rows"])
    events = await stream(client, "norm", body)
    assert [each.event for each in events] == ["row", "row", "report"]
    assert events[-1].data == report


async def test_a_stream_has_a_row_for_each_strategy_then_the_report(client: AsyncClient) -> None:
    """Each row is sent once, when its strategy has run; the report repeats them in order."""
    x = {"x": [[3, 4], [6, 8]], "ord": 0, "dim": 1, "device": "cpu"}
    for op, body in (("matmul", {**MATMUL, "device": "cpu"}), ("norm", x)):
        *rows, last = await stream(client, op, body)
        assert (last.event, {each.event for each in rows}) == ("report", {"row"})
        names = [each.data["strategy"] for each in rows]
        assert sorted(names) == sorted(raced(op))
        assert [row["strategy"] for row in last.data["rows"]] == raced(op)
        reported = {row["strategy"]: row for row in last.data["rows"]}
        for each in rows:
            row = reported[each.data["strategy"]]
            if "skipped" not in row:
                assert each.data["speedup"] is None  # the baseline may not have run yet
            assert each.data | {"speedup": 0} == row | {"speedup": 0}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/*", "text/event-stream"),
        ("text/event-stream;q=0.4, application/json;q=0.5", "application/json"),
        ("text/event-stream;q=0.6, application/json;q=0.5", "text/event-stream"),
        ("text/event-stream, application/json", "application/json"),
        ("text/html, */*;q=0.1, application/json;q=0", "text/event-stream"),
    ],
)
async def test_accept_chooses_between_report_and_stream(
    client: AsyncClient, accept: str | None, kind: str
) -> None:
    """The highest quality wins; the report wins a tie."""
    headers = {} if accept is None else {"Accept": accept}
    body = {**MATMUL, "strategies": ["torch"], "repeat": 1}
    response = await client.post("/matmul/compare", json=body, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == kind


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream;q=0", "application/x-npy"])
async def test_other_formats_are_not_written(client: AsyncClient, accept: str) -> None:
    """406 lists the two that are."""
    response = await client.post("/matmul/compare", json=MATMUL, headers={"Accept": accept})
    assert (response.status_code, response.json()["code"]) == (406, "not-acceptable")
    assert "application/json, text/event-stream" in response.json()["detail"]


async def test_what_goes_wrong_in_a_stream_is_its_last_event(client: AsyncClient) -> None:
    """Singular values of NaN do not exist: the report is the problem's document in both forms."""
    body = {"x": [["NaN", 1], [2, 3]], "ord": "nuc"}
    plain = await client.post("/norm/compare", json=body)
    assert (plain.status_code, plain.json()["code"]) == (422, "value-out-of-range")
    *rows, last = await stream(client, "norm", body)
    assert {each.event for each in rows} == {"row"}
    assert last.event == "problem"
    assert last.data | {"instance": ""} == plain.json() | {"instance": ""}


@asynccontextmanager
async def gated(cost_model: CostModel, **settings: object) -> AsyncIterator[tuple[FastAPI, Gate]]:
    """Run a service with a strategy that waits at a gate."""
    gate = Gate()

    def gated(a: Tensor, b: Tensor) -> Tensor:
        """Waits."""
        return gate.compute(a, b)

    op = with_strategy(ladder("torch"), "gated", gated)
    # To measure other dtypes would take the thread of the races.
    values = Settings.model_validate({"calibrate": False} | settings)
    app = create_app(values, registry=Registry(op), cost_model=cost_model)
    async with running(app):
        try:
            yield app, gate
        finally:
            gate.leave.set()


@pytest.mark.parametrize("headers", [{}, STREAM])
async def test_other_calls_are_served_while_races_wait(
    cost_model: CostModel, headers: dict[str, str]
) -> None:
    """One race at a time, so that none measures another; runs, plans and health go on."""
    async with gated(cost_model) as (app, gate), client_of(app) as client:
        races = app.state.service.race_threads
        body = {**GATED, "repeat": 1}
        first = asyncio.create_task(client.post("/matmul/compare", json=body, headers=headers))
        await until(gate.entered.is_set)
        second = asyncio.create_task(client.post("/matmul/compare", json=body, headers=headers))
        await until(lambda: races.active_calls == 2)
        assert (await client.post("/matmul", json=MATMUL)).status_code == 200
        assert (await client.post("/matmul/plan", json=MATMUL)).status_code == 200
        assert (await client.get("/health/live")).status_code == 200
        assert not first.done()
        assert not second.done()
        assert gate.runs == 1
        gate.leave.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]
        await until(lambda: races.active_calls == 0)


@pytest.mark.parametrize("headers", [{}, STREAM])
async def test_without_room_a_race_is_told_to_come_again(
    cost_model: CostModel, headers: dict[str, str]
) -> None:
    """503 is a plain problem document with Retry-After, for a stream too."""
    async with gated(cost_model, queue=0) as (app, gate), client_of(app) as client:
        first = asyncio.create_task(client.post("/matmul/compare", json=GATED, headers=headers))
        await until(gate.entered.is_set)
        refused = await client.post("/matmul/compare", json=MATMUL, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        gate.leave.set()
        assert (await first).status_code == 200


async def test_a_client_that_goes_away_ends_the_race(cost_model: CostModel) -> None:
    """The run under way is the last one, and the executor is free."""
    async with gated(cost_model) as (app, gate), listening(app) as url:
        races = app.state.service.race_threads
        body = {**GATED, "repeat": 1000, "budget_ms": 60_000, "strategies": ["gated"]}
        async with (
            AsyncClient(base_url=url) as client,
            client.stream("POST", "/matmul/compare", json=body, headers=STREAM) as response,
        ):
            assert response.status_code == 200
            await asyncio.to_thread(gate.entered.wait, 20)
            assert races.active_calls == 1
        # A second one, which waited and left, gives its place back before the first has ended.
        async with (
            AsyncClient(base_url=url) as client,
            client.stream("POST", "/matmul/compare", json=body, headers=STREAM),
        ):
            assert races.active_calls == 2
        await until(lambda: races.active_calls == 1)
        gate.leave.set()
        await until(lambda: races.active_calls == 0)
        assert gate.runs == 1


async def test_comments_are_sent_during_a_long_run(cost_model: CostModel) -> None:
    """Comments keep the connection open, and a reader of events skips them."""
    async with gated(cost_model) as (app, gate):
        service: Service = app.state.service
        op, reader = service.engine.registry["matmul"], READERS["application/json"]
        race = RaceRequest(Negotiated(service, op, reader), "mine")
        race.start(json.dumps({**GATED, "repeat": 1}).encode(), b"")
        await prepare(race)
        events = RaceEvents("mine", ping_s=0.01)
        race.emit = events.emit_row
        racing = asyncio.ensure_future(dispatch(race))
        response = await events.response(racing, at_once=True)
        assert isinstance(response, RaceResponse)
        parts: list[str] = []
        async for part in response.body_iterator:
            assert isinstance(part, bytes)
            parts.append(part.decode())
            if len(parts) == 2:
                gate.leave.set()
    found = list(read_stream("".join(parts)))
    pings = [each for each in found if each.comments]
    assert len(pings) >= 2
    assert all((each.comments, each.data) == (["racing"], None) for each in pings)
    assert [each.event for each in found if not each.comments] == ["row", "row", "report"]


def entered(app: FastAPI, options: CompareOptions, **fields: Any) -> compare.Race:
    """A race of two small matrices that may begin."""
    service: Service = app.state.service
    operands = (torch.tensor(A, dtype=torch.float32), torch.tensor(B, dtype=torch.float32))
    call = Call("matmul", operands, {}, device="cpu", **fields)
    return compare.prepare_race(service.engine, call, options)


def test_a_report_has_the_rows_of_its_race(app: FastAPI) -> None:
    """Their times are of the runs."""
    race = entered(app, CompareOptions(repeat=6))
    rows = list(race.run())
    report = race.report(rows)
    assert sorted(map(id, rows)) == sorted(map(id, report.rows))
    assert len(rows) == len(race.entries)
    for row in (each for each in report.rows if each.skipped is None):
        assert len(row.times_ns) == 6
        assert row.median_ns == median(row.times_ns)
        assert row.agreement == Agreement(0, 0, 0, None, basis=Basis("exact arithmetic", 4, 4))


def traced(cost_model: CostModel, runs: list[str]) -> FastAPI:
    """An app with two strategies that write down each of their runs."""

    def writing(name: str) -> Callable[[Tensor, Tensor], Tensor]:
        def compute(a: Tensor, b: Tensor) -> Tensor:
            runs.append(name)
            return a @ b

        return compute

    op = ladder("torch")
    for name in ("first", "second"):
        op = with_strategy(op, name, writing(name))
    return create_app(Settings(), registry=Registry(op), cost_model=cost_model)


@pytest.mark.parametrize(
    ("enough", "made"), [(0, 0), (1, 2), (2, 2), (3, 3), (4, 4), (7, 7), (8, 8), (13, 13)]
)
def test_a_race_ends_when_it_is_told_to(cost_model: CostModel, enough: int, made: int) -> None:
    """It ends after the run or warm-up under way, and makes no row."""
    runs: list[str] = []
    options = CompareOptions(repeat=1000, budget_ms=60_000, strategies=("first", "second"))
    race = entered(traced(cost_model, runs), options)
    assert list(race.run(stop=lambda: len(runs) >= enough)) == []
    assert len(runs) == made


def test_strategies_run_in_rounds(cost_model: CostModel) -> None:
    """Each runs once a round, so that a disturbance affects all of them."""
    runs: list[str] = []
    options = CompareOptions(repeat=12, budget_ms=60_000, strategies=("first", "second"))
    race = entered(traced(cost_model, runs), options)
    report = race.report(race.run())
    warm_up, rounds = runs[:2], runs[2:]
    assert warm_up == ["first", "second"]
    expected = []
    for length in (5, 5, 2):
        expected += ["first"] * length + ["second"] * length
    assert rounds == expected
    assert [len(row.times_ns) for row in report.rows] == [12, 12]


def test_a_long_run_is_not_warmed_up(app: FastAPI) -> None:
    """A strategy with a long estimate runs `repeat` times, no more."""
    race = entered(app, CompareOptions(repeat=1, strategies=("torch",)))
    (plan,) = race.entries
    assert isinstance(plan, Plan)
    runs: list[int] = []

    def adapt(compute: Any, meaning: Any, operands: Any) -> Tensor:
        runs.append(1)
        return plan.strategy.run(meaning, operands)

    slow = replace(plan, strategy=replace(plan.strategy, adapt=adapt), estimated_ns=10**9)
    (row,) = replace(race, entries=(slow,)).run()
    assert (len(runs), len(row.times_ns)) == (1, 1)


@pytest.mark.parametrize("act", ["warm_up", "run", "results"])
def test_a_strategy_that_cannot_go_on(app: FastAPI, act: str) -> None:
    """Its row has the reason, and the others race on."""
    race = entered(app, CompareOptions(repeat=2, strategies=("broadcast", "torch")))
    first, second = race.entries
    assert isinstance(first, Plan)
    away = replace(first, device=replace(first.device, name="cuda:0", has_process=True))

    class Failing(LocalBench):
        """A bench that fails in one act."""

        def __getattribute__(self, name: str) -> Any:
            if name == act:
                raise SkippedError("it died")
            return super().__getattribute__(name)

    def bench_of(device: Device) -> LocalBench:
        assert device.name == "cuda:0"
        return Failing(first.device, race.call.operands)

    rows = list(replace(race, entries=(away, second)).run(bench_of=bench_of))
    found = {row.device: (row.strategy, row.skipped, len(row.times_ns)) for row in rows}
    assert found == {"cuda:0": ("broadcast", "it died", 0), "cpu": ("torch", None, 2)}


def test_compiling_is_no_part_of_a_run(app: FastAPI) -> None:
    """It is done once, before the runs, and has a time of its own in the row."""
    race = entered(app, CompareOptions(repeat=2, strategies=("torch",)))
    (plan,) = race.entries
    assert isinstance(plan, Plan)
    compiled: list[int] = []

    def compile_once(inferred: Any, operands: Any) -> bool:
        if compiled:
            return False
        sleep(0.05)
        compiled.append(1)
        return True

    strategy = replace(plan.strategy, compile=compile_once)
    compiling = replace(race, entries=(replace(plan, strategy=strategy),))
    (row,) = compiling.run()
    assert row.compile_ns >= 50_000_000
    assert max(row.times_ns) < row.compile_ns
    assert row_answer(row).compile_ms == row.compile_ns / 1e6
    (row,) = compiling.run()
    assert row.compile_ns == 0, "it is compiled already"
    (row,) = race.run()
    assert (row.compile_ns, row_answer(row).compile_ms) == (0, 0)


def test_what_is_compiled_races_after_the_rest(cost_model: CostModel) -> None:
    """No other row waits until it is compiled."""
    runs: list[str] = []
    race = entered(
        traced(cost_model, runs), CompareOptions(repeat=2, strategies=("first", "second"))
    )
    first, second = race.entries
    assert isinstance(first, Plan)

    def compile_first(inferred: Any, operands: Any) -> bool:
        runs.append("compiled")
        return True

    strategy = replace(first.strategy, compile=compile_first)
    rows = replace(race, entries=(replace(first, strategy=strategy), second)).run()
    assert next(rows).strategy == "second"
    assert "compiled" not in runs
    assert next(rows).strategy == "first"
    assert "compiled" in runs


async def test_what_takes_long_to_compile_has_to_be_named(client: AsyncClient) -> None:
    """A race of all strategies does not wait for torch's compiler; the row says how it races."""
    body = {"a": [[1, 2], [3, 4]], "b": [[1, 2], [3, 4]], "repeat": 1}
    report = (await client.post("/matmul/compare", json=body)).json()
    rows = {row["strategy"]: row for row in report["rows"]}
    reason = rows["compile"]["skipped"]
    if REGISTRY["matmul"].strategies["compile"].missing is None:
        assert "s to compile in a new process; it races if strategies names it" in reason
    assert rows["torch"]["median_ms"] > 0


def test_compiling_counts_against_the_deadline(app: FastAPI) -> None:
    """A strategy whose compilation leaves no time is skipped, though its runs would be short."""
    strategy = REGISTRY["matmul"].strategies["torch"]
    compiled = replace(strategy, compile=lambda inferred, operands: True)
    op = replace(REGISTRY["matmul"], auto=("torch",), _strategies={"torch": compiled})
    engine = replace(app.state.service.engine, registry=Registry(op))
    options = CompareOptions(strategies=("torch",))
    call = Call("matmul", (torch.ones(2, 2), torch.ones(2, 2)), {}, deadline_ms=1000)
    (row,) = prepare_race(engine, call, options).entries
    assert isinstance(row, Row)
    assert "would take about 2.0" in str(row.skipped), row.skipped
    (plan,) = prepare_race(engine, replace(call, deadline_ms=5000), options).entries
    assert isinstance(plan, Plan)


def test_the_budget_keeps_within_the_deadline(app: FastAPI) -> None:
    """A minute's budget in a call of a second is a second."""
    race = entered(app, CompareOptions(budget_ms=60_000, strategies=("torch",)), deadline_ms=1000)
    (entrant,) = race._strategy_runs()
    assert entrant.share_ns == 1_000_000_000


def test_options_take_the_defaults_of_the_contract() -> None:
    """20 runs, a second, rtol 1e-3 and atol 1e-5; all strategies on the request's device."""
    defaults = CompareOptions.of(parse_params(compare.PARAMS, {}))
    assert defaults == CompareOptions(None, None, None, 20, 1000, 1e-3, 1e-5)
    parsed = parse_params(compare.PARAMS, {"strategies": ["b", "a", "b"], "rtol": 0})
    assert CompareOptions.of(parsed) == CompareOptions(strategies=("b", "a"), rtol=0)


def row_of(strategy: str, *times_ns: int, device: str = "cpu") -> Row:
    """Return the row of a strategy with these run times."""
    skipped = None if times_ns else "for a reason"
    found = Agreement(0, 0, 0, None) if times_ns else None
    return Row(strategy, device, 1000, times_ns, found, skipped)


def report_of(*rows: Row, baseline: str | None) -> Report:
    """A report of those rows."""
    specs = (Spec((2,), torch.float32),)
    return Report("norm", specs, 2, baseline, Host("cpu", 1, ("cpu",), {}), rows)


def test_a_row_has_a_median_and_a_middle_half() -> None:
    """A single slow run hardly changes them."""
    row = row_of("a", 10, 20, 30, 40, 1000)
    assert (row.median_ns, row.iqr_ns) == (30, 20)
    assert (row_of("a", 7).median_ns, row_of("a", 7).iqr_ns) == (7, 0)


def test_a_speedup_is_over_the_baseline_that_ran() -> None:
    """On any device; without a baseline, and for skipped strategies, there is none."""
    slow, quick = row_of("slow", 100, 200, 300), row_of("quick", 50)
    skipped = row_of("skipped")
    report = report_of(slow, quick, skipped, baseline="slow")
    assert [report.speedup(row) for row in report.rows] == [1, 4, None]
    report = report_of(row_of("slow", device="cuda:0"), slow, quick, baseline="slow")
    assert [report.speedup(row) for row in report.rows] == [None, 1, 4]
    for baseline in ("skipped", "absent", None):
        report = report_of(slow, quick, skipped, baseline=baseline)
        assert [report.speedup(row) for row in report.rows] == [None] * 3


def test_an_answer_has_milliseconds_and_words_for_infinities() -> None:
    """Nanoseconds are whole, so six digits lose none; JSON has no infinity."""
    found = Agreement(inf, nan, 3, (0, 2), 4.5, 1e-7, inf, 0.25, Basis("sums", 2, 6))
    rates = Rates(1 / 3, 2e-7, None)
    row = replace(
        row_of("a", 1_234_567),
        agreement=found,
        rates=rates,
        compile_ns=3_500_000,
        upload_ns=250_000,
        download_ns=125_000,
    )
    answer = row_answer(row, 2.5).model_dump(exclude_unset=True)
    assert answer == {
        "strategy": "a",
        "device": "cpu",
        "estimated_ms": 0.001,
        "runs": 1,
        "median_ms": 1.234567,
        "min_ms": 1.234567,
        "iqr_ms": 0,
        "compile_ms": 3.5,
        "upload_ms": 0.25,
        "download_ms": 0.125,
        "speedup": 2.5,
        "max_abs_error": "Infinity",
        "median_abs_error": 1e-7,
        "max_rel_error": "Infinity",
        "median_rel_error": "Infinity",
        "max_ulp_error": 4.5,
        "median_ulp_error": 0.25,
        "agrees": False,
        "disagreeing": 3,
        "worst": [0, 2],
        "gflops": 0.333333,
        "gb_per_s": 2e-7,
        "peak_share": None,
    }
    unknown = Row("b", "cpu", None, skipped="does not take it")
    whole = report_answer(report_of(row, unknown, baseline="a")).model_dump(exclude_unset=True)
    assert whole["rows"] == [
        answer | {"speedup": 1},
        {"strategy": "b", "device": "cpu", "estimated_ms": None, "skipped": "does not take it"},
    ]
    assert (whole["shapes"], whole["dtype"], whole["baseline"]) == ([[2]], "float32", "a")
    assert whole["reference"] == {"method": "sums", "checked": 2, "elements": 6}
    asked = replace(unknown, arithmetic=Arithmetic("tf32"))
    assert row_answer(asked).model_dump(exclude_unset=True)["precision"] == "tf32"
    view = row_answer(replace(row, rates=None)).model_dump(exclude_unset=True)
    assert [view[name] for name in RATES] == [None] * 3
    none_ran = report_answer(report_of(unknown, baseline=None)).model_dump(exclude_unset=True)
    assert none_ran["reference"] is None
