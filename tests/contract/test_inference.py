"""The Open Inference Protocol: every operation and dtype, JSON and binary, and its errors."""

import gzip
import zlib
from collections.abc import Iterator
from threading import Event
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from service.registry import Op
from tests.cases import Row, assert_near, here
from tests.rigs.apps import Serve, client_of
from tests.rigs.inference_bodies import BYTES, LENGTH, PROTOCOL, as_bytes, as_json, parts, values_of

A = np.array([[1.0, 2.0], [3.0, 4.0]])
B = np.array([[5.0, 6.0], [7.0, 8.0]])
AB = {"a": A, "b": B}
PRODUCT = [19.0, 22.0, 43.0, 50.0]
PATH = "/v2/models/matmul/infer"
OPS = list(REGISTRY.values())


def rows(op: Op[Any], dtype: str) -> Iterator[Row]:
    """The samples of an operation in a dtype."""
    for sample in op.samples:
        yield Row(op, "auto", sample, dtype, "cpu")


def inputs_of(row: Row) -> dict[str, Any]:
    """The operands by their names."""
    names = row.op.operands or [str(index) for index in range(len(row.sample.shapes))]
    return dict(zip(names, row.operands(), strict=True))


@pytest.mark.parametrize("dtype", PROTOCOL)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("result", ["json", "binary"])
@pytest.mark.parametrize("request_form", ["json", "binary"])
async def test_samples_are_computed(
    client: AsyncClient, op: Op[Any], dtype: str, request_form: str, result: str
) -> None:
    """Results and errors are those of the own routes, from and to both forms."""
    for row in rows(op, dtype):
        fields = {"parameters": {**row.sample.params, "binary_data_output": result == "binary"}}
        path = f"/v2/models/{op.name}/infer"
        if request_form == "json":
            response = await client.post(path, json=as_json(inputs_of(row), dtype, **fields))
        else:
            body, headers = as_bytes(inputs_of(row), dtype, **fields)
            response = await client.post(path, content=body, headers=headers)
        if not row.takes_dtype or row.chosen is None:
            assert response.status_code == 422, row.name
            assert set(response.json()) == {"error"}
            continue
        assert response.status_code == 200, (row.name, response.text)
        answer, data = parts(response)
        (output,) = answer["outputs"]
        assert output["name"] == "result"
        assert ("data" in output) == (result == "json")
        assert answer["model_name"] == op.name
        assert answer["model_version"] == row.chosen
        assert output["datatype"] == DTYPES[row.result_dtype].protocol
        assert_near(values_of(output, data), row.expected(), row.result_dtype)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
async def test_every_strategy_is_a_version(client: AsyncClient, op: Op[Any]) -> None:
    """It computes, and the answer states it; so does `auto`."""
    row = next(rows(op, "float32"))
    for version in ("auto", *here(op)):
        path = f"/v2/models/{op.name}/versions/{version}"
        sent = as_json(inputs_of(row), "float32", parameters=dict(row.sample.params))
        response = await client.post(f"{path}/infer", json=sent)
        answer, data = parts(response)
        assert answer["model_version"] == (row.chosen if version == "auto" else version)
        assert_near(values_of(answer["outputs"][0], data), row.expected(), "float32")
        assert (await client.get(path)).json() == (await client.get(f"/v2/models/{op.name}")).json()
        assert (await client.get(f"{path}/ready")).json() == {"name": op.name, "ready": True}


async def infer(client: AsyncClient, path: str = PATH, **fields: Any) -> Response:
    """Send the product of two matrices with these fields."""
    return await client.post(path, json=as_json(AB, "float32", **fields))


async def test_the_answer_in_json(client: AsyncClient) -> None:
    """Whole, and with the headers of every answer."""
    response = await infer(client, id="42")
    assert response.json() == {
        "model_name": "matmul",
        "model_version": "torch",
        "id": "42",
        "parameters": {"device": "cpu"},
        "outputs": [{"name": "result", "datatype": "FP32", "shape": [2, 2], "data": PRODUCT}],
    }
    assert response.headers["Content-Type"] == "application/json"
    assert "total;dur=" in response.headers["Server-Timing"]
    assert response.headers["X-Request-Id"]


async def test_the_answer_as_bytes(client: AsyncClient) -> None:
    """The JSON says how many bytes follow, and the header where they begin."""
    response = await infer(
        client, outputs=[{"name": "result", "parameters": {"binary_data": True}}]
    )
    answer, data = parts(response)
    assert "id" not in answer
    assert response.headers["Content-Type"] == BYTES
    assert answer["outputs"] == [
        {
            "name": "result",
            "datatype": "FP32",
            "shape": [2, 2],
            "parameters": {"binary_data_size": 16},
        }
    ]
    assert np.frombuffer(data, "<f4").tolist() == PRODUCT


@pytest.mark.parametrize(
    ("outputs", "binary_output", "is_binary"),
    [
        (None, False, False),
        (None, True, True),
        ([], True, True),
        ([{"name": "result"}], True, True),
        ([{"name": "result"}], False, False),
        ([{"name": "result", "parameters": {"binary_data": False}}], True, False),
        ([{"name": "result", "parameters": {"binary_data": True}}], False, True),
        ([{"name": "result", "parameters": None}], False, False),
    ],
)
async def test_the_form_of_the_result_is_asked_for(
    client: AsyncClient, outputs: Any, binary_output: bool, is_binary: bool
) -> None:
    """By a parameter of the output, otherwise by one of the request."""
    response = await infer(
        client, outputs=outputs, parameters={"binary_data_output": binary_output}
    )
    assert (LENGTH in response.headers) == is_binary
    assert (response.headers["Content-Type"] == BYTES) == is_binary


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
@pytest.mark.parametrize("rows", [1, 200], ids=["small", "large"])
async def test_data_are_flat_or_nested(client: AsyncClient, data: Any, rows: int) -> None:
    """In small documents and in large ones, which another engine reads."""
    x = {"name": "x", "shape": [2 * rows, 2], "datatype": "FP64", "data": data * rows}
    sent = {"inputs": [x], "parameters": {"dim": 1, "ord": 1}}
    response = await client.post("/v2/models/norm/infer", json=sent)
    assert response.json()["outputs"][0]["data"] == [3.0, 7.0] * rows


async def test_inputs_may_come_in_any_order_and_form(client: AsyncClient) -> None:
    """They are known by their names; bytes lie in the order of the request."""
    blob = A.astype("<f4").tobytes()
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "b", "shape": [2, 2], "datatype": "FP64", "data": [5, 6, 7, 8]},
                {
                    "name": "a",
                    "shape": [2, 2],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(blob)},
                },
            ]
        }
    )
    headers = {LENGTH: str(len(head))}
    response = await client.post(PATH, content=head + blob, headers=headers)
    (output,) = response.json()["outputs"]
    assert (output["datatype"], output["data"]) == ("FP64", PRODUCT)


async def test_binary_inputs_of_two_dtypes_are_promoted(client: AsyncClient) -> None:
    """The promotion is that of the own routes."""
    blobs = (A.astype("<f4").tobytes(), B.astype("<i8").tobytes())
    listed = [
        {
            "name": name,
            "shape": [2, 2],
            "datatype": datatype,
            "parameters": {"binary_data_size": len(blob)},
        }
        for name, datatype, blob in zip("ab", ("FP32", "INT64"), blobs, strict=True)
    ]
    head = orjson.dumps({"inputs": listed})
    headers = {LENGTH: str(len(head))}
    response = await client.post(PATH, content=head + b"".join(blobs), headers=headers)
    (output,) = response.json()["outputs"]
    assert (output["datatype"], output["data"]) == ("FP32", PRODUCT)


@pytest.mark.parametrize("padding", range(9))
async def test_the_data_may_begin_anywhere(client: AsyncClient, padding: int) -> None:
    """Aligned for their dtype or not; a header that is long is read as a short one is."""
    for spaces in (padding, 2000 + padding):
        body, headers = as_bytes(AB, "float64")
        length = int(headers[LENGTH])
        padded = body[:length] + b" " * spaces + body[length:]
        headers |= {LENGTH: str(length + spaces)}
        response = await client.post(PATH, content=padded, headers=headers)
        assert response.json()["outputs"][0]["data"] == PRODUCT


async def test_fields_that_are_null_are_absent(client: AsyncClient) -> None:
    """Clients write out what they leave empty."""
    x = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": None, "data": [3, 4]}
    nothing = dict.fromkeys(("id", "model_version", "outputs", "parameters"))
    sent = {"model_name": "norm", "inputs": [x], **nothing}
    response = await client.post("/v2/models/norm/infer", json=sent)
    assert response.json()["outputs"][0]["data"] == [5.0]
    sent["parameters"] = {"ord": None, "keepdim": None, "binary_data_output": None}
    response = await client.post("/v2/models/norm/infer", json=sent)
    assert response.json()["outputs"][0]["data"] == [5.0]


async def test_no_bytes_need_no_header(client: AsyncClient) -> None:
    """KServe's client sends an empty tensor so."""
    x = {"name": "x", "shape": [0], "datatype": "FP32", "parameters": {"binary_data_size": 0}}
    sent = {"inputs": [{**x, "data": None}]}
    response = await client.post("/v2/models/norm/infer", json=sent)
    assert response.json()["outputs"][0]["data"] == [0.0]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"ord": 1, "dim": [0, 1]}, [6.0]),
        ({"ord": "inf", "dim": "[0, 1]", "kind": "matrix"}, [7.0]),
        ({"ord": "1", "dim": "1", "keepdim": "true"}, [3.0, 7.0]),
        ({"ord": "fro", "strategy": "loops", "device": "cpu"}, [30**0.5]),
    ],
)
async def test_parameters_are_the_fields_of_the_own_route(
    client: AsyncClient, parameters: dict[str, Any], expected: list[float]
) -> None:
    """The protocol has numbers, words and booleans; a text is read as in a query string."""
    sent = as_json({"x": A}, "float64", parameters=parameters)
    response = await client.post("/v2/models/norm/infer", json=sent)
    assert response.json()["outputs"][0]["data"] == pytest.approx(expected)
    assert response.json()["model_version"] == parameters.get("strategy", "torch")


async def test_numbers_that_json_has_no_word_for(client: AsyncClient) -> None:
    """NaN and infinities are strings both ways, int64 has all its digits, bytes all their bits."""
    x = {"shape": [3], "datatype": "FP32", "data": ["NaN", "Infinity", "-Infinity"]}
    sent = {"inputs": [{"name": "0", **x}], "parameters": {"to": [3]}}
    response = await client.post("/v2/models/broadcast/infer", json=sent)
    assert response.json()["outputs"][0]["data"] == x["data"]
    big = 2**62 + 1
    x = {"shape": [2], "datatype": "INT64", "data": [big, str(-big)]}
    sent = {"inputs": [{"name": "0", **x}], "parameters": {"to": [2]}}
    response = await client.post("/v2/models/broadcast/infer", json=sent)
    assert orjson.loads(response.content)["outputs"][0]["data"] == [big, -big]


async def test_a_number_that_lost_digits_is_told(client: AsyncClient) -> None:
    """Among the parameters of the answer."""
    x = {"name": "x", "shape": [1], "datatype": "FP32", "data": [2**24 + 1]}
    response = await client.post("/v2/models/norm/infer", json={"inputs": [x]})
    assert "float32 cannot hold the whole number" in response.json()["parameters"]["warnings"]


@pytest.mark.parametrize("microseconds", [0, 1, 5_000_000, 10**15])
async def test_a_timeout_in_microseconds_shortens_the_deadline(
    client: AsyncClient, microseconds: int
) -> None:
    """It never lengthens it, and 0 is none."""
    response = await infer(client, parameters={"timeout": microseconds})
    assert response.status_code == 200


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_bodies_may_be_compressed(client: AsyncClient, coding: str, pack: Any) -> None:
    """The length of the JSON is that of the inflated body."""
    body, headers = as_bytes(AB, "float32")
    headers |= {"Content-Encoding": coding}
    response = await client.post(PATH, content=pack(body), headers=headers)
    assert response.json()["outputs"][0]["data"] == PRODUCT


@pytest.mark.parametrize("is_binary", [False, True])
async def test_answers_in_json_are_compressed(client: AsyncClient, is_binary: bool) -> None:
    """When that is asked for and worth it; bytes are not."""
    ones = np.ones((64, 64))
    sent = as_json({"a": ones, "b": ones}, "float32", parameters={"binary_data_output": is_binary})
    response = await client.post(PATH, json=sent, headers={"Accept-Encoding": "gzip"})
    assert ("Content-Encoding" in response.headers) != is_binary
    answer, data = parts(response)
    assert values_of(answer["outputs"][0], data).tolist() == (ones * 64).tolist()
    response = await client.post(PATH, json=sent, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in response.headers


X = {"name": "x", "shape": [2], "datatype": "FP32", "data": [3, 4]}


def norm(**changed: Any) -> dict[str, Any]:
    """A request whose input has these fields, or lacks what is None."""
    fields = {name: value for name, value in (X | changed).items() if value is not None}
    return {"inputs": [fields]}


REFUSED: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "is not JSON"),
    "empty": (b"", 400, "empty"),
    "bare NaN": (b'{"inputs": [NaN]}', 400, "in quotes"),
    "no object": ([], 422, "JSON object"),
    "key twice": (b'{"id": "1", "id": "2", "inputs": []}', 400, "twice"),
    "unknown field": ({"input": []}, 422, "did you mean 'inputs'"),
    "no inputs": ({}, 422, "norm needs x"),
    "inputs no list": ({"inputs": {}}, 422, "inputs is a list"),
    "input no object": ({"inputs": [1]}, 422, "inputs/0 is an object"),
    "unknown key": (norm(dtype="FP32"), 422, "'dtype'"),
    "no name": (norm(name=None), 422, "name of an input"),
    "another name": (norm(name="y"), 422, "norm has no 'y'; it has x"),
    "name twice": ({"inputs": [X, X]}, 400, "two inputs"),
    "no shape": (norm(shape=None), 422, "shape is a list"),
    "negative size": (norm(shape=[-1]), 422, "shape is a list"),
    "huge shape": (norm(shape=[2**40]), 422, "SERVICE_MAX_ELEMENTS"),
    "wrong shape": (norm(shape=[3]), 422, "states shape"),
    "ragged": (norm(data=[[1, 2], [3]], shape=[2, 2]), 422, "not rectangular"),
    "no datatype": (norm(datatype=None), 422, "choose one of FP32"),
    "own name of a dtype": (norm(datatype="float32"), 422, "choose one of FP32"),
    "unsigned": (norm(datatype="UINT32"), 422, "choose one of FP32"),
    "text": (norm(datatype="BYTES", data=["a", "b"]), 422, "choose one of FP32"),
    "no data": (norm(data=None), 422, "neither data nor a"),
    "null in data": (norm(data=[None, 1]), 422, "null"),
    "fraction": (norm(datatype="INT32", data=[0.5, 1]), 422, "fraction"),
    "out of range": (norm(datatype="UINT8", data=[256, 1]), 422, "range of uint8"),
    "size without header": (
        norm(data=None, parameters={"binary_data_size": 8}),
        422,
        "no such header",
    ),
    "size no number": (norm(data=None, parameters={"binary_data_size": "8"}), 422, "takes 8 bytes"),
    "size true": (
        norm(data=None, shape=[1], datatype="UINT8", parameters={"binary_data_size": True}),
        422,
        "takes 1 bytes",
    ),
    "negative data size": (norm(data=None, parameters={"binary_data_size": -8}), 422, "is -8"),
    "data and size": (norm(parameters={"binary_data_size": 8}), 422, "both data and a"),
    "shared memory": (
        norm(parameters={"shared_memory_region": "r"}),
        422,
        "parameters of input 'x' have no 'shared_memory_region'",
    ),
    "parameters no object": (norm() | {"parameters": []}, 422, "parameters is an object"),
    "unknown parameter": (norm() | {"parameters": {"order": 1}}, 422, "did you mean 'ord'"),
    "output parameter": (norm() | {"parameters": {"output": "flat"}}, 422, "have no 'output'"),
    "wrong parameter": (norm() | {"parameters": {"ord": "two"}}, 422, "ord is"),
    "wrong list": (norm() | {"parameters": {"dim": "[0,"}}, 422, "no JSON"),
    "unknown strategy": (norm() | {"parameters": {"strategy": "x"}}, 422, "no strategy 'x'"),
    "unknown device": (norm() | {"parameters": {"device": "cuda:9"}}, 422, "cuda:9"),
    "both deadlines": (
        norm() | {"parameters": {"timeout": 1, "deadline_ms": 1}},
        422,
        "say the same",
    ),
    "no timeout": (norm() | {"parameters": {"timeout": -1}}, 422, "microseconds"),
    "timeout no number": (norm() | {"parameters": {"timeout": 0.5}}, 422, "microseconds"),
    "binary_data_output": (norm() | {"parameters": {"binary_data_output": 1}}, 422, "true or"),
    "id no text": (norm() | {"id": 1}, 422, "id is a string"),
    "outputs no list": (norm() | {"outputs": "result"}, 422, "outputs is a list"),
    "another output": (norm() | {"outputs": [{"name": "y"}]}, 422, "named result"),
    "output twice": (norm() | {"outputs": [{"name": "result"}] * 2}, 422, "as well"),
    "classification": (
        norm() | {"outputs": [{"name": "result", "parameters": {"classification": 2}}]},
        422,
        "'classification'",
    ),
    "binary_data": (
        norm() | {"outputs": [{"name": "result", "parameters": {"binary_data": "yes"}}]},
        422,
        "binary_data is true or false",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_wrong_is_refused(client: AsyncClient, name: str) -> None:
    """In the protocol's form: an object with `error`, and the status of the own routes."""
    body, status, words = REFUSED[name]
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response = await client.post("/v2/models/norm/infer", content=content)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert set(response.json()) == {"error"}
    assert words in response.json()["error"]


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "size without header"])
async def test_it_is_refused_with_a_header_too(client: AsyncClient, name: str) -> None:
    """The same words, whichever way the JSON was read."""
    body, status, words = REFUSED[name]
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {LENGTH: str(len(content))}
    path = "/v2/models/norm/infer"
    response = await client.post(path, content=content, headers=headers)
    expected = {"empty": (400, LENGTH)}.get(name, (status, words))
    assert response.status_code == expected[0]
    assert expected[1] in response.json()["error"]


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ("0", "Inference-Header-Content-Length is 0"),
        ("100000", "Inference-Header-Content-Length is 100000"),
        ("-1", "is a number of bytes"),
        ("1" * 19, "is a number of bytes"),
        ("²", "is a number of bytes"),
        ("10", "is not JSON"),
    ],
)
async def test_a_wrong_length_is_refused(client: AsyncClient, length: str, words: str) -> None:
    """The JSON has to end within the body."""
    body, headers = as_bytes(AB, "float32")
    headers |= {LENGTH: length}
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    response = await client.post(PATH, content=body, headers=sent)
    assert response.status_code == 400
    assert words in response.json()["error"]


@pytest.mark.parametrize("more", [b"\0", b""], ids=["more", "less"])
async def test_the_data_have_to_fill_the_body(client: AsyncClient, more: bytes) -> None:
    """No byte is missing, and none is left over."""
    body, headers = as_bytes(AB, "float32")
    sent = body + more if more else body[:-1]
    response = await client.post(PATH, content=sent, headers=headers)
    assert response.status_code == 400
    assert f"the body has {len(sent)} bytes" in response.json()["error"]
    assert f"make {len(body)}" in response.json()["error"]


async def test_the_size_has_to_be_that_of_the_shape(client: AsyncClient) -> None:
    """Bytes that do not fit are not computed with."""
    x = {"name": "x", "shape": [3], "datatype": "FP16", "parameters": {"binary_data_size": 8}}
    head = orjson.dumps({"inputs": [x]})
    headers = {LENGTH: str(len(head))}
    path = "/v2/models/norm/infer"
    response = await client.post(path, content=head + bytes(8), headers=headers)
    assert response.status_code == 422
    assert "takes 6 bytes; its binary_data_size is 8" in response.json()["error"]


async def test_bytes_of_booleans_are_checked(client: AsyncClient) -> None:
    """0 and 1 are the two that there are."""
    x = {"name": "0", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
    head = orjson.dumps({"inputs": [x], "parameters": {"to": [2]}})
    headers = {LENGTH: str(len(head))}
    path = "/v2/models/broadcast/infer"
    response = await client.post(path, content=head + b"\0\2", headers=headers)
    assert response.status_code == 422
    assert "byte 1" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/matmull", "did you mean 'matmul'"),
        ("/v2/models/matmul/versions/torc", "did you mean 'torch'"),
        ("/v2/models/matmul/versions/1/ready", "no version '1'"),
        ("/v2/models/x/config", "no model is named 'x'"),
        ("/v2/models/matmul/versions/x/stats", "no version 'x'"),
        ("/v2/nothing", "nothing is served"),
    ],
)
async def test_what_does_not_exist(client: AsyncClient, path: str, words: str) -> None:
    """The error lists what does."""
    response = await client.get(path)
    assert response.status_code == 404
    assert words in response.json()["error"]


@pytest.mark.parametrize("path", ["/v2/models/x/infer", "/v2/models/matmul/versions/x/infer"])
async def test_what_does_not_exist_computes_nothing(client: AsyncClient, path: str) -> None:
    """404, whatever the body."""
    response = await infer(client, path)
    assert response.status_code == 404
    assert "x" in response.json()["error"]


async def test_a_prefix_of_the_path_is_taken_off(app: FastAPI) -> None:
    """A proxy may serve the service under another root."""
    transport = ASGITransport(app, root_path="/tensors")
    async with AsyncClient(transport=transport, base_url="http://service.test") as client:
        for path in (PATH, "/v2/models/matmul/versions/loops/infer"):
            response = await infer(client, f"/tensors{path}")
            assert response.json()["outputs"][0]["data"] == PRODUCT
        response = await client.get("/tensors/v2/models/x")
        assert response.json() == {"error": response.json()["error"]}


async def test_other_methods_are_refused(client: AsyncClient) -> None:
    """With those that the path takes."""
    response = await client.get(PATH)
    assert response.status_code == 405
    assert response.headers["Allow"] == "OPTIONS, POST"
    assert "is not served" in response.json()["error"]


async def test_other_media_types_are_refused(client: AsyncClient) -> None:
    """A form is a mistake of the client's; without a media type it is JSON."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await client.post(PATH, content=b"{}", headers=headers)
    assert response.status_code == 415
    assert "Content-Type: application/json" in response.json()["error"]
    headers = {"Content-Encoding": "br", "Content-Type": "application/json; charset=utf-8"}
    response = await client.post(PATH, content=b"{}", headers=headers)
    assert response.status_code == 415


async def test_the_query_string_has_no_fields(client: AsyncClient) -> None:
    """A query that would be ignored gets a 422."""
    response = await infer(client, f"{PATH}?strategy=loops")
    assert response.status_code == 422
    assert "parameters of the body" in response.json()["error"]


async def test_a_version_and_a_strategy_are_one_too_many(client: AsyncClient) -> None:
    """Even if they were the same."""
    path = "/v2/models/matmul/versions/torch/infer"
    response = await infer(client, path, parameters={"strategy": "torch"})
    assert response.status_code == 422
    assert "version in the path" in response.json()["error"]


async def test_the_limits_are_those_of_the_own_routes(serve: Serve) -> None:
    """Of the body, before and while it is read; of elements, and of the deadline."""
    async with serve(max_body_bytes=400, max_elements=16) as client:
        response = await infer(client)
        assert response.status_code == 200
        big = as_json({"a": np.ones((2, 32)), "b": np.ones((32, 2))}, "float32")
        response = await client.post(PATH, json=big)
        assert response.status_code == 413
        assert "SERVICE_MAX_BODY_BYTES" in response.json()["error"]
        body, headers = as_bytes({"a": np.ones((2, 9)), "b": np.ones((9, 1))}, "float32")
        response = await client.post(PATH, content=body, headers=headers)
        assert response.status_code == 422
        assert "SERVICE_MAX_ELEMENTS" in response.json()["error"]


async def test_a_service_that_is_not_ready(app: FastAPI) -> None:
    """Computes nothing and says when to come again; its metadata are there."""
    async with client_of(app) as client:
        app.state.service.state = "draining"
        try:
            for path in ("/v2/health/ready", "/v2/models/matmul/ready"):
                response = await client.get(path)
                assert response.status_code == 503
                assert response.headers["Retry-After"] == "1"
                assert "shutting down" in response.json()["error"]
            for response in (await infer(client), await client.post("/v2/repository/index")):
                assert response.status_code == 503
                assert "shutting down" in response.json()["error"]
            assert (await client.get("/v2/health/live")).json() == {"live": True}
            assert (await client.get("/v2/models/matmul")).status_code == 200
        finally:
            app.state.service.state = "ready"


async def test_a_large_call_waits_for_a_slot(client: AsyncClient) -> None:
    """Bodies that take long to read do not hold up the event loop."""
    ones = np.ones((600, 600))
    body, headers = as_bytes({"a": ones, "b": ones}, "float32")
    response = await client.post(PATH, content=body, headers=headers)
    assert set(response.json()["outputs"][0]["data"]) == {600.0}
    body, headers = as_bytes({"a": ones, "b": ones[1:]}, "float32")
    response = await client.post(PATH, content=body, headers=headers)
    assert response.status_code == 422
    assert "last axis" in response.json()["error"]


async def test_a_deadline_that_has_passed(serve: Serve) -> None:
    """504, in the protocol's form."""
    held = Event()
    async with serve(slots=1, deadline_ms=100) as client:
        service = client._transport.app.state.service  # type: ignore[attr-defined]  # ASGITransport's
        waiting = service.threads.submit(held.wait, deadline_ms=60_000)
        try:
            ones = np.ones((600, 600))
            body, headers = as_bytes({"a": ones, "b": ones}, "float32")
            response = await client.post(PATH, content=body, headers=headers)
        finally:
            held.set()
            await waiting
        assert response.status_code == 504
        assert "SERVICE_DEADLINE_MS" in response.json()["error"]


async def test_a_fault_of_ours(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer holds the request id and no more."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    async with client_of(app) as client:
        monkeypatch.setattr(type(app.state.service.engine), "run", fail)
        response = await client.post(
            PATH, json=as_json(AB, "float32"), headers={"X-Request-Id": "mine"}
        )
    assert response.status_code == 500
    assert response.json() == {"error": "request mine failed"}


async def test_the_server_and_its_models(client: AsyncClient) -> None:
    """Their metadata, configuration and index."""
    server = (await client.get("/v2")).json()
    assert server["name"] == "tensor-service"
    assert {"binary_tensor_data", "statistics"} <= set(server["extensions"])
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    index = (await client.post("/v2/repository/index")).json()
    assert {each["state"] for each in index} == {"READY"}
    listed = {(each["name"], each["version"]) for each in index}
    for op in OPS:
        versions = ["auto", *op.strategies]
        assert {(op.name, version) for version in versions} <= listed
        found = (await client.get(f"/v2/models/{op.name}")).json()
        config = (await client.get(f"/v2/models/{op.name}/config")).json()
        assert found["name"] == config["name"] == op.name
        assert found["versions"] == versions
        assert found["properties"]["summary"] == op.summary
        for param in op.params:
            assert param.name in found["properties"]["parameters"]
        names = [each["name"] for each in found["inputs"]]
        assert names == (list(op.operands) if op.operands else ["0", "1"])
        assert [each["dims"] for each in config["input"]] == [
            each["shape"] for each in found["inputs"]
        ]
        assert found["outputs"][0]["name"] == config["output"][0]["name"] == "result"
        assert config["output"][0]["data_type"] == "TYPE_FP32"


async def test_statistics_count_answers_and_refusals(serve: Serve) -> None:
    """Results count for the strategy that ran, errors for the requested version."""
    async with serve() as client:
        for version in ("torch", "loops"):
            for _ in range(2):
                await infer(client, f"/v2/models/matmul/versions/{version}/infer")
        await infer(client)
        await infer(client, "/v2/models/matmul/versions/loops/infer", outputs=[{"name": "x"}])
        await client.post(PATH, content=b"{}", headers={"Content-Type": "text/plain"})
        found = (await client.get("/v2/models/matmul/stats")).json()["model_stats"]
        assert [each["version"] for each in found] == ["auto", *REGISTRY["matmul"].strategies]
        by_version = {each["version"]: each for each in found}
        counts = {
            version: (
                each["inference_stats"]["success"]["count"],
                each["inference_stats"]["fail"]["count"],
            )
            for version, each in by_version.items()
        }
        assert counts.pop("torch") == (3, 0)
        assert counts.pop("loops") == (2, 1)
        assert counts.pop("auto") == (0, 1)
        assert set(counts.values()) == {(0, 0)}

        loops = by_version["loops"]
        assert loops["inference_count"] == loops["execution_count"] == 2
        assert loops["last_inference"] > 1.7e12
        stats = loops["inference_stats"]
        phases = ("queue", "compute_input", "compute_infer", "compute_output")
        assert all(stats[phase]["count"] == 2 for phase in phases)
        assert 0 < sum(stats[phase]["ns"] for phase in phases) <= stats["success"]["ns"]
        assert loops["batch_stats"][0]["compute_infer"] == stats["compute_infer"]
        assert by_version["numpy"]["last_inference"] == 0
        assert by_version["numpy"]["batch_stats"] == []

        one = (await client.get("/v2/models/matmul/versions/loops/stats")).json()
        assert one == {"model_stats": [loops]}
        every = (await client.get("/v2/models/stats")).json()["model_stats"]
        assert len(every) == sum(1 + len(op.strategies) for op in OPS)


@pytest.mark.parametrize("spaced", [False, True])
async def test_each_request_has_its_own_id(client: AsyncClient, spaced: bool) -> None:
    """Also when the rest of the request is cached; an id given twice is ignored."""
    body, headers = as_bytes(AB, "float32")
    length = int(headers[LENGTH])
    separator = ": " if spaced else ":"
    for number in ("a-1", "b-2", 'c"3', "é", "x" * 100):
        field = f'{{"id"{separator}{orjson.dumps(number).decode()},'.encode()
        sent = field + body[1:]
        headers[LENGTH] = str(length + len(field) - 1)
        for _ in range(2):
            answer = (await client.post(PATH, content=sent, headers=headers)).json()
            assert answer["id"] == number
            assert answer["outputs"][0]["data"] == PRODUCT
        twice = field + field[1:] + body[1:]
        headers[LENGTH] = str(length + 2 * (len(field) - 1))
        response = await client.post(PATH, content=twice, headers=headers)
        assert response.status_code == 400
        assert "'id' appears twice" in response.json()["error"]


async def test_operands_are_not_changed(client: AsyncClient) -> None:
    """A request that is remembered gives the same answer again, its written inputs as well."""
    x = {"name": "0", "shape": [2], "datatype": "FP64", "data": [1.5, 2.5]}
    y = {"name": "1", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
    head = orjson.dumps({"inputs": [x, y], "parameters": {"op": "add"}})
    blob = torch.ones(2, dtype=torch.float64).numpy().tobytes()
    for _ in range(3):
        response = await client.post(
            "/v2/models/broadcast/infer", content=head + blob, headers={LENGTH: str(len(head))}
        )
        assert response.json()["outputs"][0]["data"] == [2.5, 3.5]
