"""Races of chains: one strategy for all steps at a time, judged by references of the steps."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from weakref import ref

import pytest
import torch
from httpx import AsyncClient

from service.core.call import Tensor
from service.operations import REGISTRY
from service.registry import Op, Registry
from tests.cases import Json
from tests.contract.test_openapi import schema
from tests.rigs.apps import Serve
from tests.rigs.event_streams import STREAM, read_stream

H: Final = {"step": "h"}
LINEAR: Final = {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}}
POSITIVE: Final = {"name": "p", "operation": "broadcast", "op": "relu", "operands": [H]}
LENGTH: Final = {"name": "y", "operation": "norm", "x": {"step": "p"}, "ord": 1}
AGAIN: Final = {"name": "y", "operation": "matmul", "a": H, "b": H}
A: Final = [[1, -2], [3, 4]]
B: Final = [[5, 6], [-7, 8]]


def chain(*steps: Mapping[str, object], **fields: object) -> dict[str, Json]:
    """Return the request of a short race of steps on two matrices."""
    return {"operands": [A, B], "steps": [*steps], "device": "cpu", "repeat": 2, **fields}


async def race(client: AsyncClient, body: dict[str, Json]) -> Json:
    """Run a race, and return its report, which fits its schema as the body does."""
    schema("ChainCompareRequest").validate(body)
    response = await client.post("/chain/compare", json=body)
    assert response.status_code == 200, response.text
    schema("CompareAnswer").validate(response.json())
    return response.json()


async def test_strategies_that_each_step_has(client: AsyncClient) -> None:
    """They race with the fields of any race; gradually faster, and in agreement."""
    report = await race(client, chain(LINEAR, POSITIVE))
    rows = [row for row in report["rows"] if "skipped" not in row]
    assert [row["strategy"] for row in rows] == ["loops", "python", "torch", "numpy"]
    both = REGISTRY["matmul"].strategies.keys() & REGISTRY["broadcast"].strategies.keys()
    assert {row["strategy"] for row in report["rows"]} == both - {"dask"}
    assert (report["op"], report["shapes"]) == ("chain", [[2, 2], [2, 2]])
    assert report["params"] == {"steps": [LINEAR, POSITIVE]}
    assert report["multiply_adds"] == 8 + 4
    method = "exact arithmetic, each step rounded to float64"
    assert report["reference"] == {"method": method, "checked": 4, "elements": 4}
    for row in rows:
        assert (row["runs"], row["agrees"], row["max_abs_error"]) == (2, True, 0)
        assert row["compile_ms"] == 0
        assert row["speedup"] == pytest.approx(rows[0]["median_ms"] / row["median_ms"], rel=1e-3)
        # 16 operations of the product, 4 of ReLU; three matrices of 16 bytes.
        assert row["gflops"] == pytest.approx((16 + 4) / row["median_ms"] / 1e6, rel=1e-3)
        assert row["gb_per_s"] == pytest.approx(3 * 16 / row["median_ms"] / 1e6, rel=1e-3)


async def test_a_strategy_that_a_step_lacks(client: AsyncClient) -> None:
    """Its row is there if it is named, and says which step; the first of a stream."""
    body = chain(LINEAR, POSITIVE, strategies=["dot", "numpy"], baseline="torch")
    response = await client.post("/chain/compare", json=body, headers=STREAM)
    first, *others, last = read_stream(response.text)
    assert first.data["skipped"] == "step 'p' (broadcast) has no strategy dot"
    assert {each.data["strategy"] for each in others} == {"torch", "numpy"}
    assert [row["strategy"] for row in last.data["rows"]] == ["dot", "torch", "numpy"]
    assert (last.event, last.data["baseline"]) == ("report", "torch")


async def test_a_step_keeps_the_strategy_that_it_names(client: AsyncClient) -> None:
    """Loops do not take the 1-norm of a matrix."""
    steps = LINEAR, POSITIVE, LENGTH
    loops, torch_ = (await race(client, chain(*steps, strategies=["loops", "torch"])))["rows"]
    assert loops["skipped"].startswith("step 'y': norm strategy 'loops' does not take ord 1")
    assert torch_["agrees"]
    for own in ("torch", "auto"):
        steps = LINEAR, POSITIVE, {**LENGTH, "strategy": own}
        (loops,) = (await race(client, chain(*steps, strategies=["loops"])))["rows"]
        assert loops["agrees"]


async def test_all_results_are_judged(client: AsyncClient) -> None:
    """One is kept though a later step has used it."""
    body = chain(LINEAR, POSITIVE, LENGTH, results=["p", "y"], strategies=["torch"])
    report = await race(client, body)
    assert (report["reference"]["checked"], report["reference"]["elements"]) == (5, 5)
    (row,) = report["rows"]
    assert (row["agrees"], row["worst"], "worst_result" in row) == (True, None, False)


async def test_a_wrong_result_beside_right_ones(serve: Serve) -> None:
    """It makes the row disagree, and is named."""

    def wrong_column(a: Tensor, b: Tensor) -> Tensor:
        c = a @ b
        if c.shape == (2, 1):
            c[1, 0] += 1
        return c

    column = {"name": "y", "operation": "matmul", "a": H, "b": {"operand": 2}}
    body = chain(LINEAR, column, operands=[A, B, [[1], [2]]], results=["h", "y"])
    async with serve(Registry(products(wrong_column))) as client:
        right, wrong = (await race(client, body))["rows"]
    assert right["agrees"]
    assert (wrong["agrees"], wrong["disagreeing"], wrong["max_abs_error"]) == (False, 1, 1)
    assert (wrong["worst_result"], wrong["worst"]) == ("y", [1, 0])


@pytest.mark.parametrize("dtype", ["float16", "int64", "complex64"])
async def test_dtypes(client: AsyncClient, dtype: str) -> None:
    """The reference has more digits than the strategies, and integers are exact."""
    numbers = [[[1, 0], [3, 1]], [[2, 5], [0, 2]]] if dtype == "complex64" else [[101, 3], [5, 7]]
    body = chain(LINEAR, AGAIN, dtype=dtype, strategies=["python", "torch"])
    report = await race(client, {**body, "operands": [numbers, numbers], "rtol": 1e-3})
    assert [row["agrees"] for row in report["rows"]] == [dtype != "float16"] * 2
    if dtype == "float16":  # 101 ** 4 is beyond it
        assert {row["max_abs_error"] for row in report["rows"]} == {"Infinity"}


async def test_operands_are_promoted(client: AsyncClient) -> None:
    """The norm of integers is float64, and takes them along."""
    size = {"name": "s", "operation": "norm", "x": H}
    scaled = {"name": "y", "operation": "broadcast", "op": "div", "operands": [H, {"step": "s"}]}
    body = chain(LINEAR, size, scaled, dtype="int32", strategies=["torch"], rtol=1e-15, atol=0)
    report = await race(client, body)
    assert report["rows"][0]["agrees"]


async def test_a_large_intermediate_is_computed_by_a_strategy(client: AsyncClient) -> None:
    """All its elements are needed, and exact ones would take long."""
    thirds = {"shape": [300, 300], "data": [1 / 3, 1e9 / 7, 1e-9 / 9] * 30_000}
    size = {"name": "y", "operation": "norm", "x": H}
    body = chain(LINEAR, size, dtype="float64", strategies=["torch"], repeat=1)
    report = await race(client, {**body, "operands": [thirds, thirds]})
    by_strategy = "float64 by the strategy torch"
    assert report["reference"]["method"].startswith(f"{by_strategy} and ")
    assert report["rows"][0]["agrees"]


def off_by_one(a: Tensor, b: Tensor) -> Tensor:
    """Wrong in its first element."""
    c = a @ b
    if c.dim() == 2:
        c[0, 0] += 1
    return c


def products(compute: Any, **changes: Any) -> Op[Any]:
    """Return a matmul by torch, and by a strategy that the registry does not have."""
    op, torch_ = REGISTRY["matmul"], REGISTRY["matmul"].strategies["torch"]
    other = replace(torch_, name="other", compute=compute, **changes)
    return replace(op, auto=("torch",), _strategies={"torch": torch_, "other": other})


async def test_a_wrong_step_is_found(serve: Serve) -> None:
    """Its error goes through the steps after it."""
    async with serve(Registry(products(off_by_one))) as client:
        right, wrong = (await race(client, chain(LINEAR, AGAIN)))["rows"]
    expected = torch.tensor(A) @ torch.tensor(B)
    found = expected + torch.tensor([[1, 0], [0, 0]])
    error = found @ found + torch.tensor([[1, 0], [0, 0]]) - expected @ expected
    assert right["agrees"]
    assert (wrong["agrees"], wrong["max_abs_error"]) == (False, int(error.abs().max()))


async def test_steps_are_compiled_once(serve: Serve) -> None:
    """By a run that is no part of the others, and is not repeated."""
    shapes: list[object] = []

    def compile_for(_: object, operands: Any) -> bool:
        shapes.append(operands[0].shape)
        return shapes.count(operands[0].shape) == 1

    op = products(torch.matmul, compile=compile_for)
    async with serve(Registry(op)) as client:
        sevens = [[1] * 7] * 7
        body = chain(LINEAR, AGAIN, operands=[sevens, sevens])
        _, compiled = (await race(client, body))["rows"]
        # To compile, to warm up, and twice: each run asks for the code of its two steps.
        assert shapes.count((7, 7)) == 2 * 4
        _, again = (await race(client, body))["rows"]
    assert compiled["agrees"]
    assert compiled["compile_ms"] > 0
    assert again["compile_ms"] == 0, "all is compiled already"


async def test_results_are_freed_after_their_last_use(serve: Serve) -> None:
    """Of ten results, few are alive at a time."""
    results: list[ref[Tensor]] = []
    alive: list[int] = []

    def compute(a: Tensor, b: Tensor) -> Tensor:
        c = a @ b
        if c.shape == (7, 7):
            alive.append(sum(each() is not None for each in results))
            results.append(ref(c))
        return c

    steps = [
        {**LINEAR, "name": f"s{n}", "a": {"step": f"s{n - 1}"} if n else LINEAR["a"]}
        for n in range(10)
    ]
    zeros = [[0] * 7] * 7
    body = chain(*steps, operands=[zeros, zeros], strategies=["other"])
    async with serve(Registry(products(compute))) as client:
        await race(client, body)
    assert len(alive) == 3 * 10
    assert max(alive) < 4


@pytest.mark.parametrize("headers", [{}, STREAM], ids=["report", "stream"])
@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (chain(LINEAR, strategies=["tortch"]), "unknown-strategy", "no operation has a strategy"),
        (chain(LINEAR, baseline="scaled"), "unknown-strategy", "no step that races has"),
        (chain(LINEAR, strategies=["auto"]), "unknown-strategy", "auto chooses among"),
        (chain({**LINEAR, "strategy": "torch"}), "invalid-field", "each step names its strategy"),
        (chain(LINEAR, operands=[A, [1, 2, 3]]), "shape-mismatch", "step 'h': "),
        (chain(LINEAR, repeats=1), "unknown-field", "repeats"),
    ],
)
async def test_what_is_refused(
    client: AsyncClient, *, body: dict[str, Json], code: str, words: str, headers: dict[str, str]
) -> None:
    """A problem document, also for a stream."""
    response = await client.post("/chain/compare", json=body, headers=headers)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, code)
    assert words in problem["detail"]


async def test_an_overflow_on_the_way(client: AsyncClient) -> None:
    """It is known when the integers of its step are: the last event of a stream."""
    body = chain(LINEAR, AGAIN, dtype="int8", strategies=["torch"], operands=[[[9]], [[9]]])
    response = await client.post("/chain/compare", json=body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "integer-overflow")
    assert problem["errors"][0]["pointer"].startswith("/steps/1")
    streamed = await client.post("/chain/compare", json=body, headers=STREAM)
    last = [*read_stream(streamed.text)][-1]
    assert (last.event, last.data["code"]) == ("problem", "integer-overflow")
