"""Precision of float32 products and deterministic calls: stated, refused, and the same bits."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient

from tests.cases import Json
from tests.rigs.inference_bodies import as_json
from tests.rigs.matmul_bodies import slow_text
from tests.rigs.request_bodies import RAW

MATMUL: dict[str, Json] = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]], "device": "cpu"}
STATED: dict[str, Json] = {"precision": "ieee", "deterministic": True}
STEP: Json = {"name": "y", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}}
BODIES: Mapping[str, dict[str, Json]] = {
    "/matmul": MATMUL,
    "/einsum": {"equation": "ij,jk", "operands": [[[1, 2]], [[3], [4]]]},
    "/norm": {"x": [3, 4]},
    "/broadcast": {"op": "add", "operands": [[1], [2]]},
    "/chain": {"operands": [[[1, 2]], [[3], [4]]], "steps": [STEP]},
    "/matmul/gradients": MATMUL,
}
HAVING = "einsum, torch have it, and no device of this host does"
NO_TF32 = f"matmul strategy 'auto' was asked for tf32; {HAVING}"
IEEE_WORKS = '"precision": "ieee" works on cpu'


@pytest.mark.parametrize("path", BODIES)
async def test_an_answer_states_what_was_asked_for(client: AsyncClient, path: str) -> None:
    """It has the fields that the request names, whatever came before, and no others."""
    body = BODIES[path] | {"device": "cpu"}
    for fields in ({}, STATED, {"precision": "ieee"}, {"deterministic": False}, {}):
        response = await client.post(path, json=body | fields)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert {name: answer[name] for name in STATED if name in answer} == fields
        assert response.headers["content-type"] == "application/json"


async def test_a_plan_states_what_was_asked_for(client: AsyncClient) -> None:
    """It has the fields of the request, and a line of torch that computes so."""
    body = MATMUL | {"device": "cpu"} | STATED
    plan = (await client.post("/matmul/plan", json=body)).json()
    assert {name: plan[name] for name in STATED} == STATED
    line = "torch.use_deterministic_algorithms(True); torch.matmul(a, b)"
    assert plan["reproduce"] == line
    chain = BODIES["/chain"] | {"device": "cpu"} | STATED
    plan = (await client.post("/chain/plan", json=chain)).json()
    assert {name: plan[name] for name in STATED} == STATED
    assert all({name: step[name] for name in STATED} == STATED for step in plan["steps"])
    for path, plain in (("/matmul", MATMUL), ("/chain", BODIES["/chain"])):
        plan = (await client.post(f"{path}/plan", json=plain)).json()
        assert not STATED.keys() & plan.keys()
        assert not any(STATED.keys() & step.keys() for step in plan.get("steps", ()))


async def test_in_a_query_string_and_in_headers(client: AsyncClient) -> None:
    """The fields are words there; the envelope of a binary answer states them."""
    response = await client.post(
        "/matmul?precision=ieee&deterministic=true", json=MATMUL, headers={"Accept": RAW}
    )
    envelope = json.loads(response.headers["X-Envelope"])
    assert {name: envelope[name] for name in STATED} == STATED


async def test_in_the_open_inference_protocol(client: AsyncClient) -> None:
    """They are parameters, and parameters of the answer."""
    inputs = {name: np.array(MATMUL[name], np.float32) for name in ("a", "b")}
    for fields in (STATED, {"precision": "ieee"}, {}):
        body = as_json(inputs, "float32", parameters={"device": "cpu", **fields})
        answer = (await client.post("/v2/models/matmul/infer", json=body)).json()
        assert answer["parameters"] == {"device": "cpu", **fields}
    body = as_json(inputs, "float32", parameters={"device": "cpu", "precision": "tf32"})
    response = await client.post("/v2/models/matmul/infer", json=body)
    assert (response.status_code, response.json()) == (
        422,
        {"error": f"{NO_TF32}. Hint: {IEEE_WORKS}"},
    )


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"precision": "tf32"}, NO_TF32),
        (
            {"precision": "bf16x3"},
            "matmul strategy 'auto' was asked for bf16x3; triton has it, and needs ",
        ),
        (
            {"precision": "tf32", "strategy": "numpy"},
            NO_TF32.replace("auto", "numpy"),
        ),
        (
            {"precision": "tf32", "dtype": "float64"},
            NO_TF32,
        ),
        ({"precision": "tf23"}, "precision is one of ieee, tf32, bf16x3; it was 'tf23'"),
        ({"precison": "ieee"}, "matmul has no field 'precison'"),
        ({"deterministic": "yes"}, "deterministic is true or false; it was 'yes'"),
    ],
)
async def test_what_cannot_be_had_is_refused(
    client: AsyncClient, fields: dict[str, Json], detail: str
) -> None:
    """On a CPU, with what it has; a plan and a race give the same reason."""
    assert (await client.post("/matmul", json=MATMUL)).status_code == 200
    problem = (await client.post("/matmul", json=MATMUL | fields)).json()
    assert problem["status"] == 422
    assert problem["detail"].startswith(detail)
    if "hint" in problem:
        assert problem["hint"] in (
            "did you mean 'tf32'?",
            "did you mean 'precision'?",
            IEEE_WORKS,
        )
    plan = (await client.post("/matmul/plan", json=MATMUL | fields)).json()
    if problem["code"] == "strategy-unsuitable":
        assert problem["hint"] == IEEE_WORKS
        assert (plan["accepted"], plan["reason"]) == (False, problem["detail"])
        assert not any(row["available"] for row in plan["strategies"])
        assert plan["work"]["peak_bytes"] >= plan["result"]["bytes"] > 0
        rows = (await client.post("/matmul/compare", json=MATMUL | fields)).json()["rows"]
        assert all(row["precision"] == fields["precision"] and row["skipped"] for row in rows)
    else:
        assert plan["detail"] == problem["detail"]


async def test_a_chain_asks_for_products_alone(client: AsyncClient) -> None:
    """A step without products computes as ever; without any product there is none to ask for."""
    double: Json = {"name": "z", "operation": "broadcast", "op": "neg", "operands": [{"step": "y"}]}
    body = BODIES["/chain"] | {"steps": [STEP, double], "device": "cpu", "precision": "tf32"}
    problem = (await client.post("/chain", json=body)).json()
    assert problem["detail"] == f"step 'y': {NO_TF32}"
    alone = {**double, "operands": [{"operand": 0}]}
    body |= {"operands": [[1, 2]], "steps": [alone]}
    problem = (await client.post("/chain", json=body)).json()
    assert problem["detail"].endswith(
        "broadcast strategy 'auto' was asked for tf32; all strategies of broadcast compute in ieee"
    )
    plan = (await client.post("/chain/plan", json=body)).json()
    assert (plan["accepted"], plan["reason"]) == (False, problem["detail"])


async def test_a_race_of_precisions(client: AsyncClient) -> None:
    """Each has rows of its own, of the strategies that have it, or of those that are named."""
    body = MATMUL | {"precisions": ["ieee", "tf32"], "repeat": 1}
    for fields, lower in (
        ({}, {"einsum", "torch", "triton"}),
        ({"strategies": ["loops"]}, {"loops"}),
    ):
        report = (await client.post("/matmul/compare", json=body | fields)).json()
        ran = {row["strategy"]: row for row in report["rows"] if row["precision"] == "ieee"}
        assert ran["loops"]["runs"] == 1
        skipped = [row for row in report["rows"] if row["precision"] == "tf32"]
        assert {row["strategy"] for row in skipped} == lower
        assert all("runs" not in row and row["skipped"] for row in skipped)
    chain = BODIES["/chain"] | {"precisions": ["tf32"], "strategies": ["torch"], "device": "cpu"}
    (row,) = (await client.post("/chain/compare", json=chain)).json()["rows"]
    assert (row["precision"], row["skipped"]) == (
        "tf32",
        "step 'y': " + NO_TF32.replace("auto", "torch"),
    )
    for wrong in (["tf23"], [], "tf32"):
        response = await client.post("/matmul/compare", json=MATMUL | {"precisions": wrong})
        assert (response.status_code, response.json()["code"]) == (422, "invalid-field")


async def test_a_deadline_refuses_a_precision_as_ever(client: AsyncClient) -> None:
    """A row that the deadline leaves no time for says which precision it has."""
    body = {"a": np.ones((120, 120)).tolist(), "b": np.ones((120, 120)).tolist(), "device": "cpu"}
    fields = {"precisions": ["ieee"], "strategies": ["loops"], "deadline_ms": 1}
    (row,) = (await client.post("/matmul/compare", json=body | fields)).json()["rows"]
    assert row["precision"] == "ieee"
    assert "deadline" in row["skipped"]


async def test_the_same_bits_wherever_it_runs(client: AsyncClient) -> None:
    """In the event loop, on a thread and in another process, and each time."""
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal(60_000).astype(np.float32)
    body: dict[str, Any] = {"x": [float(x) for x in numbers], "deterministic": True}
    found: dict[str, set[float]] = {}
    for fields in ({"strategy": "elementwise"}, {"strategy": "numpy"}):
        text = json.dumps(body | fields | {"device": "cpu"}).encode()
        for content in (text, text, slow_text(text), text + b" " * 100_000):
            answer = (await client.post("/norm", content=content)).json()
            assert answer["deterministic"] is True
            key = fields["strategy"]
            found.setdefault(key, set()).add(answer["result"]["data"])
            found.setdefault("executors", set()).add(answer["timing"]["executor"])
    assert {key: len(each) for key, each in found.items()} == {
        "elementwise": 1,
        "numpy": 1,
        "executors": 2,
    }


async def test_what_is_told(client: AsyncClient) -> None:
    """Precisions of strategies and devices, and what sums of half precision are added up in."""
    listed = {op["name"]: op["strategies"] for op in (await client.get("/strategies")).json()}
    matmul = {each["name"]: each for each in listed["matmul"]}
    assert matmul["triton"]["precisions"] == ["ieee", "tf32", "bf16x3"]
    assert matmul["torch"]["precisions"] == ["ieee", "tf32"]
    assert matmul["numpy"]["precisions"] == ["ieee"]
    told = [matmul[name]["accumulates_in"] for name in ("loops", "python", "torch")]
    assert told == [None, "float64", "float32"]
    random = {
        op: [x["name"] for x in each if not x["deterministic"]] for op, each in listed.items()
    }
    assert random == {op: ["dask"] for op in listed}
    devices = (await client.get("/devices")).json()["devices"]
    assert devices[-1]["precisions"] == ["ieee"]
