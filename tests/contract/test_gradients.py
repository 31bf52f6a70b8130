"""POST /einsum/gradients and /matmul/gradients, against torch.autograd."""

import json
from base64 import b64encode
from pathlib import Path
from threading import current_thread
from typing import Any

import numpy as np
import pytest
import torch
from httpx import AsyncClient
from safetensors.numpy import load, save

from service.codecs.base import THREAD_TEXT_BYTES
from service.core.call import Call
from service.examples import Example, gradients_examples
from service.operations import REGISTRY
from service.pipeline.gradients import GradientsRequest
from service.registry import Sample
from tests.cases import Array, Json, assert_near, from_json, named, operands_of, to_json
from tests.contract.test_openapi import document, schema
from tests.contract.test_operations import assert_holds
from tests.rigs.apps import Serve

A, B, C = [[1, 2], [3, 4]], [[5, 6], [7, 8]], [[1, 0], [0, 1]]


def samples() -> list[object]:
    """Every sample of both operations, in dtypes that have gradients."""
    return [
        pytest.param(name, sample, dtype, id=f"{name}-{sample.name.replace(' ', '_')}-{dtype}")
        for name in ("einsum", "matmul")
        for sample in REGISTRY[name].samples
        for dtype in ("float32", "float64", "bfloat16", "complex128")
    ]


@torch.enable_grad()
def by_autograd(name: str, sample: Sample, operands: list[Array], upstream: Array) -> list[Array]:
    """The gradients of torch.autograd in float64 or complex128."""
    tensors = [torch.tensor(x, requires_grad=True) for x in operands]
    if name == "einsum":
        result = torch.einsum(str(sample.params["equation"]), *tensors)
    else:
        result = torch.matmul(*tensors)
    gradients = torch.autograd.grad(result, tensors, torch.tensor(upstream), materialize_grads=True)
    return [gradient.numpy() for gradient in gradients]


@pytest.mark.parametrize(("name", "sample", "dtype"), samples())
@pytest.mark.parametrize("is_given", [True, False], ids=["given", "ones"])
async def test_a_sample(
    client: AsyncClient, name: str, sample: Sample, dtype: str, is_given: bool
) -> None:
    """Each operand has the gradient of autograd, for a given upstream gradient or for ones."""
    op = REGISTRY[name]
    operands = operands_of(name, sample, dtype)
    shape = op.infer_sample(sample, torch.float64).shape
    kind: Any = complex if dtype == "complex128" else float
    upstream = np.ones(shape, kind)
    body = {**named(op, [to_json(x, dtype) for x in operands]), **sample.params}
    if is_given:
        upstream = np.arange(1, upstream.size + 1).reshape(shape) / 4 * kind(1)
        body["upstream"] = to_json(upstream, dtype)
    response = await client.post(f"/{name}/gradients", json=body)
    answer = response.json()
    assert response.status_code == 200, answer
    names = list(op.operands or map(str, range(len(operands))))
    assert (answer["op"], list(answer["gradients"])) == (name, names)
    expected = by_autograd(name, sample, operands, upstream)
    for found, gradient in zip(answer["gradients"].values(), expected, strict=True):
        assert found["result"]["dtype"] == dtype
        assert_near(from_json(found["result"]), gradient, dtype)


@pytest.mark.parametrize(
    "example", [pytest.param(e, id=f"{e.op}-{e.name}") for e in gradients_examples()]
)
async def test_an_example(client: AsyncClient, example: Example) -> None:
    """It gives what it says, and is in the document; request and answer fit their schemas."""
    response = await client.post(f"/{example.op}", json=example.body)
    refused = "code" in example.expected
    assert response.status_code == (422 if refused else 200)
    assert_holds(response.json(), example.expected, "")
    content = document()["paths"][f"/{example.op}"]["post"]["requestBody"]["content"]
    shown = content["application/json"]["examples"][example.name]
    assert shown == {"summary": example.summary, "value": example.body}
    schema(f"{example.op.partition('/')[0].capitalize()}GradientsRequest").validate(shown["value"])
    for output in ("nested", "flat", "base64", "summary", "none"):
        body = {**example.body, "output": output}
        answer = (await client.post(f"/{example.op}", json=body)).json()
        schema("Problem" if refused else "GradientsAnswer").validate(answer)


async def test_an_answer(client: AsyncClient) -> None:
    """It has the call as an equation, and equation, text and line of torch of each gradient."""
    answer = (await client.post("/matmul/gradients", json={"a": A, "b": B})).json()
    assert list(answer) == [
        *("op", "equation", "gradients", "device", "warnings", "request_id", "timing")
    ]
    assert answer["equation"] == "ij,jk->ik"
    found = answer["gradients"]["b"]
    assert 0 < found.pop("compute_ms") <= answer["timing"]["compute_ms"]
    assert found == {
        "equation": "ik,ij->jk",
        "explanation": "The gradient of b: upstream [ik] times a [ij], summed over i, "
        "gives [jk]: a.mT @ upstream.",
        "reproduce": 'torch.einsum("ik,ij->jk", upstream, a)',
        "strategy": "torch",
        "result": {"shape": [2, 2], "dtype": "float32", "data": [[4.0, 4.0], [6.0, 6.0]]},
    }


@pytest.mark.parametrize("strategy", REGISTRY["einsum"].strategies)
async def test_a_strategy(client: AsyncClient, strategy: str) -> None:
    """Gradients are einsums, so that each strategy of einsum that runs here computes them."""
    body = {"a": A, "b": B, "upstream": C, "strategy": strategy}
    response = await client.post("/matmul/gradients", json=body)
    if not REGISTRY["einsum"].strategies[strategy].dtypes:
        assert response.json()["code"] == "strategy-unsuitable"
        return
    found = response.json()["gradients"]
    assert {each["strategy"] for each in found.values()} == {strategy}
    assert found["a"]["result"]["data"] == [[5, 7], [6, 8]]
    assert found["b"]["result"]["data"] == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("matmul", {"a": A}, ("missing-field", "/b", "needs b")),
        ("matmul", {"a": A, "b": B, "upstream": [A]}, ("shape-mismatch", "/upstream", "(2, 2)")),
        ("matmul", {"a": A, "b": B, "upstream": 1}, ("shape-mismatch", "/upstream", "it was ()")),
        ("matmul", {"a": A, "b": B, "upstrem": C}, ("unknown-field", "/upstrem", "'upstream'?")),
        ("matmul", {"a": A, "b": [[1, 2]]}, ("shape-mismatch", "/b", "a's last axis (2)")),
        ("matmul", {"a": A, "b": B, "dtype": "int32"}, ("dtype-unsupported", None, "int32")),
        ("matmul", {"a": A, "b": B, "strategy": "dot"}, ("unknown-strategy", None, "pairwise")),
        ("einsum", {"equation": "i", "upstream": 1}, ("missing-field", "/operands", "operands")),
        ("einsum", {"operands": [A]}, ("missing-field", "/equation", "equation")),
        ("einsum", {"equation": ">", "operands": [A]}, ("invalid-equation", "/equation", "`->`?")),
        (
            "einsum",
            {"equation": "ij->i", "operands": [A], "upstream": [1, 2, 3]},
            ("shape-mismatch", "/upstream", "(2,); it was (3,)"),
        ),
        (
            "einsum",
            {"equation": "i,j->ij", "operands": [[1], A]},
            ("shape-mismatch", "/operands/1", "rank 2"),
        ),
    ],
)
async def test_an_error(
    client: AsyncClient, path: str, body: Json, expected: tuple[str, str | None, str]
) -> None:
    """It says what was asked and what was found, and where."""
    code, pointer, words = expected
    response = await client.post(f"/{path}/gradients", json=body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, code)
    assert [each["pointer"] for each in problem.get("errors", [])] == [pointer] * bool(pointer)
    assert words in problem["detail"] + problem.get("hint", "")


async def test_an_upstream_of_null_is_not_given(client: AsyncClient) -> None:
    """As for all optional fields."""
    for body in ({"a": A, "b": B}, {"a": A, "b": B, "upstream": None}):
        answer = (await client.post("/matmul/gradients", json=body)).json()
        assert answer["gradients"]["a"]["result"]["data"] == [[11, 15], [11, 15]]


@pytest.mark.parametrize("path", ["matmul", "einsum"])
async def test_a_body_of_bytes(client: AsyncClient, path: str) -> None:
    """The upstream gradient is a tensor of that name, in any order."""
    names = ("a", "b") if path == "matmul" else ("0", "1")
    tensors = {"upstream": C, names[1]: B, names[0]: A}
    body = save({name: np.array(each, np.float32) for name, each in tensors.items()})
    response = await client.post(
        f"/{path}/gradients" + ("?equation=ij,jk->ik" if path == "einsum" else ""),
        content=body,
        headers={"Content-Type": "application/x-safetensors"},
    )
    found = response.json()["gradients"]
    assert [found[name]["result"]["data"] for name in names] == [[[5, 7], [6, 8]], [[1, 3], [2, 4]]]


async def test_an_answer_of_bytes(client: AsyncClient) -> None:
    """A file has the gradients by name, and its metadata their texts."""
    headers = {"Accept": "application/x-safetensors"}
    response = await client.post("/matmul/gradients", json={"a": A, "b": B}, headers=headers)
    found = load(response.content)
    assert {name: x.tolist() for name, x in found.items()} == {
        "a": [[11, 15], [11, 15]],
        "b": [[4, 4], [6, 6]],
    }
    envelope = json.loads(response.headers["X-Envelope"])
    assert envelope["op"] == "matmul"
    assert envelope["gradients"]["b"]["equation"] == "ik,ij->jk"
    assert [row["name"] for row in envelope["steps"]] == ["a", "b"]
    refused = await client.post(
        "/matmul/gradients", json={}, headers={"Accept": "application/x-npy"}
    )
    assert refused.status_code == 406


async def test_an_error_in_bytes_points_at_the_upstream_gradient(client: AsyncClient) -> None:
    """It is no operand of the list."""
    body = save({"0": np.ones(1), "upstream": np.ones((1,) * 17)})
    headers = {"Content-Type": "application/x-safetensors"}
    url = "/einsum/gradients?equation=i"
    problem = (await client.post(url, content=body, headers=headers)).json()
    found = problem["code"], problem["errors"][0]["pointer"]
    assert found == ("limit-exceeded", "/upstream")


async def test_the_query_string_has_no_upstream(client: AsyncClient) -> None:
    """It is a tensor, which belongs into the body."""
    response = await client.post("/einsum/gradients?upstream=1", json={"operands": [A]})
    problem = response.json()
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("unknown-field", "/upstream")


async def test_a_long_call_runs_in_a_process(client: AsyncClient) -> None:
    """The worker makes the same steps of the same body."""
    body = {"a": [[1] * 8] * 8, "b": [[2] * 8] * 8, "strategy": "loops"}
    answer = (await client.post("/matmul/gradients", json=body)).json()
    assert answer["timing"]["executor"] == "process"
    assert answer["gradients"]["a"]["result"]["data"] == [[16] * 8] * 8


async def test_a_long_upstream_beside_a_list_is_read_in_a_process(client: AsyncClient) -> None:
    """Compiled code reads lists of operands, and what is beside them would hold the GIL."""
    upstream = [1.25] * (THREAD_TEXT_BYTES // 5)
    body = {"equation": "i->i", "operands": [upstream], "upstream": upstream, "output": "summary"}
    answer = (await client.post("/einsum/gradients", json=body)).json()
    assert answer["timing"]["executor"] == "process"
    assert answer["gradients"]["0"]["result"]["summary"]["mean"] == 1.25


async def test_a_warning_names_the_gradient(client: AsyncClient) -> None:
    """One whose numbers left the range of the dtype."""
    body = {"a": [[1]], "b": [[1e30]], "upstream": [[1e30]]}
    answer = (await client.post("/matmul/gradients", json=body)).json()
    (warning,) = answer["warnings"]
    assert warning.startswith("the gradient of a: the result is beyond the greatest float32")
    assert answer["gradients"]["a"]["result"]["data"] == [["Infinity"]]


def in_base64(x: Array) -> Json:
    """Return an operand in float64, whose numbers may be infinite."""
    return {"shape": x.shape, "dtype": "float64", "b64": b64encode(x.tobytes()).decode()}


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ii->i", [(2, 2)]),
        ("jii,i->ji", [(2, 2, 2), (2,)]),
        ("iii->i", [(2, 2, 2)]),
        ("iijj->ij", [(2, 2, 2, 2)]),
    ],
)
@pytest.mark.parametrize("strategy", ["loops", "torch"])
async def test_a_diagonal_of_what_is_not_finite(
    client: AsyncClient, equation: str, shapes: list[tuple[int, ...]], strategy: str
) -> None:
    """Elsewhere the gradient is 0, as autograd has it, and not 0 times infinity."""
    sample = Sample(equation, tuple(shapes), {"equation": equation})
    operands = [np.arange(1.0, np.prod(shape) + 1).reshape(shape) for shape in shapes]
    operands[-1].flat[0] = np.inf
    upstream = np.ones(REGISTRY["einsum"].infer_sample(sample, torch.float64).shape)
    upstream.flat[-1] = np.nan
    body = {
        "equation": equation,
        "operands": [in_base64(x) for x in operands],
        "upstream": in_base64(upstream),
        "strategy": strategy,
    }
    answer = (await client.post("/einsum/gradients", json=body)).json()
    expected = by_autograd("einsum", sample, operands, upstream)
    for found, gradient in zip(answer["gradients"].values(), expected, strict=True):
        np.testing.assert_array_equal(from_json(found["result"]), gradient)


async def test_many_operands_are_planned_on_a_thread(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders of contraction would be searched in the event loop, one for each gradient."""
    threads, to_chain = [], GradientsRequest.to_chain

    def recorded(self: GradientsRequest, call: Call, *, is_admitted: bool = False) -> Call:
        threads.append(current_thread())
        return to_chain(self, call, is_admitted=is_admitted)

    monkeypatch.setattr(GradientsRequest, "to_chain", recorded)
    for count in (4, 5):
        body = {"equation": ",".join("i" * count), "operands": [[1, 2]] * count}
        assert (await client.post("/einsum/gradients", json=body)).status_code == 200
    assert [each is current_thread() for each in threads] == [True, False]


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"equation": "i,j->ij", "operands": [[1] * 11, [1] * 11]}, None, "the result (11, 11)"),
        ({"equation": "ij->", "operands": [[[1] * 10] * 10]}, "/operands/0", "gradient of x0"),
    ],
    ids=["result", "memory"],
)
async def test_limits(serve: Serve, body: Json, pointer: str | None, detail: str) -> None:
    """A result over a limit has no gradients, and constants take memory as operands do."""
    async with serve(max_elements=100, max_bytes=900) as client:
        response = await client.post("/einsum/gradients", json=body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "limit-exceeded")
    assert [each["pointer"] for each in problem.get("errors", [])] == [pointer] * bool(pointer)
    assert detail in problem["detail"]


async def test_a_stored_operand(serve: Serve, tmp_path: Path) -> None:
    """It is read when its gradients are computed, and conjugated if it is complex."""
    np.save(tmp_path / "b.npy", np.array([[3 + 4j]]))
    async with serve(data=str(tmp_path)) as client:
        body = {"a": {"dtype": "complex128", "data": [[[1, 2]]]}, "b": {"ref": "b.npy"}}
        answer = (await client.post("/matmul/gradients", json=body)).json()
    assert answer["gradients"]["a"]["result"]["data"] == [[[3.0, -4.0]]]
    assert answer["gradients"]["b"]["result"]["data"] == [[[1.0, -2.0]]]


async def test_one_gradient_is_stored(serve: Serve, tmp_path: Path) -> None:
    """Of several none is, and no field names the one."""
    async with serve(data=str(tmp_path)) as client:
        body = {"a": A, "b": B, "output": {"store": "g.npy"}}
        problem = (await client.post("/matmul/gradients", json=body)).json()
        one = {"equation": "ij->", "operands": [A], "output": {"store": "g.npy"}}
        await client.post("/einsum/gradients", json=one)
    assert problem["detail"] == "one result is stored under a name; here are 2"
    assert "hint" not in problem
    np.testing.assert_array_equal(np.load(tmp_path / "g.npy"), np.ones((2, 2)))
