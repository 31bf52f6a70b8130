"""Triton's and KServe's own client packages against a real server."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from service.registry import Op
from tests.cases import Row, assert_near, here
from tests.rigs.inference_bodies import PROTOCOL

Array = npt.NDArray[Any]

OPS = list(REGISTRY.values())
A = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[5, 6], [7, 8]], np.float32)
PRODUCT = [[19.0, 22.0], [43.0, 50.0]]
FORMS = pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[triton.InferenceServerClient]:
    """Triton's client of it."""
    with triton.InferenceServerClient(base_url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
async def kserve() -> AsyncIterator[InferenceRESTClient]:
    """KServe's client."""
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        yield client


def numpy_type(dtype: str) -> Any:
    """Return the dtype of Triton's client: numpy's own types, and one for bfloat16."""
    return ml_dtypes.bfloat16 if dtype == "bfloat16" else DTYPES[dtype].numpy


def arrays_of(row: Row) -> dict[str, Array]:
    """The operands by their names, in the dtype of the row."""
    names = row.op.operands or [str(index) for index in range(len(row.sample.shapes))]
    arrays = [each.astype(numpy_type(row.dtype)) for each in row.operands()]
    return dict(zip(names, arrays, strict=True))


def wide(found: Array, dtype: str) -> Array:
    """The values as exact int64, float64 or bool."""
    kind = DTYPES[dtype].kind
    return found.astype({"float": np.float64, "bool": np.bool_}.get(kind, np.int64))


def triton_input(name: str, values: Array, datatype: str, *, binary: bool) -> triton.InferInput:
    """An input for Triton's client."""
    found = triton.InferInput(name, list(values.shape), datatype)
    return found.set_data_from_numpy(values, binary_data=binary)


def kserve_input(name: str, values: Array, datatype: str, *, binary: bool) -> InferInput:
    """An input for KServe's client, which knows no array of bfloat16."""
    if datatype == "BF16":
        flat = [float(each) for each in values.reshape(-1)]
        return InferInput(name, list(values.shape), datatype, data=flat)
    found = InferInput(name, list(values.shape), datatype)
    found.set_data_from_numpy(values, binary_data=binary)
    return found


@FORMS
@pytest.mark.parametrize("dtype", PROTOCOL)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_triton_computes_every_sample(
    client: triton.InferenceServerClient, op: Op[Any], dtype: str, is_binary: bool
) -> None:
    """In every dtype, from and to both forms."""
    datatype = str(DTYPES[dtype].protocol)
    # This client sends bfloat16 as bytes only.
    binary_input = is_binary or datatype == "BF16"
    for sample in op.samples:
        row = Row(op, "auto", sample, dtype, "cpu")
        inputs = [
            triton_input(name, values, datatype, binary=binary_input)
            for name, values in arrays_of(row).items()
        ]
        outputs = [triton.InferRequestedOutput("result", binary_data=is_binary)]

        def call(row: Row = row, inputs: Any = inputs, outputs: Any = outputs) -> Any:
            params = dict(row.sample.params)
            return client.infer(
                row.op.name, inputs, outputs=outputs, request_id=row.name, parameters=params
            )

        if not row.takes_dtype or row.chosen is None:
            with pytest.raises(InferenceServerException) as caught:
                call()
            assert caught.value.status() == "422"
            assert caught.value.message()
            continue
        result = call()
        assert result.get_response()["id"] == row.name
        assert result.get_response()["model_version"] == row.chosen
        found = result.as_numpy("result")
        assert found.dtype == numpy_type(row.result_dtype)
        assert_near(wide(found, row.result_dtype), row.expected(), row.result_dtype)


@FORMS
@pytest.mark.parametrize("dtype", PROTOCOL)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
async def test_kserve_computes_every_sample(
    kserve: InferenceRESTClient, base_url: str, op: Op[Any], dtype: str, is_binary: bool
) -> None:
    """In every dtype, from and to both forms, as far as the client has them."""
    datatype = str(DTYPES[dtype].protocol)
    for sample in op.samples:
        row = Row(op, "auto", sample, dtype, "cpu")
        # This client refuses float16 in JSON, and does not know the bytes of bfloat16.
        binary_input = is_binary or datatype == "FP16"
        binary_output = is_binary and DTYPES[row.result_dtype].protocol != "BF16"
        request = InferRequest(
            op.name,
            [
                kserve_input(name, values, datatype, binary=binary_input)
                for name, values in arrays_of(row).items()
            ],
            request_id=row.name,
            parameters=dict(row.sample.params),
            request_outputs=[RequestedOutput("result", {"binary_data": binary_output})],
        )
        if not row.takes_dtype or row.chosen is None:
            with pytest.raises(httpx.HTTPStatusError, match="422") as caught:
                await kserve.infer(base_url, request, model_name=op.name)
            assert caught.value.response.json()["error"] in str(caught.value)
            continue
        answer = await kserve.infer(base_url, request, model_name=op.name)
        assert isinstance(answer, InferResponse)
        assert (answer.id, answer.model_name) == (row.name, op.name)
        (output,) = answer.outputs
        found = np.array(output.data, numpy_type(row.result_dtype)).reshape(output.shape)
        assert_near(wide(found, row.result_dtype), row.expected(), row.result_dtype)


def inputs(*, binary: bool = True) -> list[triton.InferInput]:
    """Two matrices for Triton's client."""
    return [triton_input(n, x, "FP32", binary=binary) for n, x in (("a", A), ("b", B))]


@FORMS
@pytest.mark.parametrize("version", ["", "auto", *here(REGISTRY["matmul"])])
def test_triton_names_a_version(
    client: triton.InferenceServerClient, version: str, is_binary: bool
) -> None:
    """Without requested outputs its client asks for bytes."""
    result = client.infer("matmul", inputs(binary=is_binary), model_version=version)
    assert result.as_numpy("result").tolist() == PRODUCT
    assert result.get_response()["model_version"] == (
        version if version not in ("", "auto") else "torch"
    )
    assert result.get_output("result")["parameters"] == {"binary_data_size": 16}


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@FORMS
def test_triton_compresses(
    client: triton.InferenceServerClient, coding: str, is_binary: bool
) -> None:
    """Requests, and the answers of which that makes sense."""
    ones = np.ones((64, 64), np.float32)
    result = client.infer(
        "matmul",
        [triton_input(name, ones, "FP32", binary=is_binary) for name in "ab"],
        outputs=[triton.InferRequestedOutput("result", binary_data=is_binary)],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert result.as_numpy("result").tolist() == (ones * 64).tolist()


def test_triton_sends_several_at_once(client: triton.InferenceServerClient) -> None:
    """Each has a deadline in microseconds."""
    coming = [client.async_infer("matmul", inputs(), timeout=5_000_000) for _ in range(5)]
    assert [each.get_result().as_numpy("result").tolist() for each in coming] == [PRODUCT] * 5


def test_triton_asks_what_there_is(client: triton.InferenceServerClient) -> None:
    """Health, metadata, configuration, index and statistics."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("matmul")
    assert client.is_model_ready("matmul", "loops")
    assert not client.is_model_ready("matmull")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("norm")["inputs"][0]["name"] == "x"
    assert client.get_model_metadata("norm", "scaled")["name"] == "norm"
    assert client.get_model_config("norm")["input"][0]["data_type"] == "TYPE_FP32"
    assert {"name": "norm", "version": "scaled", "state": "READY", "reason": ""} in (
        client.get_model_repository_index()
    )
    for model, version, count in (
        ("matmul", "loops", 1),
        ("matmul", "", 1 + len(REGISTRY["matmul"].strategies)),
        ("", "", sum(1 + len(op.strategies) for op in OPS)),
    ):
        found = client.get_inference_statistics(model, version)["model_stats"]
        assert len(found) == count


@pytest.mark.parametrize(
    ("model", "version", "fields", "status"),
    [
        ("matmul", "", {"parameters": {"device": "cuda:99"}}, "422"),
        ("matmul", "", {"parameters": {"ord": 2}}, "422"),
        ("matmul", "", {"priority": 1}, "422"),
        ("matmul", "1", {}, "404"),
        ("resnet50", "", {}, "404"),
        ("norm", "", {}, "422"),
    ],
)
def test_triton_is_told_what_is_wrong(
    client: triton.InferenceServerClient,
    model: str,
    version: str,
    fields: dict[str, Any],
    status: str,
) -> None:
    """Its client raises the error; the connection serves the next call."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs(), model_version=version, **fields)
    assert caught.value.status() == status
    assert "exception occurred in the client" not in caught.value.message()
    assert client.infer("matmul", inputs()).as_numpy("result").tolist() == PRODUCT


@pytest.mark.parametrize("name", ["load_model", "unload_model"])
def test_triton_cannot_load_models(client: triton.InferenceServerClient, name: str) -> None:
    """All models are always loaded."""
    with pytest.raises(InferenceServerException, match="nothing is served"):
        getattr(client, name)("matmul")


def test_triton_shares_no_memory(client: triton.InferenceServerClient) -> None:
    """A client may be anywhere."""
    a = triton.InferInput("a", [2, 2], "FP32")
    a.set_shared_memory("region", 16)
    with pytest.raises(InferenceServerException, match="shared_memory_region"):
        client.infer("matmul", [a, inputs()[1]])


async def test_kserve_asks_for_health(kserve: InferenceRESTClient, base_url: str) -> None:
    """Of the server and of a model."""
    assert await kserve.is_server_live(base_url)
    assert await kserve.is_server_ready(base_url)
    assert await kserve.is_model_ready(base_url, "einsum")
    assert not await kserve.is_model_ready(base_url, "einsums")


async def test_kserve_names_a_version(kserve: InferenceRESTClient, base_url: str) -> None:
    """Its client has no argument for one: as a parameter, or with the model."""
    named = [kserve_input(n, x, "FP32", binary=True) for n, x in (("a", A), ("b", B))]
    for model, parameters in (("matmul", {"strategy": "dot"}), ("matmul/versions/dot", {})):
        request = InferRequest("matmul", named, parameters={**parameters, "device": "cpu"})
        answer = await kserve.infer(base_url, request, model_name=model)
        assert isinstance(answer, InferResponse)
        assert answer.outputs[0].as_numpy().tolist() == PRODUCT
        assert answer.parameters == {"device": "cpu"}


async def test_kserve_refuses_float16_in_json(kserve: InferenceRESTClient, base_url: str) -> None:
    """The test above does not send it for this reason."""
    x = kserve_input("x", A.astype(np.float16), "FP16", binary=False)
    with pytest.raises(InvalidInput):
        await kserve.infer(base_url, InferRequest("norm", [x]), model_name="norm")
