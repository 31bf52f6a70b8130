"""Requests of operations: answered at once, or left to an executor."""

import json
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.codecs.media_types import JSON
from service.codecs.stored_arrays import ArrayFolder
from service.core.response import HttpResponse
from service.errors import (
    DuplicateKeyError,
    MissingFieldError,
)
from service.pipeline.operation import OperationEndpoint, OperationRequest
from service.pipeline.service import Service
from tests.rigs.request_bodies import NPY

BODY = bytearray(b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}')
PRODUCT = [[19.0, 22.0], [43.0, 50.0]]


def begin(service: Service, length: int = 0, **headers: str) -> OperationRequest:
    """Return a request of a product, with these headers."""
    raw = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    endpoint = OperationEndpoint(service, service.engine.registry["matmul"])
    return endpoint.negotiate(raw).begin("mine", length)


def at_once(response: HttpResponse | Awaitable[HttpResponse]) -> HttpResponse:
    """Return a response that need not be awaited."""
    assert isinstance(response, HttpResponse)
    return response


def test_a_short_call(service: Service) -> None:
    """It is answered at once, in this thread, and its phases are known."""
    request = begin(service)
    response = at_once(request.respond(BODY, b"strategy=dot"))
    answer = json.loads(b"".join(response.chunks))
    assert (response.status, answer["result"]["data"]) == (200, PRODUCT)
    assert (answer["strategy"], answer["request_id"]) == ("dot", "mine")
    assert (request.strategy, request.executor) == ("dot", "inline")
    assert sum(request.watch.phases) > 0


def test_a_key_that_is_twice_in_the_query(service: Service) -> None:
    """The error is raised before the body is read; the stopwatch has been started."""
    request = begin(service)
    with pytest.raises(DuplicateKeyError):
        request.respond(bytearray(b"["), b"strategy=dot&strategy=dot")
    assert request.watch.elapsed_ms == 0


@pytest.mark.parametrize(("dtype", "media_type"), [("float32", NPY), ("bfloat16", JSON)])
def test_the_format_follows_the_dtype(service: Service, dtype: str, media_type: str) -> None:
    """The first accepted format that can hold the result is written."""
    request = begin(service, accept=f"{NPY}, {JSON};q=0.5")
    response = at_once(request.respond(BODY[:-1] + b', "dtype": "%b"}' % dtype.encode(), b""))
    assert dict(response.headers)[b"content-type"] == media_type.encode()


async def test_a_long_call(service: Service) -> None:
    """It is awaited, and computed on a thread; the text of its body is no longer held."""
    request = begin(service)
    side = np.ones((24, 24)).tolist()
    coming = request.respond(
        bytearray(json.dumps({"a": side, "b": side, "strategy": "loops"}).encode()), b""
    )
    assert not isinstance(coming, HttpResponse)
    response = await coming
    answer = json.loads(b"".join(response.chunks))
    assert answer["result"]["data"] == [[24.0] * 24] * 24
    assert answer["timing"]["executor"] == request.executor == "thread"
    assert (len(request.body), len(request.buffer)) == (0, 0)


@pytest.mark.parametrize(
    "body", [BODY + b" " * 2**20, b'{"a": {"ref": "a.npy"}, "b": [[5, 6], [7, 8]]}'], ids=len
)
async def test_what_takes_time_to_decode(service: Service, tmp_path: Path, body: bytes) -> None:
    """Long text, and arrays in files, are decoded on a thread if there is no worker process."""
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 4]], np.float32))
    service.context = replace(service.context, arrays=ArrayFolder(tmp_path))
    request = begin(service)
    coming = request.respond(bytearray(body), b"")
    assert not isinstance(coming, HttpResponse)
    assert request.may_wait == (b"ref" in body)
    answer = json.loads(b"".join((await coming).chunks))
    assert (answer["result"]["data"], answer["timing"]["executor"]) == (PRODUCT, "thread")


async def test_an_error_in_a_large_body(service: Service) -> None:
    """It is found by a thread; that of a small body is raised at once."""
    body = bytearray(b'{"a": [[1, 2]]}')
    with pytest.raises(MissingFieldError):
        begin(service).respond(body, b"")
    coming = begin(service).respond(body + b" " * 70_000, b"")
    assert not isinstance(coming, HttpResponse)
    with pytest.raises(MissingFieldError):
        await coming
