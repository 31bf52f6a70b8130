"""Numbers and absent values of JSON requests, as RFC 8259 and JSON Schema have them."""

import io
import json
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient

from tests.rigs.request_bodies import NPZ

# White space is no part of the document, and makes it longer than what is always decoded at once.
LONG = " " * 4096
PADDED = pytest.mark.parametrize("padding", ["", LONG], ids=["short", "long"])


async def answer(client: AsyncClient, path: str, body: str, status: int = 200) -> Any:
    """Return the JSON of a response, which has this status."""
    response = await client.post(path, content=body.encode())
    assert response.status_code == status, response.text
    return response.json()


@PADDED
@pytest.mark.parametrize(
    ("zero", "quotient"),
    [("-0", "-Infinity"), ("0", "Infinity"), ("-0.0", "-Infinity"), ("-0e1", "-Infinity")],
)
async def test_a_negative_zero_has_its_sign(
    client: AsyncClient, zero: str, quotient: str, padding: str
) -> None:
    """Division by it tells."""
    for operand in (
        f"[{zero}]",
        zero,
        f'{{"data": [{zero}]}}',
        f'{{"dtype": "float32", "data": [{zero}]}}',
    ):
        body = f'{{"op": "div", "operands": [[1], {operand}]}}{padding}'
        assert (await answer(client, "/broadcast", body))["result"]["data"] == [quotient]


async def test_a_negative_zero_in_a_large_body(client: AsyncClient) -> None:
    """Among hundreds of thousands of numbers, which a worker process may read."""
    numbers = np.random.default_rng(0).standard_normal(300_000).tolist()
    text = json.dumps([*numbers, 0])[:-2] + "-0]"
    body = f'{{"op": "div", "operands": [1, {text}], "output": "summary"}}'
    summary = (await answer(client, "/broadcast", body))["result"]["summary"]
    assert (summary["neginf"], summary["posinf"]) == (1, 0)


@PADDED
async def test_a_number_is_rounded_by_its_text(client: AsyncClient, padding: str) -> None:
    """It is above the tie that its float64 is."""
    body = f'{{"to": [2], "operands": [[1.0000000596046448, 1]]}}{padding}'
    assert (await answer(client, "/broadcast", body))["result"]["data"] == [1.0000001, 1.0]


NULLS = [
    ("/norm", '{"x": [3, 4]', ["strategy", "device", "dtype", "output", "deadline_ms"]),
    ("/norm", '{"x": [3, 4]', ["ord", "dim", "keepdim", "kind"]),
    ("/einsum", '{"operands": [[3, 4]], "equation": "i"', ["optimize", "dtype"]),
    ("/broadcast", '{"operands": [[3, 4], 1], "op": "add"', ["views", "to"]),
    ("/norm/plan", '{"x": {"shape": [2]}', ["strategy", "dtype", "deadline_ms", "ord"]),
    ("/norm/compare", '{"x": [3, 4]', ["strategies", "devices", "baseline", "repeat"]),
    ("/norm/compare", '{"x": [3, 4]', ["budget_ms", "rtol", "atol"]),
]


@PADDED
@pytest.mark.parametrize(("path", "body", "fields"), NULLS)
async def test_null_is_as_if_absent(
    client: AsyncClient, path: str, body: str, fields: list[str], padding: str
) -> None:
    """The answer is that of the body without the field."""
    nulls = "".join(f', "{name}": null' for name in fields)
    found = await answer(client, path, f"{body}{nulls}}}{padding}")
    expected = await answer(client, path, f"{body}}}{padding}")
    assert found.get("result") == expected.get("result")
    assert found.keys() == expected.keys()


@PADDED
@pytest.mark.parametrize(
    "operand",
    [
        '{"data": [3, 4], "b64": null, "ref": null, "shape": null, "dtype": null}',
        '{"b64": "AABAQAAAgEA=", "data": null, "shape": [2.0], "dtype": "float32"}',
    ],
)
async def test_null_in_a_tensor_is_as_if_absent(
    client: AsyncClient, operand: str, padding: str
) -> None:
    """`"b64": null` beside `data` gives no two forms of the data."""
    found = await answer(client, "/norm", f'{{"x": {operand}}}{padding}')
    assert found["result"]["data"] == 5.0


async def test_null_in_a_query_string(client: AsyncClient) -> None:
    """A field that is null in one place may be given in the other."""
    response = await client.post("/norm?dtype=null&dim=0", content=b'{"x": [3, 4], "dim": null}')
    assert response.json()["result"]["data"] == 5.0
    response = await client.post("/norm?ord=null", content=b'{"x": [3, 4], "ord": 1}')
    assert response.json()["result"]["data"] == 7.0


@PADDED
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/norm", '"x": [[3, 4]], "dim": 1.0, "deadline_ms": 1000.0'),
        ("/norm", '"x": {"shape": [1.0, 2e0], "data": [3, 4]}, "dim": [0.0, -1.0], "ord": "fro"'),
        ("/norm", '"x": {"dtype": "int64", "data": [3.0, 4e0]}'),
        ("/einsum", '"operands": [[[5, 0]]], "equation": "ij->i", "optimize": [[0.0]]'),
        ("/norm/compare", '"x": [3, 4], "repeat": 1.0, "budget_ms": 1e1'),
    ],
)
async def test_a_number_without_a_fraction_is_an_integer(
    client: AsyncClient, path: str, body: str, padding: str
) -> None:
    """JSON Schema has 1.0 and 1e3 as integers."""
    found = await answer(client, path, f"{{{body}}}{padding}")
    if "result" in found:
        assert found["result"]["data"] in (5.0, [5.0])


HINTS = [
    ("/norm", {"x": {"0": 1, "1": 2}}, "Array.from(x)"),
    ("/norm", {"x": {"data": {"0": 1, "1": 2}}}, "Array.from(x)"),
    ("/norm", {"x": [{"0": 1, "1": 2}, {"0": 1, "1": 2}]}, "Array.from(x)"),
    ("/norm", {"x": [1], "dtype": "uint16"}, "int32 holds"),
    ("/norm", {"x": {"dtype": "uint32", "data": [1]}}, "int64 holds"),
    ("/norm", {"x": [1], "dtype": "uint64"}, "int64 holds all values of uint64 below 2^63"),
]


@pytest.mark.parametrize(("path", "body", "hint"), HINTS)
async def test_a_refusal_has_a_hint(
    client: AsyncClient, path: str, body: dict[str, Any], hint: str
) -> None:
    """It has what would work."""
    assert hint in (await answer(client, path, json.dumps(body), 422))["hint"]


async def test_arrays_of_an_archive_without_names(client: AsyncClient) -> None:
    """numpy.savez(file, x, y) names them arr_0 and arr_1."""
    file = io.BytesIO()
    np.savez(file, np.ones(2), np.ones(2))
    headers = {"Content-Type": NPZ}
    response = await client.post("/matmul", content=file.getvalue(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "unknown-field")
    assert "numpy.savez(file, a=..., b=...)" in response.json()["hint"]


@PADDED
async def test_an_integer_that_does_not_fit_has_its_place(
    client: AsyncClient, padding: str
) -> None:
    """Also one that does not fit the dtype that the operands are promoted to."""
    bodies = {
        "/a/1": '{"a": [1, 300], "b": [1, 1], "dtype": "int8"}',
        "/a/data/1": '{"a": {"dtype": "int32", "data": [1, 70000]}, '
        '"b": {"dtype": "float16", "data": [1, 1]}}',
    }
    for pointer, body in bodies.items():
        problem = await answer(client, "/matmul", body + padding, 422)
        assert problem["code"] == "value-out-of-range"
        assert [place["pointer"] for place in problem["errors"]] == [pointer]
