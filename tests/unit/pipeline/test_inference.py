"""Heads of requests of the Open Inference Protocol."""

import gzip
import json

import pytest

from service.core.response import HttpResponse
from service.errors import MalformedBodyError
from service.http.errors import UnsupportedMediaTypeError
from service.pipeline.inference import InferenceEndpoint
from service.pipeline.service import Service

INPUT = {"shape": [2, 2], "datatype": "FP32"}
DOCUMENT = json.dumps(
    {
        "inputs": [
            {**INPUT, "name": "a", "data": [1, 2, 3, 4]},
            {**INPUT, "name": "b", "data": [5, 6, 7, 8]},
        ]
    }
).encode()


@pytest.fixture
def endpoint(service: Service) -> InferenceEndpoint:
    """A model: products by numpy."""
    return InferenceEndpoint(service, service.engine.registry["matmul"], "numpy")


def response_to(
    endpoint: InferenceEndpoint, headers: dict[bytes, bytes], body: bytes
) -> HttpResponse:
    """Return the response to a short request, which is made at once."""
    request = endpoint.negotiate(headers).begin("mine", len(body))
    assert (request.version, request.op_name) == ("numpy", "matmul")
    response = request.respond(bytearray(body), b"")
    assert isinstance(response, HttpResponse)
    return response


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b"application/json; charset=utf-8"},
        {b"content-type": b" Application/Octet-Stream "},
        {b"inference-header-content-length": b"%d" % len(DOCUMENT)},
        {b"accept-encoding": b"identity"},
    ],
)
def test_a_request(endpoint: InferenceEndpoint, headers: dict[bytes, bytes]) -> None:
    """Two media types are read, with or without the length of the JSON."""
    answer = json.loads(b"".join(response_to(endpoint, headers, DOCUMENT).chunks))
    assert answer["model_version"] == "numpy"
    assert answer["outputs"][0]["data"] == [19, 22, 43, 50]


def test_negotiated_formats_are_of_every_request(endpoint: InferenceEndpoint) -> None:
    """Each request has a codec of its own, for what its body states about the answer."""
    negotiated = endpoint.negotiate({})
    first, second = (negotiated.begin("mine").negotiated for _ in range(2))
    assert first.reader is not second.reader
    assert (first.version, first.headers) == (second.version, (None, None, None))


def test_an_answer_is_compressed_as_the_client_accepts(endpoint: InferenceEndpoint) -> None:
    """The coding is named in a header; a worker process gets the headers that it depends on."""
    headers = {b"accept-encoding": b"gzip", b"content-encoding": b"identity", b"x": b"y"}
    response = response_to(endpoint, headers, DOCUMENT)
    assert dict(response.headers).get(b"content-encoding") in (None, b"gzip")
    assert endpoint.negotiate(headers).headers == (b"identity", b"gzip", None)
    packed = gzip.compress(DOCUMENT)
    request = endpoint.negotiate({b"content-encoding": b"gzip"}).begin("mine", len(packed))
    request.start(packed, b"")
    assert len(request.decode().operands) == 2


@pytest.mark.parametrize(
    ("headers", "error", "detail"),
    [
        (
            {b"content-type": b"text/plain"},
            UnsupportedMediaTypeError,
            "Content-Type 'text/plain' is not read; send application/json, with binary data app",
        ),
        (
            {b"content-encoding": b"br, gzip"},
            UnsupportedMediaTypeError,
            "several at once are not",
        ),
        (
            {b"inference-header-content-length": b"-1"},
            MalformedBodyError,
            "Inference-Header-Content-Length is a number of bytes; it was '-1'",
        ),
        (
            {b"inference-header-content-length": b"1" * 19},
            MalformedBodyError,
            "Inference-Header-Content-Length is a number of bytes; it was",
        ),
    ],
    ids=["media type", "coding", "sign", "digits"],
)
def test_heads_that_are_refused(
    endpoint: InferenceEndpoint,
    headers: dict[bytes, bytes],
    error: type[MalformedBodyError | UnsupportedMediaTypeError],
    detail: str,
) -> None:
    """The error is known before the body."""
    with pytest.raises(error) as caught:
        endpoint.negotiate(headers)
    assert detail in caught.value.detail
