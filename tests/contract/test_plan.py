"""Plans agree with the runs that follow, and compute nothing."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from httpx import AsyncClient
from torch.overrides import TorchFunctionMode

from service.core.dtypes import DTYPES
from service.examples import Example, plan_examples
from service.operations import REGISTRY
from service.registry import ErrorSample, Op, Registry, Sample
from tests.cases import SLOW, Json, Row, assert_near, error_samples, from_json, named, to_json
from tests.rigs.apps import Serve

COMPUTED = ("float32", "int64", "complex64")
HUGE = 2**62


def samples(*dtypes: str) -> list[object]:
    """Every sample of every operation, left to `auto`, on the CPU."""
    rows = (
        Row(op, "auto", sample, dtype, "cpu")
        for op in REGISTRY.values()
        for sample in op.samples
        for dtype in dtypes
    )
    return [pytest.param(row, id=row.name) for row in rows]


def operand_specs(
    op: Op[Any], sample: Sample | ErrorSample, dtype: str, **fields: Json
) -> dict[str, Json]:
    """The request of a sample with shapes alone."""
    tensors: list[Json] = [{"shape": list(shape), "dtype": dtype} for shape in sample.shapes]
    return {**named(op, tensors), **sample.params, **fields}


async def plan(client: AsyncClient, op: str, body: dict[str, Json]) -> Json:
    """Send a plan and return it."""
    response = await client.post(f"/{op}/plan", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def problem(document: Json) -> Json:
    """A problem document without what is different in each."""
    return {key: value for key, value in document.items() if key != "instance"}


@pytest.mark.parametrize("row", samples(*COMPUTED, "bool"))
async def test_shapes_alone_give_what_the_run_then_has(client: AsyncClient, row: Row) -> None:
    """Shape, dtype, strategy, device and alignment are those of the run, or the same problem is."""
    planned = await client.post(
        f"/{row.op.name}/plan", json=operand_specs(row.op, row.sample, row.dtype, device="cpu")
    )
    run = await client.post(f"/{row.op.name}", json=row.body())
    if not row.takes_dtype:
        assert (planned.status_code, run.status_code) == (422, 422)
        assert problem(planned.json()) == problem(run.json())
        return
    found, answer = planned.json(), run.json()
    result = answer["result"]
    size = DTYPES[result["dtype"]].itemsize
    assert found["op"] == row.op.name
    assert (found["accepted"], found["reason"], run.status_code) == (True, None, 200)
    assert found["result"] == {
        "shape": result["shape"],
        "dtype": result["dtype"],
        "elements": prod(result["shape"]),
        "bytes": prod(result["shape"]) * size,
    }
    assert (found["strategy"], found["device"]) == (answer["strategy"], answer["device"])
    assert found.get("broadcast") == answer.get("broadcast")
    assert ("path" in found) == (row.op.name == "einsum")


@pytest.mark.parametrize("row", samples("float32"))
async def test_multiply_adds_follow_the_contract(client: AsyncClient, row: Row) -> None:
    """They are counted from the shapes by each operation's own rule."""
    found = await plan(client, row.op.name, operand_specs(row.op, row.sample, row.dtype))
    elements = prod(found["result"]["shape"])
    expected = {
        "matmul": elements * row.sample.shapes[0][-1:][0] if row.sample.shapes[0] else 0,
        "einsum": sum(step["multiply_adds"] for step in found.get("path", [])),
        "norm": prod(row.sample.shapes[0]),
        "broadcast": elements,
    }
    work = found["work"]
    assert work["multiply_adds"] == expected[row.op.name]
    stored = sum(prod(shape) for shape in row.sample.shapes)
    assert work["peak_bytes"] == found["result"]["bytes"] + 4 * (stored + work["peak_elements"])


@pytest.mark.parametrize("sample", REGISTRY["einsum"].samples, ids=lambda sample: sample.name)
async def test_an_einsum_path_can_be_walked(client: AsyncClient, sample: Sample) -> None:
    """numpy, led along the steps, meets their shapes, counts their work, and ends in the result."""
    row = Row(REGISTRY["einsum"], "auto", sample, "float64", "cpu")
    found = await plan(client, "einsum", operand_specs(row.op, row.sample, row.dtype))
    left = row.operands()
    for step in found["path"]:
        taken = [left[position] for position in step["positions"]]
        left = [x for position, x in enumerate(left) if position not in step["positions"]]
        sizes: dict[str, int] = {}
        terms = step["equation"].partition("->")[0].split(",")
        for term, x in zip(terms, taken, strict=True):
            for letter, size in zip(term, x.shape, strict=True):
                sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
        assert step["multiply_adds"] == prod(sizes.values())
        left.append(np.asarray(np.einsum(step["equation"], *taken)))
        assert step["shape"] == list(left[-1].shape)
    (result,) = left
    assert_near(result, row.expected(), "float64")


@pytest.mark.parametrize("row", samples(*COMPUTED))
async def test_the_line_of_torch_does_the_same(client: AsyncClient, row: Row) -> None:
    """`reproduce`, executed, gives the result of the run, dtype and shape included."""
    if not row.takes_dtype:
        return
    found = await plan(client, row.op.name, operand_specs(row.op, row.sample, row.dtype))
    tensors = [torch.as_tensor(x).to(DTYPES[row.dtype].torch) for x in row.operands()]
    names = row.op.operands or [f"x{number}" for number in range(len(tensors))]
    line = found["reproduce"]
    assert "\n" not in line
    result = eval(
        line, {"torch": torch}, dict(zip(names, tensors, strict=True))
    )  # a line of our own
    run = (await client.post(f"/{row.op.name}", json=row.body())).json()["result"]
    assert result.dtype == DTYPES[run["dtype"]].torch, line
    assert_near(result.numpy(), from_json(run), run["dtype"])


@pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in REGISTRY.items()])
async def test_strategies_are_those_of_the_registry(
    client: AsyncClient, app: FastAPI, op: Op[Any]
) -> None:
    """One row for each strategy and device, slowest first, with an estimate where it takes it."""
    devices = app.state.service.engine.planner.devices
    kinds = {each.name: each.kind for each in devices.members}
    for sample in op.samples:
        found = await plan(client, op.name, operand_specs(op, sample, "float32"))
        meaning = op.infer_sample(sample, torch.float32)
        expected = [(name, device) for name in op.strategies for device in kinds]
        assert [(each["strategy"], each["device"]) for each in found["strategies"]] == expected
        for each in found["strategies"]:
            strategy, kind = op.strategies[each["strategy"]], kinds[each["device"]]
            reason = strategy.unsuitable(meaning, kind, devices.absent)
            assert each["reason"] == reason
            assert each["available"] == each["accepted"] == (reason is None)
            assert (each["estimated_ms"] is None) == (reason is not None)
            assert reason is not None or each["estimated_ms"] >= 0


@pytest.mark.parametrize(
    ("op", "strategy"),
    [
        pytest.param(op, strategy, id=f"{op.name}-{strategy}")
        for op in REGISTRY.values()
        for strategy in op.strategies
        if strategy not in SLOW
    ],
)
async def test_a_named_strategy_is_accepted_as_it_runs(
    client: AsyncClient, op: Op[Any], strategy: str
) -> None:
    """An accepted call runs by that strategy; another gets the plan's reason as its problem."""
    for sample, dtype in [*((each, "float32") for each in op.samples), (op.samples[0], "bfloat16")]:
        row = Row(op, strategy, sample, dtype, "cpu")
        body = operand_specs(op, sample, dtype, strategy=strategy, device="cpu")
        found = await plan(client, op.name, body)
        run = await client.post(f"/{op.name}", json=row.body())
        answer = run.json()
        assert found["accepted"] == (run.status_code == 200)
        if found["accepted"]:
            assert (found["strategy"], answer["strategy"]) == (strategy, strategy)
            continue
        assert (answer["code"], found["reason"]) == ("strategy-unsuitable", answer["detail"])
        assert (found["strategy"], found["device"]) == (None, None)


@pytest.mark.parametrize(
    ("op", "refusal"),
    [
        pytest.param(op, refusal, id=f"{op.name}-{refusal.name.replace(' ', '_')}")
        for op, refusal in error_samples()
    ],
)
async def test_what_has_no_meaning_is_the_same_problem(
    client: AsyncClient, op: Op[Any], refusal: ErrorSample
) -> None:
    """Shapes that do not fit are refused by the plan as by the run, hint and places included."""
    zeros: list[Json] = [to_json(np.zeros(shape), "float32") for shape in refusal.shapes]
    planned = await client.post(f"/{op.name}/plan", json=operand_specs(op, refusal, "float32"))
    run = await client.post(f"/{op.name}", json=named(op, zeros) | dict(refusal.params))
    assert (planned.status_code, planned.json()["code"]) == (422, refusal.code)
    assert problem(planned.json()) == problem(run.json())


SMALL = {"max_elements": 16, "max_bytes": 200, "max_rank": 3}


@pytest.mark.parametrize(
    ("op", "shapes", "fields", "words"),
    [
        ("matmul", [(4, 1), (1, 5)], {}, "elements of the result (4, 5): 20"),
        ("matmul", [(3, 2), (2, 1)], {}, None),
        ("matmul", [(4, 4), (4, 4)], {}, None),
        (
            "matmul",
            [(4, 4), (4, 4)],
            {"dtype": "float64"},
            "bytes of operands, largest intermediate and result: 384",
        ),
        (
            "einsum",
            [(3, 3), (3, 3)],
            {"equation": "ij,jk->ik", "strategy": "broadcast"},
            "elements of the largest intermediate of strategy 'broadcast': 27",
        ),
        (
            "broadcast",
            [(2,), (2,)],
            {"op": "add", "views": ["None,None,None,:", None]},
            "rank of the result: 4",
        ),
    ],
)
async def test_over_a_limit_the_reason_is_the_problem(
    serve: Serve,
    op: str,
    shapes: list[tuple[int, ...]],
    fields: dict[str, Json],
    words: str | None,
) -> None:
    """A plan over a limit is an answer whose reason is the detail that the run would have."""
    dtype = fields.get("dtype", "float32")
    sample = Sample("", tuple(shapes), {k: v for k, v in fields.items() if k != "dtype"})
    data: list[Json] = [to_json(np.ones(shape), dtype) for shape in shapes]
    async with serve(**SMALL) as client:
        found = await plan(client, op, operand_specs(REGISTRY[op], sample, dtype))
        run = await client.post(f"/{op}", json=named(REGISTRY[op], data) | dict(sample.params))
    answer = run.json()
    if words is None:
        assert (found["accepted"], run.status_code) == (True, 200)
        return
    assert (run.status_code, answer["code"]) == (422, "limit-exceeded")
    assert answer["detail"].startswith(f"{words}, over the limit of ")
    assert (found["accepted"], found["reason"]) == (False, answer["detail"])
    limited = [each for each in found["strategies"] if each["reason"] == answer["detail"]]
    assert all(each["available"] and not each["accepted"] for each in limited)
    assert limited


async def test_an_operand_over_the_limit_is_planned_and_not_read(serve: Serve) -> None:
    """A shape alone may be of any size; the same data would not be taken."""
    async with serve(**SMALL) as client:
        found = await plan(client, "norm", {"x": {"shape": [17]}})
        run = await client.post("/norm", json={"x": [1] * 17})
    assert not found["accepted"]
    assert found["reason"].startswith("elements of operand 0: 17, over the limit of 16")
    assert (run.status_code, run.json()["code"]) == (422, "limit-exceeded")


async def test_work_over_the_deadline_is_refused_in_the_same_words(client: AsyncClient) -> None:
    """The plan's estimate is the run's, and the hint names what the plan accepts."""
    shape = {"shape": [200, 200]}
    body = {"a": shape, "b": shape, "strategy": "loops", "deadline_ms": 1, "device": "cpu"}
    found = await plan(client, "matmul", body)
    ones = np.ones((200, 200)).tolist()
    run = await client.post("/matmul", json=body | {"a": ones, "b": ones})
    answer = run.json()
    assert (run.status_code, answer["code"]) == (422, "work-exceeded")
    assert (found["accepted"], found["reason"]) == (False, answer["detail"])
    assert "8000000 multiply-adds; the deadline is 1 ms" in answer["detail"]
    row = found["strategies"][0]
    assert (row["strategy"], row["available"], row["accepted"]) == ("loops", True, False)
    assert row["reason"] == answer["detail"]
    assert row["estimated_ms"] > 1
    able = [each["strategy"] for each in found["strategies"] if each["accepted"]]
    hint = answer.get("hint", "these are admitted: ").removeprefix("these are admitted: ")
    assert [each.partition(" (")[0] for each in hint.split(", ") if each] == able


async def test_the_cheapest_is_shown_when_nothing_is_accepted(client: AsyncClient) -> None:
    """Work and bytes are still told: those of the quickest strategy that takes the call."""
    shape = {"shape": [10**5, 10**5]}
    found = await plan(client, "matmul", {"a": shape, "b": shape})
    assert (found["accepted"], found["strategy"], found["device"]) == (False, None, None)
    assert found["work"]["multiply_adds"] == 10**15
    assert found["work"]["peak_bytes"] >= 3 * 4 * 10**10


async def test_a_call_that_no_strategy_takes_is_explained(serve: Serve) -> None:
    """It has the shape but no work, and the reason is the run's."""
    op = replace(REGISTRY["matmul"], auto=("picky",), _strategies={})
    known = REGISTRY["matmul"].strategies["torch"]
    op.strategy(
        "picky",
        adapt=known.adapt,
        work=known.work,
        dtypes=known.dtypes,
        unsupported=lambda meaning: None if meaning.m == 2 else "takes two rows",
    )(known.compute)
    async with serve(Registry(op)) as client:
        found = await plan(client, "matmul", {"a": {"shape": [3, 2]}, "b": {"shape": [2, 2]}})
        run = await client.post("/matmul", json={"a": [[1, 2]] * 3, "b": [[1, 2]] * 2})
    assert found["work"] == {"multiply_adds": 12, "peak_elements": 0, "peak_bytes": 64}
    assert (found["accepted"], found["reason"]) == (False, run.json()["detail"])
    assert found["result"]["shape"] == [3, 2]


@pytest.mark.parametrize("first", ["float32", "float16", "int64", "uint8", "complex64", "bfloat16"])
async def test_dtypes_of_shapes_follow_the_rules_of_data(client: AsyncClient, first: str) -> None:
    """Stated dtypes are promoted, a plain array takes what others state, else what is asked for."""
    stated = {"shape": [2], "dtype": first}
    for second in ("float64", "float32", "int8", "int32"):
        body = {"op": "add", "operands": [stated, {"shape": [2], "dtype": second}]}
        promoted = torch.promote_types(DTYPES[first].torch, DTYPES[second].torch)
        found = await plan(client, "broadcast", body)
        assert DTYPES[found["result"]["dtype"]].torch == promoted
    for plain in ({"shape": [2]}, [1, 2]):
        found = await plan(client, "broadcast", {"op": "add", "operands": [stated, plain]})
        assert found["result"]["dtype"] == first
        asked = {"op": "add", "operands": [plain, plain], "dtype": first}
        assert (await plan(client, "broadcast", asked))["result"]["dtype"] == first
    found = await plan(client, "broadcast", {"op": "add", "operands": [{"shape": [2]}] * 2})
    assert found["result"]["dtype"] == "float32"


@pytest.mark.parametrize("output", ["nested", "flat", "base64"])
async def test_operands_with_data_are_planned_too(client: AsyncClient, output: str) -> None:
    """A body that runs is planned as it is, and shapes may stand for its operands one by one."""
    row = Row(REGISTRY["matmul"], "auto", REGISTRY["matmul"].samples[0], "float32", "cpu")
    operands = [row.body()["a"], row.body()["b"]]
    if output == "base64":
        echoes = [{"operands": [x], "to": x["shape"], "output": output} for x in operands]
        answers = [await client.post("/broadcast", json=echo) for echo in echoes]
        operands = [answer.json()["result"] for answer in answers]
    elif output == "flat":
        operands = [{**x, "data": np.ravel(x["data"]).tolist()} for x in operands]
    a, b = operands
    shapes = [{"shape": x["shape"], "dtype": x["dtype"]} for x in (a, b)]
    bodies = [{"a": x, "b": y} for x in (a, shapes[0]) for y in (b, shapes[1])]
    found = [await plan(client, "matmul", {**body, "output": output}) for body in bodies]
    assert all(one == other for one, other in pairwise(found))
    assert found[0]["result"]["shape"] == [2, 4]


async def test_data_in_a_plan_are_checked(client: AsyncClient) -> None:
    """An operand that a run would not take is not planned either."""
    shape = {"shape": [2, 2]}
    for wrong, code in (
        ([[1], [1, 2]], "ragged-array"),
        ([[None]], "invalid-element"),
        ({"dtype": "float32"}, "missing-field"),
        ({"shape": [2, -1]}, "invalid-field"),
        ({"shape": [2, 2.5]}, "invalid-field"),
        ({"shape": 2}, "invalid-field"),
        ({"shape": [2, 2], "dtype": "float31"}, "unknown-dtype"),
        ({"shape": [2, 2], "size": 4}, "unknown-field"),
    ):
        response = await client.post("/matmul/plan", json={"a": wrong, "b": shape})
        assert (response.status_code, response.json()["code"]) == (422, code), wrong
        assert response.json()["errors"][0]["pointer"].startswith("/a"), wrong


async def test_a_run_takes_no_shape_alone(client: AsyncClient) -> None:
    """Only a plan does; the same operand in a run lacks its data."""
    body = {"x": {"shape": [2, 2]}}
    assert (await plan(client, "norm", body))["accepted"]
    response = await client.post("/norm", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "missing-field")


@pytest.mark.parametrize(
    ("op", "body"),
    [
        ("matmul", {"a": {"shape": [10**6, 10**6]}, "b": {"shape": [10**6, 10**6]}}),
        ("matmul", {"a": {"shape": [HUGE, HUGE]}, "b": {"shape": [HUGE, HUGE]}}),
        ("matmul", {"a": {"shape": [HUGE - 1] * 16}, "b": {"shape": [HUGE - 1] * 16}}),
        ("matmul", {"a": {"shape": [2**63 - 1, 0]}, "b": {"shape": [0, 2**63 - 1]}}),
        ("matmul", {"a": {"shape": [1] * 16}, "b": {"shape": [1] * 16}}),
        ("norm", {"x": {"shape": [HUGE] * 16}}),
        ("norm", {"x": {"shape": [HUGE] * 2}, "ord": "nuc"}),
        ("norm", {"x": {"shape": [HUGE] * 16, "dtype": "complex128"}, "dim": 3, "keepdim": True}),
        ("broadcast", {"operands": [{"shape": [1]}], "to": [HUGE] * 16}),
        ("broadcast", {"operands": [{"shape": []}], "to": [HUGE] * 64}),
        ("broadcast", {"op": "pow", "operands": [{"shape": [HUGE] * 16}, {"shape": []}]}),
        (
            "broadcast",
            {"op": "mul", "operands": [{"shape": [HUGE]}] * 2, "views": [None, ":,None"]},
        ),
    ]
    + [
        (
            "einsum",
            {
                "equation": "ab,bc,cd,de,ef,fg->ag",
                "operands": [{"shape": [HUGE, HUGE]}] * 6,
                "optimize": optimize,
            },
        )
        for optimize in ("auto", "greedy", "optimal", "none", [[0, 1, 2, 3, 4, 5]])
    ]
    + [
        (
            "einsum",
            {
                "equation": ",".join(["abcdefghijklmnop"] * 6),
                "operands": [{"shape": [HUGE] * 16}] * 6,
                "optimize": optimize,
            },
        )
        for optimize in ("auto", "greedy", "none")
    ],
)
async def test_any_size_is_planned_without_a_tensor(
    client: AsyncClient, op: str, body: dict[str, Json]
) -> None:
    """Sizes are Python integers: nothing overflows, no tensor is made, no memory is taken."""

    class ConnectionMonitor(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            called.append(function)
            return function(*args, **(kwargs or {}))

    called: list[object] = []
    tracemalloc.start()
    try:
        with ConnectionMonitor():
            response = await client.post(f"/{op}/plan", json=body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code == 200
    found = response.json()
    small = found["result"]["elements"] <= 2**24 and found["work"]["multiply_adds"] <= 2**24
    assert found["accepted"] == (small and op != "norm")
    assert (found["reason"] is None) == found["accepted"]
    assert found["result"]["elements"] == prod(found["result"]["shape"])
    assert set(called) <= {torch.promote_types}  # a table of dtypes
    assert peak < 4 * 2**20


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"a": {"shape": [2**64]}, "b": {"shape": [2**64]}}, "invalid-field"),
        ({"a": {"shape": [10**400]}, "b": {"shape": [2]}}, "invalid-field"),
        ({"a": {"shape": [1] * 17}, "b": {"shape": [1]}}, "limit-exceeded"),
        ({"a": {"shape": [HUGE, 3]}, "b": {"shape": [HUGE, 3]}}, "shape-mismatch"),
        ({"a": {"shape": []}, "b": {"shape": [1]}}, "shape-mismatch"),
    ],
    ids=str,
)
async def test_sizes_that_are_none_are_refused(
    client: AsyncClient, body: dict[str, Json], code: str
) -> None:
    """Beyond the integers that are read, or the rank that is taken, a shape is a problem."""
    response = await client.post("/matmul/plan", json=body)
    assert (response.status_code, response.json()["code"]) == (422, code)


@pytest.mark.parametrize(
    ("fields", "code", "hint"),
    [
        ({"c": [1]}, "unknown-field", None),
        ({"stategy": "torch"}, "unknown-field", "strategy"),
        ({"repeat": 3}, "unknown-field", None),
        ({"strategy": "loop"}, "unknown-strategy", "loops"),
        ({"device": "tpu"}, "device-unavailable", None),
        ({"deadline_ms": 0}, "invalid-field", None),
        ({"deadline_ms": 10**9}, "invalid-field", None),
        ({"dtype": "float23"}, "unknown-dtype", "float32"),
        ({"output": "nest"}, "invalid-field", "nested"),
    ],
)
async def test_other_fields_are_those_of_a_run(
    client: AsyncClient, fields: dict[str, Json], code: str, hint: str | None
) -> None:
    """An unknown field, strategy, device or dtype is refused as in the run, in the same words."""
    shape = {"shape": [2, 2]}
    planned = await client.post("/matmul/plan", json={"a": shape, "b": shape, **fields})
    data = [[1, 2], [3, 4]]
    run = await client.post("/matmul", json={"a": data, "b": data, **fields})
    assert (planned.status_code, planned.json()["code"]) == (422, code)
    assert problem(planned.json()) == problem(run.json())
    assert hint is None or hint in planned.json()["hint"]


async def test_optimize_decides_the_path(client: AsyncClient) -> None:
    """From left to right costs what it costs, optimizers find less, and a path is taken as is."""
    body = {
        "equation": "ij,jk,kl->il",
        "operands": [{"shape": [1000, 10]}, {"shape": [10, 1000]}, {"shape": [1000, 2]}],
    }
    costs, positions = {}, {}
    for optimize in ("auto", "greedy", "optimal", "none"):
        found = await plan(client, "einsum", body | {"optimize": optimize})
        costs[optimize] = found["work"]["multiply_adds"]
        positions[optimize] = [step["positions"] for step in found["path"]]
    assert positions["none"] == [[0, 1], [0, 1]]
    assert costs["none"] == 1000 * 10 * 1000 + 1000 * 1000 * 2
    assert costs["optimal"] == costs["auto"] == 10 * 1000 * 2 + 1000 * 10 * 2
    assert positions["optimal"][0] == [1, 2]
    assert (await plan(client, "einsum", body))["path"][0]["positions"] == [1, 2]
    for path in ([[0, 1], [0, 1]], [[0, 2], [0, 1]], [[2, 1], [1, 0]], [[0, 1, 2]]):
        found = await plan(client, "einsum", body | {"optimize": path})
        assert [step["positions"] for step in found["path"]] == path
    whole = await plan(client, "einsum", body | {"optimize": [[0, 1, 2]]})
    assert whole["work"]["multiply_adds"] == 1000 * 10 * 1000 * 2
    reasons = {each["strategy"]: each["reason"] for each in whole["strategies"]}
    assert reasons["pairwise"] == "does not take a path with more than two operands in a step"


@pytest.mark.parametrize("optimize", ["best", 3, [], [[]], [[0]], [[0, 3]], [[0, 1], [0, 0]]])
async def test_an_optimizer_that_is_none_is_refused(client: AsyncClient, optimize: Json) -> None:
    """As in a run, it is one of the names or a path that contracts all operands into one."""
    operands = [{"shape": [2, 2]}] * 3
    body = {"equation": "ij,jk,kl->il", "operands": operands, "optimize": optimize}
    response = await client.post("/einsum/plan", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid-field")
    assert response.json()["errors"][0]["pointer"] == "/optimize"


def assert_part(found: Json, expected: Json) -> None:
    """Assert that `expected` is a part of `found`; lists are compared from their first items."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_part(found[key], value)
    elif isinstance(expected, list) and expected and isinstance(expected[0], dict):
        for number, value in enumerate(expected):
            assert_part(found[number], value)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "example", [pytest.param(each, id=f"{each.op}-{each.name}") for each in plan_examples()]
)
async def test_an_example_is_answered_as_it_says(client: AsyncClient, example: Example) -> None:
    """The examples of the document do what their summaries say."""
    response = await client.post(f"/{example.op}/plan", json=dict(example.body))
    assert response.status_code == (422 if "code" in example.expected else 200)
    assert_part(response.json(), example.expected)


async def test_an_answer_is_json_alone(client: AsyncClient) -> None:
    """A plan has no tensor, so that no other format holds it."""
    body = {"x": {"shape": [2]}}
    for accept, status in (("*/*", 200), ("application/*;q=0.5", 200), ("text/event-stream", 406)):
        response = await client.post("/norm/plan", json=body, headers={"Accept": accept})
        assert response.status_code == status, accept
    response = await client.post("/norm/plan", content=b"{}", headers={"Content-Type": "text/csv"})
    assert response.status_code == 415


async def test_a_large_body_is_planned_off_the_loop(client: AsyncClient) -> None:
    """A body over 64 KB is decoded by a thread of the pool, with the same response."""
    x = {"shape": [40_000], "data": [0] * 40_000}
    small = await plan(client, "norm", {"x": {"shape": [40_000]}})
    assert await plan(client, "norm", {"x": x}) == small


async def test_limits_follow_from_estimates(app: FastAPI) -> None:
    """The work limit of a strategy takes as long as the deadline."""
    planner, op = app.state.service.engine.planner, REGISTRY["matmul"]
    (cpu,) = planner.devices.candidates("cpu")
    for strategy in (each for each in op.strategies.values() if each.dtypes_on("cpu")):
        limit = planner.work_limit(strategy, op, cpu)
        assert limit.device == cpu
        spent_ms = limit.multiply_adds * limit.ns_per_multiply_add / 1e6
        assert spent_ms == pytest.approx(planner.limits.deadline_ms, rel=1e-3)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/matmul", {"a": [1, 2], "b": [1, 2, 3]}),
        ("/norm", {"x": [[1, 2], [3, 4]], "dim": 5}),
        ("/einsum", {"equation": "ij,jk>ik", "operands": [[[1]], [[1]]]}),
        ("/broadcast", {"operands": [[1, 2], [1, 2, 3]], "op": "add"}),
    ],
)
async def test_an_absent_device_is_the_first_error(
    client: AsyncClient, path: str, body: dict[str, Any]
) -> None:
    """A run names the device before it infers shapes; a plan explains the shapes."""
    asked = {**body, "device": "cuda:7"}
    assert (await client.post(path, json=asked)).json()["code"] == "device-unavailable"
    refused = (await client.post(f"{path}/plan", json=asked)).json()
    assert refused["code"] != "device-unavailable"
