"""Chains: several operations in one request, planned as a whole."""

import io
import json
from typing import Any, Final

import numpy as np
import pytest
import torch
from httpx import AsyncClient
from safetensors.torch import load

from service.examples import Example, chain_examples, chain_plan_examples
from tests.cases import from_json
from tests.contract.test_openapi import document, schema
from tests.contract.test_operations import assert_holds
from tests.rigs.apps import Serve, app_of
from tests.rigs.request_bodies import NPY, RAW, SAFETENSORS, safetensors_of

FIRST: Final = {"operand": 0}
H: Final = {"step": "h"}
SQUARE: Final = {"name": "h", "operation": "matmul", "a": FIRST, "b": FIRST}
M: Final = [[1, 2], [3, 4]]


def step(name: str, operation: str, **fields: object) -> dict[str, object]:
    """Return a step."""
    return {"name": name, "operation": operation, **fields}


def relu(name: str, operand: object) -> dict[str, object]:
    """Return a step that replaces negative numbers by 0."""
    return step(name, "broadcast", op="maximum", operands=[operand, 0])


def model(images: object, first: object, second: object, **fields: object) -> dict[str, object]:
    """Return the lesson's model: linear, ReLU, linear."""
    steps = [
        step("hidden", "matmul", a=FIRST, b={"operand": 1}),
        relu("positive", {"step": "hidden"}),
        step("classes", "matmul", a={"step": "positive"}, b={"operand": 2}),
    ]
    return {"operands": [images, first, second], "steps": steps, **fields}


def lesson() -> list[np.ndarray[Any, Any]]:
    """Return images and the weights of two layers, in small whole numbers."""
    shapes = (5, 784), (784, 50), (50, 10)
    return [(np.arange(a * b) * 29 % 13 - 6.0).reshape(a, b) for a, b in shapes]


@pytest.mark.parametrize("example", [pytest.param(e, id=e.name) for e in chain_examples()])
async def test_an_example(client: AsyncClient, example: Example) -> None:
    """It gives what it says, and is in the document; request and answer fit their schemas."""
    response = await client.post("/chain", json=example.body)
    refused = "code" in example.expected
    assert response.status_code == (422 if refused else 200)
    assert_holds(response.json(), example.expected, "")
    content = document()["paths"]["/chain"]["post"]["requestBody"]["content"]
    shown = content["application/json"]["examples"][example.name]
    assert shown == {"summary": example.summary, "value": example.body}
    schema("ChainRequest").validate(shown["value"])
    for output in ("nested", "flat", "base64", "summary", "none"):
        answer = (await client.post("/chain", json={**example.body, "output": output})).json()
        schema("Problem" if refused else "ChainAnswer").validate(answer)


@pytest.mark.parametrize("example", [pytest.param(e, id=e.name) for e in chain_plan_examples()])
async def test_a_plan(client: AsyncClient, example: Example) -> None:
    """It gives what it says without data; each step is explained as a single call is."""
    schema("ChainPlanRequest").validate(example.body)
    response = await client.post("/chain/plan", json=example.body)
    plan = response.json()
    assert response.status_code == 200, plan
    assert_holds(plan, example.expected, "")
    schema("ChainPlanAnswer").validate(plan)
    if plan["accepted"]:
        estimates = []
        for each in plan["steps"]:
            chosen = (row for row in each["strategies"] if row["strategy"] == each["strategy"])
            estimates += [row["estimated_ms"] for row in chosen]
        assert plan["estimated_ms"] == pytest.approx(sum(estimates))
        assert plan["transfer_ms"] == 0
        operands = 10_000 * 784 + 784 * 50 + 50 * 10
        # Beside the operands, ReLU has its operand, its result, and what the strategy counts.
        assert plan["work"]["peak_bytes"] == 4 * (operands + 3 * 10_000 * 50)
    else:
        assert plan["reason"].startswith("step 'sum': elements of the result")
        assert plan["steps"][0]["result"]["elements"] == 10**8


async def test_a_plan_refuses_what_a_run_refuses(client: AsyncClient) -> None:
    """Shapes that do not fit, and strategies that no step has."""
    steps = [step("h", "matmul", a={"shape": [2, 3]}, b={"shape": [2, 3]})]
    problem = (await client.post("/chain/plan", json={"steps": steps})).json()
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("shape-mismatch", "/steps/0/b")


async def test_the_lesson_is_one_call(client: AsyncClient) -> None:
    """It gives the numbers of three calls, and says of each step what computed it."""
    images, first, second = lesson()
    tensors = [each.tolist() for each in (images, first, second)]
    answer = (await client.post("/chain", json=model(*tensors))).json()
    found = from_json(answer["results"]["classes"])
    np.testing.assert_array_equal(found, np.maximum(images @ first, 0) @ second)
    rows = answer["steps"]
    assert [row["name"] for row in rows] == ["hidden", "positive", "classes"]
    assert [row["operation"] for row in rows] == ["matmul", "broadcast", "matmul"]
    assert [row["shape"] for row in rows] == [[5, 50], [5, 50], [5, 10]]
    assert {row["strategy"] for row in rows} == {"torch"}
    assert {row["dtype"] for row in rows} == {"float32"}
    total = sum(row["compute_ms"] for row in rows)
    assert 0 < total <= answer["timing"]["total_ms"]
    assert list(answer) == [
        *("op", "results", "steps", "device", "warnings", "request_id", "timing")
    ]


async def test_results_are_those_that_are_named(client: AsyncClient) -> None:
    """In their order; the last step's if none is named. A result may be used, and sent back."""
    body = {"operands": [M], "steps": [SQUARE, relu("y", H)]}
    assert list((await client.post("/chain", json=body)).json()["results"]) == ["y"]
    answer = (await client.post("/chain", json={**body, "results": ["y", "h"]})).json()
    assert list(answer["results"]) == ["y", "h"]
    assert answer["results"]["h"]["data"] == [[7, 10], [15, 22]]


@pytest.mark.parametrize("name", ["matmul", "norm"])
async def test_operands_may_stand_in_steps(client: AsyncClient, name: str) -> None:
    """Such a step is the body of a single call with a name."""
    fields: dict[str, object] = {"a": M, "b": {"shape": [2], "dtype": "float64", "data": [1, 2]}}
    if name == "norm":
        fields = {"x": M, "ord": "nuc", "strategy": "numpy"}
    alone = (await client.post(f"/{name}", json=fields)).json()
    answer = (await client.post("/chain", json={"steps": [step("y", name, **fields)]})).json()
    assert answer["results"]["y"] == alone["result"]
    assert answer["steps"][0]["strategy"] == alone["strategy"]


async def test_steps_promote_their_operands(client: AsyncClient) -> None:
    """Operands of the request have one dtype; a comparison is made numbers where it is used."""
    steps = [
        step("h", "broadcast", op="gt", operands=[FIRST, 2]),
        step("y", "matmul", a=H, b=FIRST),
    ]
    body = {"operands": [M], "steps": steps, "results": ["h", "y"], "dtype": "int32"}
    results = (await client.post("/chain", json=body)).json()["results"]
    assert results["h"] == {
        "shape": [2, 2],
        "dtype": "bool",
        "data": [[False, False], [True, True]],
    }
    assert results["y"] == {"shape": [2, 2], "dtype": "int32", "data": [[0, 0], [4, 6]]}


@pytest.mark.parametrize("strategy", ["loops", "python", "torch", "numpy"])
async def test_a_strategy_for_all_steps(client: AsyncClient, strategy: str) -> None:
    """It is that of each step that names none."""
    other = {**SQUARE, "strategy": "dot"}
    body = {"operands": [M], "steps": [other, relu("y", H)], "strategy": strategy}
    answer = (await client.post("/chain", json=body)).json()
    assert [row["strategy"] for row in answer["steps"]] == ["dot", strategy]
    assert answer["results"]["y"]["data"] == [[7, 10], [15, 22]]


async def test_a_result_is_reviewed(client: AsyncClient) -> None:
    """As that of a single call; the warning names the step."""
    spoiled = step("y", "norm", x=FIRST, strategy="elementwise")
    body = {"operands": [[1e20, 1e20]], "steps": [spoiled]}
    answer = (await client.post("/chain", json=body)).json()
    assert answer["results"]["y"]["data"] == "Infinity"
    (warning,) = answer["warnings"]
    assert warning.startswith("step 'y': the result is wrong: intermediate values of 'elementwise'")


async def test_values_are_freed_after_their_last_use(serve: Serve) -> None:
    """Many results fit, of which two are in use at a time; not if all are sent back."""
    steps = [step("s0", "broadcast", op="add", operands=[FIRST, FIRST])]
    for number in range(1, 20):
        before = {"step": f"s{number - 1}"}
        steps.append(step(f"s{number}", "broadcast", op="add", operands=[before, before]))
    body = {"operands": [[1.0] * 1000], "steps": steps}
    async with serve(max_bytes=17_000) as client:
        answer = (await client.post("/chain", json=body)).json()
        assert answer["results"]["s19"]["data"] == [2.0**20] * 1000
        every = [each["name"] for each in steps]
        refused = (await client.post("/chain", json={**body, "results": every})).json()
    assert refused["code"] == "limit-exceeded"
    assert "SERVICE_MAX_BYTES" in refused["detail"]


async def test_limits_of_the_whole(serve: Serve) -> None:
    """Results have to fit the limit of elements together."""
    steps = [relu("h", FIRST), relu("y", H)]
    body = {"operands": [[1.0] * 8], "steps": steps, "results": ["h", "y"]}
    async with serve(max_elements=15) as client:
        refused = (await client.post("/chain", json=body)).json()
        assert refused["detail"].startswith("elements of all results: 16, over the limit of 15")
        assert (await client.post("/chain", json={**body, "results": ["y"]})).status_code == 200


async def test_a_deadline_is_for_all_steps(client: AsyncClient) -> None:
    """Each step would meet it, and all together would not; the detail names the slowest."""
    side = [[1.0] * 40] * 40
    loops = [step("s0", "matmul", a=FIRST, b=FIRST, strategy="loops")]
    body: dict[str, object] = {"operands": [side], "steps": loops, "output": "none"}
    plan = (await client.post("/matmul/plan", json={"a": side, "b": side})).json()
    (loop,) = (row for row in plan["strategies"] if row["strategy"] == "loops")
    body["deadline_ms"] = int(2 * loop["estimated_ms"])
    # On a busy host it may be late; it is not refused.
    assert (await client.post("/chain", json=body)).json().get("code") != "work-exceeded"
    for number in range(1, 4):
        before = {"step": f"s{number - 1}"}
        loops.append(step(f"s{number}", "matmul", a=before, b=FIRST, strategy="loops"))
    refused = (await client.post("/chain", json=body)).json()
    assert refused["code"] == "work-exceeded"
    assert "4 steps would take about" in refused["detail"]
    assert "(deadline_ms)" in refused["detail"]


INVALID: Final[dict[str, tuple[dict[str, object], str, str]]] = {
    # A body, the code of its error, and the pointer to it.
    "no steps": ({"operands": [M]}, "missing-field", "/steps"),
    "steps are no list": ({"steps": {}}, "invalid-field", "/steps"),
    "steps are empty": ({"steps": []}, "invalid-field", "/steps"),
    "65 steps": ({"operands": [M], "steps": [SQUARE] * 65}, "limit-exceeded", "/steps"),
    "a step is no object": ({"steps": [1]}, "invalid-field", "/steps/0"),
    "no name": ({"steps": [{}]}, "invalid-field", "/steps/0/name"),
    "a name with spaces": ({"steps": [step("a b", "norm")]}, "invalid-field", "/steps/0/name"),
    "a name of safetensors files": (
        {"steps": [step("__metadata__", "norm", x=M)]},
        "invalid-field",
        "/steps/0/name",
    ),
    "a name twice": (
        {"operands": [M], "steps": [SQUARE, step("h", "norm", x=H)]},
        "invalid-field",
        "/steps/1/name",
    ),
    "no operation": ({"steps": [{"name": "h"}]}, "missing-field", "/steps/0/operation"),
    "operation unknown": ({"steps": [step("h", "mul")]}, "invalid-field", "/steps/0/operation"),
    "operand missing": ({"steps": [step("h", "matmul", a=M)]}, "missing-field", "/steps/0/b"),
    "operands missing": (
        {"steps": [step("h", "einsum", equation="i")]},
        "missing-field",
        "/steps/0/operands",
    ),
    "operands are empty": (
        {"steps": [step("h", "broadcast", operands=[])]},
        "invalid-field",
        "/steps/0/operands",
    ),
    "field unknown": ({"steps": [step("h", "norm", x=M, y=1)]}, "unknown-field", "/steps/0/y"),
    "field wrong": ({"steps": [step("h", "norm", x=M, ord="x")]}, "invalid-field", "/steps/0/ord"),
    "strategy unknown": (
        {"steps": [step("h", "norm", x=M, strategy="dot")]},
        "unknown-strategy",
        "/steps/0/strategy",
    ),
    "strategy is no name": (
        {"steps": [step("h", "norm", x=M, strategy=1)]},
        "invalid-field",
        "/steps/0/strategy",
    ),
    "strategy of no step": (
        {"operands": [M], "steps": [SQUARE], "strategy": "mpi"},
        "unknown-strategy",
        "",
    ),
    "strategy of other steps": (
        {"operands": [M], "steps": [SQUARE], "strategy": "scaled"},
        "unknown-strategy",
        "/steps/0",
    ),
    "the step itself": (
        {"steps": [step("h", "norm", x=H)]},
        "invalid-field",
        "/steps/0/x/step",
    ),
    "a later step": (
        {"operands": [M], "steps": [step("y", "norm", x=H), SQUARE]},
        "invalid-field",
        "/steps/0/x/step",
    ),
    "no step": (
        {"operands": [M], "steps": [SQUARE, step("y", "norm", x={"step": "g"})]},
        "invalid-field",
        "/steps/1/x/step",
    ),
    "no name of a step": (
        {"steps": [step("h", "norm", x={"step": 1})]},
        "invalid-field",
        "/steps/0/x/step",
    ),
    "a reference with more": (
        {"steps": [step("h", "norm", x={"step": "g", "dtype": "int8"})]},
        "invalid-field",
        "/steps/0/x",
    ),
    "no operand": (
        {"operands": [M], "steps": [step("h", "norm", x={"operand": 1})]},
        "invalid-field",
        "/steps/0/x",
    ),
    "no operands at all": ({"steps": [step("h", "norm", x=FIRST)]}, "invalid-field", "/steps/0/x"),
    "no operand but one in a step": (
        {"operands": [M], "steps": [step("h", "matmul", a=M, b={"operand": 1})]},
        "invalid-field",
        "/steps/0/b",
    ),
    "no number of an operand": (
        {"operands": [M], "steps": [step("h", "norm", x={"operand": "a"})]},
        "invalid-field",
        "/steps/0/x/operand",
    ),
    "results are no list": (
        {"operands": [M], "steps": [SQUARE], "results": "h"},
        "invalid-field",
        "/results",
    ),
    "results twice": (
        {"operands": [M], "steps": [SQUARE], "results": ["h", "h"]},
        "invalid-field",
        "/results",
    ),
    "result unknown": (
        {"operands": [M], "steps": [SQUARE], "results": ["g"]},
        "invalid-field",
        "/results/0",
    ),
    "a step for nothing": (
        {"operands": [M], "steps": [SQUARE, relu("y", FIRST)]},
        "invalid-field",
        "/steps/0/name",
    ),
    "an operand for nothing": (
        {"operands": [M, M], "steps": [SQUARE]},
        "invalid-field",
        "/operands/1",
    ),
    "shapes": (
        {"operands": [M], "steps": [SQUARE, step("y", "matmul", a=H, b=[[1]])]},
        "shape-mismatch",
        "/steps/1/b",
    ),
    "an element": (
        {"operands": [M], "steps": [step("h", "matmul", a=FIRST, b=[[1, "x"]])]},
        "invalid-element",
        "/steps/0/b/0/1",
    ),
    "overflow": (
        {"operands": [M], "dtype": "int8", "steps": [SQUARE, step("y", "matmul", a=H, b=H)]},
        "integer-overflow",
        "/steps/1",
    ),
    "a tensor that is none": (
        {"steps": [step("h", "norm", x={"stepp": "h"})]},
        "unknown-field",
        "/steps/0/x/stepp",
    ),
    "two results stored": (
        {
            "operands": [M],
            "steps": [SQUARE, relu("y", H)],
            "results": ["h", "y"],
            "output": {"store": "y.npy"},
        },
        "array-unavailable",
        "/output/store",
    ),
    "a cluster": (
        {"operands": [M], "steps": [SQUARE], "device": "cluster"},
        "device-unavailable",
        "",
    ),
}


@pytest.mark.parametrize("name", INVALID)
async def test_errors_point_into_the_step(client: AsyncClient, name: str) -> None:
    """They name it too, where there is one."""
    body, code, pointer = INVALID[name]
    response = await client.post("/chain", json=body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, code), problem
    assert [each["pointer"] for each in problem.get("errors", [])] == [pointer] * bool(pointer)


async def test_an_error_says_what_would_work(client: AsyncClient) -> None:
    """It lists earlier steps, and the nearest name."""
    body = {"operands": [M], "steps": [SQUARE | {"name": "hidden"}]}
    body["steps"].append(step("y", "norm", x={"step": "hiden"}))  # type: ignore[attr-defined]
    problem = (await client.post("/chain", json=body)).json()
    assert problem["detail"] == "step 'y': 'hiden' is no step; earlier steps are hidden"
    assert problem["hint"] == "did you mean 'hidden'?"


async def test_booleans_of_a_step_become_numbers(client: AsyncClient) -> None:
    """No dtype of the request makes numbers of them, and the hint is what does."""
    equal = step("e", "broadcast", op="eq", operands=[{"operand": 0}, {"operand": 0}])
    for dtype in ({}, {"dtype": "float32"}):
        body = {"operands": [M], "steps": [equal, step("n", "norm", x={"step": "e"})], **dtype}
        problem = (await client.post("/chain", json=body)).json()
        assert problem["hint"] == "a step of op mul by an operand 1 makes 1 and 0 of the booleans"
    ones = step("ones", "broadcast", op="mul", operands=[{"step": "e"}, 1])
    body = {"operands": [M], "steps": [equal, ones, step("n", "norm", x={"step": "ones"})]}
    assert (await client.post("/chain", json=body)).status_code == 200
    # Beside an operand that is sent, a dtype of the request is enough.
    beside = step("p", "broadcast", op="add", operands=[{"step": "e"}, {"operand": 1}])
    sent = {"dtype": "bool", "data": True}
    body = {"operands": [sent, sent], "steps": [equal, beside]}
    problem = (await client.post("/chain", json=body)).json()
    assert problem["hint"].endswith("of booleans that are sent")
    assert (await client.post("/chain", json=body | {"dtype": "int64"})).status_code == 200


@pytest.mark.parametrize("name", ["precision", "deadline_ms"])
async def test_a_field_of_all_steps_is_none_of_a_step(client: AsyncClient, name: str) -> None:
    """The hint says where it stands."""
    problem = (
        await client.post("/chain", json={"steps": [step("h", "norm", x=M, **{name: 1})]})
    ).json()
    assert problem["code"] == "unknown-field"
    assert problem["hint"] == f"{name} is for all steps: it stands beside 'steps'"


async def test_an_error_in_an_operand_names_it(client: AsyncClient) -> None:
    """By the number of its step: rows are not those of `steps`."""
    steps = [step("h", "norm", x=M), step("y", "broadcast", op="add", operands=[H, [[1], [2, 3]]])]
    problem = (await client.post("/chain", json={"steps": steps})).json()
    assert problem["detail"].startswith("operand 1 of step 1 is not rectangular")
    assert problem["errors"][0]["pointer"] == "/steps/1/operands/1/1"


async def test_an_error_repeats_little_of_the_body(client: AsyncClient) -> None:
    """Names of fields and of steps are cut, and escaped in a pointer."""
    long = "~" + "z" * 500
    problem = (
        await client.post("/chain", json={"steps": [step("h", "norm", x=M, **{long: 1})]})
    ).json()
    (place,) = problem["errors"]
    assert place["pointer"] == f"/steps/0/~0{'z' * 62}…"
    steps = [step(f"{number:060}", "norm", x=M) for number in range(20)]
    for more in ({"results": ["g"]}, {"steps": [*steps, step("y", "norm", x={"step": "g"})]}):
        detail = (await client.post("/chain", json={"steps": steps, **more})).json()["detail"]
        assert f"are {0:060}, 0…" in detail
        assert len(detail) < 200


async def test_the_plan_chooses_the_executor(client: AsyncClient) -> None:
    """By the totals: short chains run inline, large ones on threads, loops in a process."""
    side = [[1.0] * 24] * 24
    small: dict[str, object] = {"operands": [side], "steps": [SQUARE, relu("y", H)]}
    large = {**small, "operands": [[[1.0] * 512] * 512], "output": "summary"}
    for kind, body in {
        "inline": small,
        "thread": large,
        "process": {**small, "strategy": "loops"},
    }.items():
        answer = (await client.post("/chain", json=body)).json()
        assert answer["timing"]["executor"] == kind
        if body is not large:
            assert answer["results"]["y"]["data"] == [[24.0] * 24] * 24


async def test_slow_text_is_read_in_a_worker_process(client: AsyncClient) -> None:
    """Large tensors within steps are read without compiled code, which would hold the GIL."""
    body = {"steps": [step("y", "norm", x=[1.0] * 300_000)]}
    answer = (await client.post("/chain", json=body)).json()
    assert answer["timing"]["executor"] == "process"
    assert abs(answer["results"]["y"]["data"] - 300_000**0.5) < 1e-3


async def test_large_tensors_are_read_by_compiled_code(client: AsyncClient) -> None:
    """In `operands` they are; the text never leaves the server."""
    body = {"operands": [[1.0] * 300_000], "steps": [step("y", "norm", x=FIRST)]}
    answer = (await client.post("/chain", json=body)).json()
    assert answer["timing"]["executor"] == "thread"


async def test_a_chain_is_counted_and_refused_as_calls_are(client: AsyncClient) -> None:
    """By its own name in metrics; a GET is 405, and a wrong type 415."""
    before = app_of(client).state.recorder.counters.calls
    counted = sum(each.count for key, each in before.items() if key[0] == "chain")
    assert (await client.post("/chain", json={"operands": [M], "steps": [SQUARE]})).is_success
    assert sum(each.count for key, each in before.items() if key[0] == "chain") == counted + 1
    assert (await client.get("/chain")).status_code == 405
    response = await client.post("/chain", content=b"", headers={"content-type": "text/csv"})
    assert response.status_code == 415


@pytest.mark.parametrize("accept", [SAFETENSORS, NPY, RAW])
async def test_tensors_as_bytes(client: AsyncClient, accept: str) -> None:
    """Operands are named by position, and all other fields stand in the query string."""
    images, first, _ = (each.astype(np.float32) for each in lesson())
    steps = [step("h", "matmul", a=FIRST, b={"operand": 1})]
    steps.append(step("y", "broadcast", op="mul", operands=[H, H]))
    body = safetensors_of({"0": torch.tensor(images), "1": torch.tensor(first)})
    headers = {"Content-Type": SAFETENSORS, "Accept": accept}
    query = {"steps": json.dumps(steps)}
    response = await client.post("/chain", params=query, content=body, headers=headers)
    assert response.headers["content-type"] == accept, response.text
    expected = (images @ first) ** 2
    envelope = json.loads(response.headers["X-Envelope"])
    assert [each["name"] for each in envelope["steps"]] == ["h", "y"]
    assert (envelope["op"], response.headers["X-Device"]) == ("chain", envelope["device"])
    if accept == SAFETENSORS:
        found = load(response.content)["y"].numpy()
    elif accept == NPY:
        found = np.load(io.BytesIO(response.content))
    else:
        found = np.frombuffer(response.content, np.float32).reshape(5, 50)
    np.testing.assert_array_equal(found, expected)


async def test_several_results_as_bytes(client: AsyncClient) -> None:
    """A safetensors file has them by name; a format that holds one is passed over."""
    body = {"operands": [M], "steps": [SQUARE, relu("y", H)], "results": ["h", "y"]}
    response = await client.post("/chain", json=body, headers={"Accept": f"{NPY}, {SAFETENSORS}"})
    assert {name: each.tolist() for name, each in load(response.content).items()} == {
        "h": [[7, 10], [15, 22]],
        "y": [[7, 10], [15, 22]],
    }
    problem = await client.post("/chain", json=body, headers={"Accept": NPY})
    assert (problem.status_code, problem.json()["code"]) == (406, "not-acceptable")
    assert "2 results" in problem.json()["detail"]
    wide = {**body, "dtype": "complex128"}
    wide["steps"] = [SQUARE, step("y", "broadcast", op="eq", operands=[H, H])]
    wide["operands"] = [[[[1, 0]]]]
    problem = await client.post("/chain", json=wide, headers={"Accept": SAFETENSORS})
    assert (problem.status_code, problem.json()["code"]) == (406, "not-acceptable")
    assert "complex128" in problem.json()["detail"]
    headers = {"Accept": f"{SAFETENSORS}, application/json;q=0.5"}
    response = await client.post("/chain", json=wide, headers=headers)
    assert response.headers["content-type"] == "application/json"


async def test_a_key_twice_in_a_query_string(client: AsyncClient) -> None:
    """It is refused as in a body; the pointer leads into the field."""
    body = safetensors_of({"0": torch.tensor([1.0]), "1": torch.tensor([2.0])})
    steps = '[{"name": "h", "operation": "norm", "x": {"operand": 0}, "x": {"operand": 1}}]'
    headers = {"Content-Type": SAFETENSORS}
    response = await client.post("/chain", params={"steps": steps}, content=body, headers=headers)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "duplicate-key")
    assert problem["detail"] == "the key 'x' appears twice in the object at /steps/0"
    assert problem["errors"][0]["pointer"] == "/steps/0/x"


@pytest.mark.parametrize(("fields", "dtype"), [({}, "float64"), ({"dtype": "float32"}, "float64")])
async def test_numbers_in_a_query_string(
    client: AsyncClient, fields: dict[str, str], dtype: str
) -> None:
    """Steps may have small operands there: they take the dtype of those in the body."""
    query = {"steps": json.dumps([relu("h", FIRST)]), "output": "flat", **fields}
    headers = {"Content-Type": SAFETENSORS}
    body = safetensors_of({"0": torch.tensor([-1.0, 2.0], dtype=torch.float64)})
    for _ in range(2):  # the second time by the header that was decoded
        answer = (await client.post("/chain", params=query, content=body, headers=headers)).json()
        assert answer["results"]["h"] == {"shape": [2], "dtype": dtype, "data": [0.0, 2.0]}
