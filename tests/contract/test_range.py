"""Intermediate values that leave the range of the dtype, over HTTP and on every way of a call."""

from typing import Any

import numpy as np
import orjson
import pytest
import torch
from httpx import AsyncClient

from tests.rigs.matmul_bodies import PADDING, slow_text
from tests.rigs.request_bodies import NPY, RAW, SAFETENSORS, npy_of, safetensors_of

Json = dict[str, Any]
LARGE = [1e20, 1e20]
TEXT = orjson.dumps({"x": LARGE})
NORM = 1.4142136e20
AGAIN = (
    "the result is computed again by 'scaled' in float64: "
    "intermediate values of 'torch' left the range of float32"
)
WRONG = (
    "the result is wrong: intermediate values of '{}' left the range of float32; "
    "auto computes again by 'scaled' in float64"
)


async def post(client: AsyncClient, path: str, body: Json) -> Json:
    """Send a request, assert that it is served, and return the answer."""
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


@pytest.mark.parametrize(
    ("body", "executor"),
    [
        (TEXT, "inline"),
        (TEXT + b" " * 70_000, "inline"),
        (TEXT + PADDING, "thread"),
        (slow_text(TEXT), "process"),
    ],
    ids=["short", "longer", "long", "slow"],
)
async def test_auto_gives_the_norm(client: AsyncClient, body: bytes, executor: str) -> None:
    """Here and in a worker process, and says by which strategy and why."""
    response = await client.post("/norm", content=body)
    answer = response.json()
    assert answer["result"]["data"] == pytest.approx(NORM)
    assert (answer["strategy"], answer["warnings"]) == ("scaled", [AGAIN])
    assert answer["timing"]["executor"] == executor


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("name", ["torch", "elementwise", "loops"])
async def test_a_named_strategy_warns(client: AsyncClient, name: str, is_slow: bool) -> None:
    """It keeps its infinity, here and in a worker process."""
    body = orjson.dumps({"x": LARGE, "strategy": name})
    content = slow_text(body) if is_slow else body
    answer = (await client.post("/norm", content=content)).json()
    assert answer["result"]["data"] == "Infinity"
    assert (answer["strategy"], answer["warnings"]) == (name, [WRONG.format(name)])


async def test_a_call_that_a_process_has_to_run(client: AsyncClient) -> None:
    """Its plan is the server's, which tells whether auto chose the strategy."""
    x = [[1e20] * 500] * 500
    answer = await post(client, "/norm", {"x": x, "strategy": "loops", "output": "none"})
    assert answer["timing"]["executor"] == "process"
    assert answer["warnings"] == [WRONG.format("loops")]


@pytest.mark.parametrize("accept", [RAW, NPY, SAFETENSORS])
async def test_answers_in_bytes(client: AsyncClient, accept: str) -> None:
    """The headers name the strategy, and the envelope has the warning."""
    x = torch.tensor([LARGE])
    for body, given in (
        (safetensors_of({"x": x}), SAFETENSORS),
        (npy_of(x.numpy()), NPY),
        (orjson.dumps({"x": LARGE}), "application/json"),
    ):
        headers = {"Content-Type": given, "Accept": accept}
        response = await client.post("/norm", content=body, headers=headers)
        assert response.headers["X-Strategy"] == "scaled"
        envelope = orjson.loads(response.headers["X-Envelope"])
        assert (envelope["strategy"], envelope["warnings"]) == ("scaled", [AGAIN])
        assert np.float32(NORM).tobytes() in response.content


async def test_the_open_inference_protocol(client: AsyncClient) -> None:
    """The warning is a parameter of the answer."""
    inputs = [{"name": "x", "shape": [2], "datatype": "FP32", "data": LARGE}]
    answer = await post(client, "/v2/models/norm/infer", {"inputs": inputs})
    assert answer["outputs"][0]["data"] == pytest.approx([NORM])
    assert answer["parameters"]["warnings"] == AGAIN


async def test_a_norm_that_float64_alone_holds(client: AsyncClient) -> None:
    """The infinity is right, and the warning names the dtype."""
    answer = await post(client, "/norm", {"x": [3e38, 3e38]})
    assert answer["result"]["data"] == "Infinity"
    assert answer["strategy"] == "torch"
    assert answer["warnings"] == [
        'the result is beyond the greatest float32, 3.40282e+38; "dtype": "float64" holds more'
    ]
    answer = await post(client, "/norm", {"x": [3e38, 3e38], "dtype": "float64"})
    assert answer["result"]["data"] == pytest.approx(3e38 * 2**0.5)


async def test_products_that_overflow_on_the_way(client: AsyncClient) -> None:
    """A sum, three factors and a fold are finite with auto."""
    body: Json = {"a": [[3e38, 3e38, -3e38]], "b": [[1], [1], [1]]}
    answer = await post(client, "/matmul", body)
    assert answer["result"]["data"] == [[3e38]]
    assert len(answer["warnings"]) == 1
    body = {"equation": "i,i,i->", "operands": [[1e-30], [1e-30], [1e30]]}
    assert (await post(client, "/einsum", body))["result"]["data"] == 1e-30
    body = {"op": "mul", "operands": [[1e30], [1e30], [1e-30]]}
    assert (await post(client, "/broadcast", body))["result"]["data"] == [1e30]


async def test_a_race_is_held_against_what_is_right(client: AsyncClient) -> None:
    """In float64 too, where the reference has nothing wider, the strategy that is right agrees."""
    body = {"x": [1e200, 1e200], "dtype": "float64", "strategies": ["torch", "scaled"], "repeat": 1}
    rows = (await post(client, "/norm/compare", body))["rows"]
    assert {row["strategy"]: row["agrees"] for row in rows} == {"torch": False, "scaled": True}
    body = {"a": [1e300, 3.0], "b": [1e300, 1.0], "dtype": "float64", "repeat": 1}
    rows = (await post(client, "/matmul/compare", body | {"strategies": ["torch"]}))["rows"]
    assert rows[0]["agrees"] is True


async def test_the_share_of_a_comparison(client: AsyncClient) -> None:
    """The lesson's `(a < b).float().mean()`: the answer of one request is sent in another."""
    compared = await post(client, "/broadcast", {"op": "lt", "operands": [[10, 6, -4], [2, 8, 7]]})
    mask = compared["result"]
    assert (mask["dtype"], mask["data"]) == ("bool", [False, True, True])
    expected = (torch.tensor([10, 6, -4]) < torch.tensor([2, 8, 7])).float().mean().item()
    body: Json = {"equation": "i,->", "operands": [mask, 1 / 3], "dtype": "float32"}
    answer = await post(client, "/einsum", body)
    assert answer["result"]["data"] == pytest.approx(expected)
    for x in (mask | {"dtype": "float32"}, mask):  # the sum
        answer = await post(client, "/norm", {"x": x, "ord": 1, "dtype": "float32"})
        assert answer["result"] == {"shape": [], "dtype": "float32", "data": 2.0}


NUMBERS = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8"]
SUM = {"equation": "ij->"}


@pytest.mark.parametrize("size", [3, 700])
@pytest.mark.parametrize("dtype", NUMBERS)
async def test_a_stated_dtype_makes_numbers_of_booleans(
    client: AsyncClient, dtype: str, size: int
) -> None:
    """In the tensor or in the request, nested, flat, as base64 and in bytes; short and long."""
    data = [[True, False, True]] * size
    flat = [item for row in data for item in row]
    base64 = (await post(client, "/broadcast", {"op": "eq", "operands": [[[1, 0, 1]] * size, 1],
                                                "output": "base64"}))["result"]  # fmt: skip
    limit = 2 * size
    for operand, stated in (
        (data, dtype),
        ({"data": data, "dtype": dtype}, None),
        ({"data": flat, "shape": [size, 3], "dtype": dtype}, None),
        ({"data": data, "dtype": "bool"}, dtype),
        (base64, dtype),
    ):
        body = SUM | {"operands": [operand]} | ({"dtype": stated} if stated else {})
        response = await client.post("/einsum", json=body)
        assert_sum(response.json(), limit, dtype)
        plan = (await post(client, "/einsum/plan", body))["result"]
        assert (plan["shape"], plan["dtype"]) == ([], dtype)
    bits = torch.tensor(data)
    for content, media_type in (
        (npy_of(bits.numpy()), NPY),
        (safetensors_of({"0": bits}), SAFETENSORS),
    ):
        response = await client.post(
            f"/einsum?equation=ij->&dtype={dtype}",
            content=content,
            headers={"Content-Type": media_type},
        )
        assert_sum(response.json(), limit, dtype)


def assert_sum(answer: Json, expected: int, dtype: str) -> None:
    """The sum is in that dtype, or is refused where an integer dtype cannot hold it."""
    if dtype in {"int8", "uint8"} and expected > 255:
        assert answer["code"] == "integer-overflow"
        return
    assert answer["result"]["dtype"] == dtype
    assert answer["result"]["data"] == pytest.approx(expected, rel=1e-2)


async def test_booleans_of_a_plan_without_data(client: AsyncClient) -> None:
    """A shape and a dtype are enough."""
    body = SUM | {"operands": [{"shape": [2, 3], "dtype": "bool"}], "dtype": "int64"}
    assert (await post(client, "/einsum/plan", body))["result"]["dtype"] == "int64"
    response = await client.post("/einsum/plan", json={**body, "dtype": "bool"})
    assert response.json()["code"] == "dtype-unsupported"


MIXED = "an array has booleans or numbers, not both"
ALONE = '"dtype": "bool" takes booleans, and "dtype": "float32" makes them 1 and 0'


@pytest.mark.parametrize(
    ("x", "fields", "pointer", "hint"),
    [
        pytest.param([True, 2.5], {"dtype": "float32"}, "/x/0", MIXED, id="a boolean first"),
        pytest.param([2, 0, True], {"dtype": "int8"}, "/x/2", MIXED, id="a number first"),
        pytest.param([[True], [1]], {"dtype": "float64"}, "/x/0/0", MIXED, id="rows"),
        pytest.param([True, False], {}, "/x/0", ALONE, id="no dtype"),
        pytest.param([True, False], {"dtype": "complex64"}, "/x/0", ALONE, id="complex"),
        pytest.param({"data": [1, True] + [0] * 3000}, {"dtype": "float32"}, "/x/data/1", MIXED,
                     id="long"),
    ],
)  # fmt: skip
async def test_what_stays_refused(
    client: AsyncClient, x: object, fields: Json, pointer: str, hint: str
) -> None:
    """Booleans among numbers, and booleans that no dtype makes numbers of, with the place."""
    response = await client.post("/norm", json={"x": x, **fields})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid-element")
    assert (problem["errors"][0]["pointer"], problem["hint"]) == (pointer, hint)


@pytest.mark.parametrize("op", ["matmul", "einsum", "norm", "broadcast"])
async def test_the_hint_for_booleans_works(client: AsyncClient, op: str) -> None:
    """A refusal of booleans names the dtype that the same request is served with."""
    mask = {"data": [True, False], "dtype": "bool"}
    bodies: Json = {
        "matmul": {"a": mask, "b": mask},
        "einsum": {"operands": [mask], "equation": "i->"},
        "norm": {"x": mask},
        "broadcast": {"operands": [mask, mask], "op": "add"},
    }
    body = bodies[op]
    problem = (await client.post(f"/{op}", json=body)).json()
    assert problem["code"] == "dtype-unsupported"
    dtype = problem["hint"].split('"')[3]
    answer = await post(client, f"/{op}", body | {"dtype": dtype})
    assert answer["result"]["data"] in (1, 1.0, [2, 0])


async def test_unsqueeze_is_a_view(client: AsyncClient) -> None:
    """The lesson's `c * c[:,None]` may be written `c * c.unsqueeze(1)`."""
    c = [10, 20, 30]
    body: Json = {"op": "mul", "operands": [c, c], "views": [None, "unsqueeze(1)"]}
    answer = await post(client, "/broadcast", body)
    expected = [[100, 200, 300], [200, 400, 600], [300, 600, 900]]
    assert answer["result"]["data"] == expected
    plan = await post(client, "/broadcast/plan", body)
    assert plan["reproduce"] == "torch.mul(x0, x1[:,None])"
