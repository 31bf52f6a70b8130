"""Every strategy, sample, dtype and device over HTTP, held against numpy in float64."""

from collections.abc import Mapping
from dataclasses import replace
from math import isclose, prod
from typing import Any

import numpy as np
import pytest
import torch
from httpx import AsyncClient

from service.core.dtypes import DTYPES
from service.examples import Example, examples, lesson_operands
from service.operations import REGISTRY
from service.registry import Op, Registry, Sample, Strategy
from tests.cases import (
    SINGULAR_VALUES,
    TOLERANCES,
    Row,
    assert_near,
    from_json,
    here,
    named,
    rows,
    strategies,
)
from tests.rigs.apps import Serve
from tests.rigs.gpus import HAS_GPU, NO_GPU, UNTRIED


def parameters() -> list[object]:
    """The table; float32 stands for all dtypes where a host has no CUDA, or a strategy no CPU.

    The samples of a strategy, dtype and device are one test: thousands of tests take more time
    than their calls.
    """
    parts: dict[str, list[Row]] = {}
    for row in rows():
        on_cuda = row.device == "cuda"
        if row.strategy in UNTRIED:
            continue
        is_here = HAS_GPU if on_cuda else row.strategy in on_cpu(row.op)
        if is_here or row.dtype == "float32":
            part = f"{row.op.name}-{row.strategy}-{row.dtype}-{row.device}"
            parts.setdefault(part, []).append(row)
    return [
        pytest.param(part, id=name, marks=NO_GPU if part[0].device == "cuda" else ())
        for name, part in parts.items()
    ]


def on_cpu(op: Op[Any]) -> list[str]:
    """The strategies that run on a CPU, and `auto`."""
    return ["auto", *here(op)]


@pytest.mark.parametrize("part", parameters())
async def test_a_part_of_the_table(client: AsyncClient, part: list[Row]) -> None:
    """A strategy computes what numpy computes, or says why not and who does.

    One that lacks something on this host would refuse every row, which proves nothing of it.
    """
    if part[0].missing:
        pytest.skip(part[0].missing)
    for row in part:
        try:
            await check(client, row)
        except Exception as error:
            error.add_note(row.name)
            raise


async def test_a_part_without_what_it_needs(serve: Serve) -> None:
    """It is skipped, and not counted as one that has passed, with the reason of GET /strategies."""
    op = REGISTRY["matmul"]
    absent = replace(op.strategies["triton"], missing="needs triton: pip install it")
    there = replace(op.strategies["torch"], missing=None)
    op = replace(op, _strategies={"triton": absent, "torch": there}, auto=("torch",))
    async with serve(Registry(op)) as client:
        listed = (await client.get("/strategies")).json()[0]["strategies"]
        (told,) = (each["reason"] for each in listed if each["name"] == "triton")
        for dtype, device in (("float32", "cuda"), ("bool", "cuda"), ("float32", "cpu")):
            with pytest.raises(pytest.skip.Exception) as skipped:
                await test_a_part_of_the_table(
                    client, [Row(op, "triton", op.samples[0], dtype, device)]
                )
            assert skipped.value.msg == told
        for strategy in ("auto", "torch"):
            await test_a_part_of_the_table(
                client, [Row(op, strategy, op.samples[0], "float32", "cpu")]
            )


async def check(client: AsyncClient, row: Row) -> None:
    """Assert that one row of the table holds."""
    response = await client.post(f"/{row.op.name}", json=row.body())
    answer = response.json()
    if not row.takes_dtype:
        assert (response.status_code, answer["code"]) == (422, "dtype-unsupported")
        return
    chosen = row.chosen
    if chosen is None:
        assert (response.status_code, answer["code"]) == (422, "strategy-unsuitable")
        # Each of them has a row of its own, in which it computes the sample.
        assert answer["hint"].removeprefix("these take it: ").split(", ") == row.takers()
        return
    assert response.status_code == 200, answer
    assert (answer["op"], answer["strategy"]) == (row.op.name, chosen)
    assert answer["device"].split(":")[0] == row.device
    assert answer["result"]["dtype"] == row.result_dtype
    assert_near(from_json(answer["result"]), row.expected(), row.result_dtype)


def samples() -> list[object]:
    """Every sample of every operation."""
    return [
        pytest.param(op, sample, id=f"{op.name}-{sample.name.replace(' ', '_')}")
        for op in REGISTRY.values()
        for sample in op.samples
    ]


@pytest.mark.parametrize(("op", "sample"), samples())
def test_a_sample_tells_strategies_apart(op: Op[Any], sample: Sample) -> None:
    """In every dtype that an operation takes, some strategy takes the sample, and auto does."""
    for dtype in DTYPES:
        row = Row(op, "auto", sample, dtype, "cpu")
        assert not row.takes_dtype or row.chosen


@pytest.mark.parametrize(
    ("op", "strategy"),
    [pytest.param(*each, id=f"{each[0].name}-{each[1].name}") for each in strategies()],
)
def test_a_strategy_takes_what_it_is_for(op: Op[Any], strategy: Strategy[Any]) -> None:
    """No strategy declines all samples of a common dtype: the table would not show it."""
    taken = [Row(op, strategy.name, sample, "float32", "cpu").chosen for sample in op.samples]
    assert taken.count(strategy.name) >= len(op.samples) // 4


def extremes() -> list[object]:
    """Each strategy that takes a float dtype, on values where arithmetic leaves the finite."""
    return [
        pytest.param(op, strategy, dtype, id=f"{op.name}-{strategy.name}-{dtype}")
        for op, strategy in strategies()
        for dtype in TOLERANCES
        if DTYPES[dtype].torch in strategy.dtypes_on("cpu")
    ]


@pytest.mark.parametrize(("op", "strategy", "dtype"), extremes())
async def test_extreme_values_are_answered(
    client: AsyncClient, op: Op[Any], strategy: Strategy[Any], dtype: str
) -> None:
    """Overflow, underflow, NaN and division by zero give IEEE 754's answer, never a failure."""
    finfo = torch.finfo(DTYPES[dtype].torch)
    line = ["NaN", "Infinity", "-Infinity", finfo.max, -finfo.max, finfo.tiny, 0.0, -0.0]
    parts = 2 if DTYPES[dtype].kind == "complex" else 1
    for sample in op.samples:
        row = Row(op, strategy.name, sample, dtype, "cpu")
        if not row.takes_dtype or row.chosen is None:
            continue
        tensors = []
        for shape in sample.shapes:
            values = [*line, 1.0] * (prod(shape) * parts)
            data = values[: prod(shape) * parts]
            tensors.append({"shape": shape, "dtype": dtype, "data": data})
        body = {**named(op, tensors), **sample.params, "strategy": strategy.name}
        response = await client.post(f"/{op.name}", json=body)
        refused = response.status_code == 422 and response.json()["code"] == "value-out-of-range"
        assert response.status_code == 200 or refused, (sample.name, response.text)
        assert not refused or sample.name in SINGULAR_VALUES


@pytest.mark.parametrize("example", [pytest.param(e, id=f"{e.op}-{e.name}") for e in examples()])
async def test_an_example_gives_what_it_says(client: AsyncClient, example: Example) -> None:
    """The examples of the docs page give the lesson's numbers."""
    response = await client.post(f"/{example.op}", json=example.body)
    assert response.status_code == (422 if "code" in example.expected else 200)
    assert_holds(response.json(), example.expected, "")


def assert_holds(found: Any, expected: Any, path: str) -> None:
    """`found` has all that `expected` has; numbers are near, by the lesson's own measure."""
    if isinstance(expected, Mapping):
        for key, value in expected.items():
            assert_holds(found[key], value, f"{path}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_holds(one, other, f"{path}/{number}")
    elif isinstance(expected, bool | str) or expected is None:
        assert found == expected, path
    else:
        assert isclose(found, expected, rel_tol=1e-3, abs_tol=1e-5), path


async def test_the_five_products_of_the_lesson_agree(client: AsyncClient) -> None:
    """All of them are near the product in float64, and a wrong sign would not be."""
    images, weights = lesson_operands()
    product = images.astype(np.float64) @ weights
    ladder = [example for example in examples() if example.name.startswith("lesson-")]
    assert len(ladder) == 5
    for example in ladder:
        answer = (await client.post("/matmul", json=example.body)).json()
        found = from_json(answer["result"])
        np.testing.assert_allclose(found, product, 1e-3, 1e-5)
        assert not np.allclose(-found, product, 1e-3, 1e-5)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("output", ["nested", "flat", "base64"])
async def test_a_result_is_an_operand(client: AsyncClient, name: str, output: str) -> None:
    """Posted back, a result is the same bits again."""
    for dtype in ("float32", "bfloat16", "int64", "complex64"):
        row = Row(REGISTRY[name], "auto", REGISTRY[name].samples[0], dtype, "cpu")
        first = (await client.post(f"/{name}", json=row.body() | {"output": output})).json()[
            "result"
        ]
        again = {"operands": [first], "to": first["shape"], "output": output}
        second = (await client.post("/broadcast", json=again)).json()["result"]
        assert second == first


@pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in REGISTRY.items()])
async def test_auto_is_the_default_and_says_what_it_took(client: AsyncClient, op: Op[Any]) -> None:
    """Without strategy and device, the answer names those that ran."""
    body = Row(op, "auto", op.samples[0], "float32", "cpu").body()
    del body["strategy"], body["device"]
    answer = (await client.post(f"/{op.name}", json=body)).json()
    assert answer["strategy"] == op.auto[0]
    assert answer["device"] == ("cuda:0" if HAS_GPU else "cpu")


@pytest.mark.parametrize("strategy", here(REGISTRY["matmul"]))
async def test_a_batch_is_its_products_one_by_one(client: AsyncClient, strategy: str) -> None:
    """A batch of 3 against one matrix gives three products, in order."""
    a = np.arange(18.0).reshape(3, 2, 3)
    b = np.arange(6.0).reshape(3, 2)
    body = {"a": a.tolist(), "b": b.tolist(), "strategy": strategy}
    data = (await client.post("/matmul", json=body)).json()["result"]["data"]
    for one, product in zip(a, data, strict=True):
        single = {"a": one.tolist(), "b": b.tolist(), "strategy": strategy}
        alone = (await client.post("/matmul", json=single)).json()["result"]["data"]
        assert alone == product == (one @ b).tolist()


@pytest.mark.parametrize(
    ("body", "block"),
    [
        pytest.param(
            {"op": "mul", "operands": [[10, 20, 30]] * 2, "views": [None, ":,None"]},
            {
                "shape": [3, 3],
                "axes": [
                    {
                        "axis": -2,
                        "size": 3,
                        "operands": [{"size": None, "role": "added"}, {"size": 3, "role": "kept"}],
                    },
                    {
                        "axis": -1,
                        "size": 3,
                        "operands": [
                            {"size": 3, "role": "kept"},
                            {"size": 1, "role": "stretched"},
                        ],
                    },
                ],
                "operands": [
                    {
                        "shape": [3],
                        "strides": [1],
                        "expanded_strides": [0, 1],
                        "stored_bytes": 12,
                        "apparent_bytes": 36,
                    },
                    {
                        "shape": [3, 1],
                        "strides": [1, 0],
                        "expanded_strides": [1, 0],
                        "stored_bytes": 12,
                        "apparent_bytes": 36,
                    },
                ],
            },
            id="outer product",
        ),
        pytest.param(
            {"operands": [[[1], [2]]], "to": [2, 3]},
            {
                "shape": [2, 3],
                "axes": [
                    {"axis": -2, "size": 2, "operands": [{"size": 2, "role": "kept"}]},
                    {"axis": -1, "size": 3, "operands": [{"size": 1, "role": "stretched"}]},
                ],
                "operands": [
                    {
                        "shape": [2, 1],
                        "strides": [1, 1],
                        "expanded_strides": [1, 0],
                        "stored_bytes": 8,
                        "apparent_bytes": 24,
                    }
                ],
            },
            id="a stored column expanded",
        ),
        pytest.param(
            {"operands": [7], "to": [2]},
            {
                "shape": [2],
                "axes": [{"axis": -1, "size": 2, "operands": [{"size": None, "role": "added"}]}],
                "operands": [
                    {
                        "shape": [],
                        "strides": [],
                        "expanded_strides": [0],
                        "stored_bytes": 4,
                        "apparent_bytes": 8,
                    }
                ],
            },
            id="a number expanded",
        ),
    ],
)
async def test_broadcast_explains_the_alignment(
    client: AsyncClient, body: dict[str, Any], block: dict[str, Any]
) -> None:
    """One row for each axis, and for each operand its strides and bytes, before and after."""
    answer = (await client.post("/broadcast", json=body)).json()
    assert answer["broadcast"] == block


@pytest.mark.parametrize(
    ("op", "body", "code"),
    [
        ("matmul", {"a": [[100, 100]], "b": [[100], [100]], "dtype": "int8"}, "integer-overflow"),
        ("matmul", {"a": [2**62], "b": [2], "dtype": "int64"}, "integer-overflow"),
        (
            "einsum",
            {"equation": "i->", "operands": [[200, 100]], "dtype": "uint8"},
            "integer-overflow",
        ),
        ("broadcast", {"op": "sub", "operands": [1, 2], "dtype": "uint8"}, "integer-overflow"),
        ("broadcast", {"op": "pow", "operands": [2, 63], "dtype": "int64"}, "integer-overflow"),
        ("broadcast", {"op": "pow", "operands": [2, -1], "dtype": "int64"}, "integer-overflow"),
        ("broadcast", {"op": "div", "operands": [1, 2], "dtype": "int64"}, "integer-overflow"),
        ("broadcast", {"op": "div", "operands": [1, 0], "dtype": "int64"}, "integer-overflow"),
        (
            "broadcast",
            {"op": "div", "operands": [-(2**63), -1], "dtype": "int64"},
            "integer-overflow",
        ),
        ("broadcast", {"op": "mul", "operands": [-128, -1], "dtype": "int8"}, "integer-overflow"),
        ("broadcast", {"op": "neg", "operands": [-128], "dtype": "int8"}, "integer-overflow"),
        ("broadcast", {"op": "abs", "operands": [-(2**63)], "dtype": "int64"}, "integer-overflow"),
        ("broadcast", {"op": "neg", "operands": [1], "dtype": "uint8"}, "integer-overflow"),
    ],
)
async def test_integers_never_wrap(
    client: AsyncClient, op: str, body: dict[str, Any], code: str
) -> None:
    """An exact result that the dtype cannot hold is refused by every strategy alike."""
    for strategy in here(REGISTRY[op], body["dtype"]):
        response = await client.post(f"/{op}", json={**body, "strategy": strategy})
        assert (response.status_code, response.json()["code"]) == (422, code), strategy
        assert "float64" in response.json()["hint"]


@pytest.mark.parametrize(
    ("op", "body", "expected"),
    [
        ("matmul", {"a": [2**62, 2**62], "b": [1, -1], "dtype": "int64"}, 0),
        ("matmul", {"a": [100, 100, -100], "b": [1, 1, 1], "dtype": "int8"}, 100),
        ("einsum", {"equation": "i,i", "operands": [[2**31], [2**31]], "dtype": "int64"}, 2**62),
        ("broadcast", {"op": "mul", "operands": [-64, 2], "dtype": "int8"}, -128),
        ("broadcast", {"op": "pow", "operands": [-2, 63], "dtype": "int64"}, -(2**63)),
        ("broadcast", {"op": "pow", "operands": [-1, 2**62], "dtype": "int64"}, 1),
        ("broadcast", {"op": "div", "operands": [-6, 3], "dtype": "int16"}, -2),
        ("broadcast", {"op": "add", "operands": [127, -128, 127], "dtype": "int8"}, 126),
        ("broadcast", {"op": "neg", "operands": [127], "dtype": "int8"}, -127),
        ("broadcast", {"op": "relu", "operands": [-128], "dtype": "int8"}, 0),
    ],
)
async def test_integers_are_exact(
    client: AsyncClient, op: str, body: dict[str, Any], expected: int
) -> None:
    """A result that fits is exact by every strategy, whatever wraps on the way."""
    for strategy in here(REGISTRY[op], body["dtype"]):
        response = await client.post(f"/{op}", json={**body, "strategy": strategy})
        assert response.status_code == 200, (strategy, response.text)
        assert int(response.json()["result"]["data"]) == expected, strategy
