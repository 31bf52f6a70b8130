"""JSON of inference requests: fields, inputs, binary data, and errors."""

from typing import Any

import numpy as np
import orjson
import pytest

from service.codecs import DecodeContext
from service.codecs.inference.request import ParsedRequest, parameter_names, read_request
from service.core.dtypes import DTYPES
from service.errors import MalformedBodyError, ServiceError
from service.operations import REGISTRY

CONTEXT = DecodeContext(max_elements=100, dtype=DTYPES["float32"], max_deadline_ms=1000)
MATMUL, NORM = REGISTRY["matmul"], REGISTRY["norm"]
X = {"name": "x", "shape": [2], "datatype": "FP32", "data": [3, 4]}
BINARY = {
    "name": "b",
    "shape": [2],
    "datatype": "FP32",
    "parameters": {"binary_data_size": 8},
}


def parse(fields: object, version: str = "auto", **options: Any) -> ParsedRequest:
    """Return the parsed request of a norm."""
    return read_request(orjson.dumps(fields), NORM, CONTEXT, version, **options)


def error_of(fields: object, version: str = "auto") -> ServiceError:
    """Return the error that a request raises."""
    with pytest.raises(ServiceError) as caught:
        parse(fields, version)
    return caught.value


def test_a_request_in_json() -> None:
    """Its data are flat or nested; a field that is null counts as absent."""
    fields = {"id": "7", "inputs": [X], "outputs": None, "parameters": {"keepdim": True}}
    request = parse(fields)
    assert (request.id, request.is_binary) == ("7", False)
    call = request.call(orjson.dumps(fields), NORM, CONTEXT)
    assert [x.tolist() for x in call.operands] == [[3, 4]]
    assert call.params["keepdim"] is True


def test_binary_data_follow_the_json() -> None:
    """Inputs in JSON and in bytes may be mixed, in any order."""
    a = {"name": "a", "shape": [2], "datatype": "FP32", "data": [1, 2]}
    text = orjson.dumps({"inputs": [BINARY, a]})
    request = read_request(text, MATMUL, CONTEXT, "auto", data_begin=len(text))
    data = np.array([3, 4], np.float32).tobytes()
    assert request.end == len(text) + 8
    call = request.call(text + data, MATMUL, CONTEXT)
    assert [x.tolist() for x in call.operands] == [[1, 2], [3, 4]]
    for body in (text, text + data[:-1], text + data + b"\0"):
        with pytest.raises(MalformedBodyError, match="binary_data_size"):
            request.call(body, MATMUL, CONTEXT)


def test_the_version_is_the_strategy() -> None:
    """The parameters must not have another."""
    assert parse({"inputs": [X]}, "torch").header.fields.strategy == "torch"
    fields = {"inputs": [X], "parameters": {"strategy": "torch"}}
    assert parse(fields).header.fields.strategy == "torch"
    error = error_of(fields, "torch")
    assert [place.pointer for place in error.places] == ["/parameters/strategy"]


@pytest.mark.parametrize(
    ("timeout", "deadline"), [(0, None), (1, 1), (1e3, 1), (1001, 2), (10**9, 1000)]
)
def test_a_timeout_is_in_microseconds(timeout: float, deadline: int | None) -> None:
    """It is rounded up to milliseconds, and limited by the longest deadline."""
    request = parse({"inputs": [X], "parameters": {"timeout": timeout}})
    assert request.header.fields.deadline_ms == deadline


@pytest.mark.parametrize("name", ["UINT16", "UINT32", "UINT64"])
def test_a_datatype_of_unsigned_integers_has_a_hint(name: str) -> None:
    """The dtype that holds its values."""
    hint = error_of({"inputs": [{**X, "datatype": name}]}).hint
    assert hint is not None
    assert f"holds all values of {name}" in hint


def test_sizes_without_a_fraction_are_integers() -> None:
    """Those of the axes, and that of the data."""
    entry = {**X, "shape": [2.0]}
    assert parse({"inputs": [entry]}).header.operands[0][2].shape == (2,)
    sized = {**BINARY, "name": "x", "parameters": {"binary_data_size": 8.0}}
    request = read_request(orjson.dumps({"inputs": [sized]}), NORM, CONTEXT, "auto", data_begin=0)
    assert request.end == 8


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize("wanted", [None, False, True])
def test_the_form_of_the_result(*, default: bool, wanted: bool | None) -> None:
    """The parameter of the output overrides the one of the request."""
    parameters = {} if wanted is None else {"binary_data": wanted}
    fields = {
        "inputs": [X],
        "parameters": {"binary_data_output": default},
        "outputs": [{"name": "result", "parameters": parameters}],
    }
    assert parse(fields).is_binary == (default if wanted is None else wanted)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"inputs": {}}, "/inputs"),
        ({"inputs": [1]}, "/inputs/0"),
        ({"inputs": [{**X, "name": 1}]}, "/inputs/0/name"),
        ({"inputs": [{**X, "shape": [-1]}]}, "/inputs/0/shape"),
        ({"inputs": [{**X, "datatype": "BYTES"}]}, "/inputs/0/datatype"),
        ({"inputs": [BINARY]}, "/inputs/0/parameters/binary_data_size"),
        ({"inputs": [X], "outputs": [{"name": "y"}]}, "/outputs/0/name"),
        ({"inputs": [X], "parameters": []}, "/parameters"),
        ({"inputs": [X], "parameters": {"timeout": 1.5}}, "/timeout"),
        (
            {"inputs": [X], "parameters": {"timeout": 1, "deadline_ms": 1}},
            "/parameters/timeout",
        ),
    ],
)
def test_a_wrong_field_is_refused_with_its_place(fields: object, pointer: str) -> None:
    """The pointer is that of the part which is wrong."""
    assert [place.pointer for place in error_of(fields).places] == [pointer]


def test_parameters_are_those_of_the_operation_and_of_the_protocol() -> None:
    """Each name is accepted as a parameter."""
    assert set(parameter_names(NORM)) >= {"ord", "strategy", "timeout", "binary_data_output"}
    error = error_of({"inputs": [X], "parameters": {"tiemout": 1}})
    assert error.hint == "did you mean 'timeout'?"
