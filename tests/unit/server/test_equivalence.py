"""Responses of the fast path equal those of the ASGI application."""

import gzip
import json

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.rigs.connections import BODY, CHUNKED, PADDING, cut, essence, get, post
from tests.rigs.inference_bodies import as_bytes, as_json
from tests.rigs.laboratory import Lab
from tests.rigs.request_bodies import JSON, NPY, RAW, SAFETENSORS, npy_of

NORM = b'{"x": [3, 4]}'


def operand(count: int) -> bytes:
    """Return the body of a vector of ones."""
    return json.dumps({"x": [1.0] * count}).encode()


def npy_head(values: list[float]) -> bytes:
    """Return an npy file."""
    return npy_of(np.array(values, np.float32))


RAGGED = b'{"x": [%b]}' % b",".join([b"[1, 2]", *[b"[1]"] * 40])


UNKNOWN = json.dumps({f"field {number}": 1 for number in range(60)}).encode()


SUM = b'{"operands": [[[1, 2]], [[3], [4]]], "op": "add"}'


TRACE = b'{"equation": "ii", "operands": [[[1, 2], [3, 4]]]}'


FILL = b'{"operands": [0.5], "to": [%d]}'


FORM = "application/x-www-form-urlencoded"


# Requests that are answered from the parser's callback, or by a task of their own, and others.
INFER = "/v2/models/matmul/infer"


HEADER = "inference_header_content_length"


INFERENCE = json.dumps(as_json({"a": np.eye(2), "b": np.ones((2, 2))}, "float32")).encode()


BINARY, BINARY_HEADERS = as_bytes(
    {"a": np.eye(2), "b": np.ones((2, 2))}, "float32", parameters={"binary_data_output": True}
)


BEFORE_DATA = {name.replace("-", "_").lower(): value for name, value in BINARY_HEADERS.items()}


PLAIN = {
    "infer": post(INFERENCE, INFER),
    "infer by a version": post(INFERENCE, "/v2/models/matmul/versions/dot/infer"),
    "infer from bytes": post(BINARY, INFER, **BEFORE_DATA),
    "infer from gzip": post(gzip.compress(INFERENCE), INFER, content_encoding="gzip"),
    "infer refused": post(b"{", INFER),
    "infer from a query": post(INFERENCE, f"{INFER}?strategy=dot"),
    "product": post(),
    "norm": post(NORM, "/norm"),
    "einsum": post(TRACE, "/einsum"),
    "broadcast": post(SUM, "/broadcast"),
    "query": post(path="/matmul?strategy=dot&output=flat"),
    "escapes in the query": post(path="/matmul?strategy=d%6Ft&%6futput=flat"),
    "empty query": post(path="/matmul?"),
    "second question mark": post(path="/matmul?strategy=dot?"),
    "query twice": post(path="/matmul?strategy=torch&strategy=torch"),
    "unknown in query": post(path="/matmul?strategie=torch"),
    "body and query": post(b'{"x": [1], "ord": 1}', "/norm?ord=1"),
    "JSON in query": post(NORM, "/norm?dim=[0]"),
    "keep-alive": post(connection="keep-alive"),
    "names in capitals": post(Content_Type=JSON, ACCEPT=RAW),
    "two of a header": post(Accept=RAW, accept=JSON),
    "a list of two lines": post(Accept=JSON, accept="text/plain"),
    "two codings to choose from": post(
        FILL % 1000, "/broadcast", Accept_Encoding="gzip", accept_encoding="br"
    ),
    "empty": post(b""),
    "no fields": post(b"{}"),
    "not JSON": post(b"{"),
    "not an object": post(b"[1, 2]"),
    "not UTF-8": post(b'{"a": "\xff"}'),
    "bare NaN": post(b'{"x": [NaN]}', "/norm"),
    "key twice": post(b'{"x": [1], "x": [2]}', "/norm"),
    "ragged": post(RAGGED, "/norm"),
    "many places": post(UNKNOWN, "/norm"),
    "a long problem, compressed": post(UNKNOWN, "/norm", accept_encoding="gzip"),
    "mismatch": post(b'{"a": [[1, 2]], "b": [[1, 2]]}'),
    "unknown field": post(b'{"x": [1], "order": 2}', "/norm"),
    "unknown strategy": post(b'{"x": [1], "strategy": "fast"}', "/norm"),
    "no such device": post(b'{"x": [1], "device": "cuda:7"}', "/norm"),
    "deadline": post(b'{"x": [1], "deadline_ms": 1000}', "/norm"),
    "deadline of nothing": post(b'{"x": [1], "deadline_ms": 0}', "/norm"),
    "too many elements": post(FILL % 10**12, "/broadcast"),
    "overflow": post(b'{"operands": [100, 100], "op": "mul", "dtype": "int8"}', "/broadcast"),
    "summary": post(b'{"x": [[1, 2]], "output": "summary"}', "/norm"),
    "as bytes": post(accept=RAW),
    "as safetensors": post(accept=SAFETENSORS),
    "as npy": post(accept=NPY),
    "the better of two": post(accept=f"{JSON};q=0.5, {NPY}"),
    "a dtype that npy lacks": post(
        b'{"operands": [1], "to": [2], "dtype": "bfloat16"}', "/broadcast", accept=NPY
    ),
    "output beside bytes": post(b'{"x": [1], "output": "flat"}', "/norm", accept=RAW),
    "npy": post(npy_head([3, 4]), "/norm", content_type=NPY),
    "no npy": post(b"NUMPY", "/norm", content_type=NPY),
    "compressed": post(gzip.compress(NORM), "/norm", content_encoding="gzip"),
    "badly compressed": post(NORM, "/norm", content_encoding="gzip"),
    "compressed answer": post(FILL % 1000, "/broadcast", accept_encoding="gzip"),
    "short compressed answer": post(NORM, "/norm", accept_encoding="gzip"),
    "padded": post(BODY + PADDING),
    "padded, infer": post(INFERENCE + PADDING, INFER),
    "padded, compressed": post(gzip.compress(BODY + PADDING, 0), content_encoding="gzip"),
    "padded, cut off": post(BODY[:-1] + PADDING),
    "padded, ragged": post(b'{"a": [[1, 2], [3]], "b": [[1]]}' + PADDING),
    "padded, not UTF-8": post(b'{"a": [[1]], "b": "\xff"}' + PADDING),
    "padded, a byte order mark": post(b"\xef\xbb\xbf" + BODY + PADDING),
    "padded, a key twice": post(b'{"a": [[1]], "\\u0061": [[1]], "b": [[1]]}' + PADDING),
    "padded, deep": post(b'{"a": ' + b"[" * 99 + b"]" * 99 + b', "b": 1}' + PADDING),
    "padded, nothing": post(PADDING),
    "on a thread": post(operand(30_000), "/norm"),
    "large answer": post(FILL % 30_000, "/broadcast"),
    "large bytes": post(FILL % 30_000, "/broadcast", accept=RAW),
}


OTHER = {
    "infer form": post(INFERENCE, INFER, content_type="application/x-www-form-urlencoded"),
    "infer without a length": post(BINARY, INFER, **(BEFORE_DATA | {HEADER: "x"})),
    "infer by no version": post(INFERENCE, "/v2/models/matmul/versions/1/infer"),
    "infer, get": get(INFER),
    "HTTP/1.0": post(version="1.0"),
    "HTTP/1.0 that stays": post(version="1.0", connection="keep-alive"),
    "close": post(connection="close"),
    "refused close": post(b"{", connection="close"),
    "expect": post(expect="100-continue"),
    "chunked": post(CHUNKED, content_length="", transfer_encoding="chunked"),
    "no length": post(b"", content_length=""),
    "too large": post(content_length=str(2**40)),
    "get": get("/matmul"),
    "head": get("/matmul", "HEAD"),
    "options": get("/matmul", "OPTIONS"),
    "put": post(method="PUT"),
    "fragment": post(path="/matmul?strategy=torch#here"),
    "fragment alone": post(path="/matmul#here"),
    "whole address": post(path="http://lab/matmul?strategy=torch"),
    "escaped path": post(path="/mat%6Dul"),
    "slash at the end": post(path="/matmul/"),
    "unknown path": post(path="/matmull"),
    "plan": post(path="/matmul/plan"),
    "health": get("/health/ready"),
    "head of health": get("/health/ready", "HEAD"),
    "form": post(content_type=FORM),
    "text": post(content_type="text/plain; charset=utf-8"),
    "unknown coding": post(content_encoding="br"),
    "not acceptable": post(accept="image/png"),
    "two media types": post(content_type=JSON, Content_Type=JSON),
    "two codings": post(gzip.compress(BODY), content_encoding="gzip", Content_Encoding="gzip"),
}


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
async def test_responses_are_equal(whole: Lab, name: str) -> None:
    """Status, headers and body are those of the app under uvicorn's own protocol."""
    text = (PLAIN | OTHER)[name]
    other, expected = await whole.exchange(text, kind=HttpToolsProtocol)
    transport, found = await whole.exchange(text)
    if name == "too large":  # uvicorn alone would go on to receive it
        assert found[0].headers.pop("connection") == "close"
    assert [*map(essence, found)] == [*map(essence, expected)]
    assert found
    assert transport.closed == other.closed
    assert transport.is_half_closed == (name == "too large")


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
async def test_the_fast_path_is_for_plain_posts(whole: Lab, name: str) -> None:
    """PLAIN takes the fast path, OTHER does not."""
    protocol, transport = whole.connect()
    protocol.data_received((PLAIN | OTHER)[name])
    assert (protocol._receiving is not None) == (name in PLAIN)
    await whole.settle()
    assert transport.written


async def test_responses_without_a_server_are_equal(whole: Lab) -> None:
    """They are those of any server: here there is none."""
    hops = ("connection", "transfer-encoding", "content-length", "expect")
    transport = httpx.ASGITransport(app=whole.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
        for name in ("query", "not JSON", "as bytes", "many places", "chunked", "form", "close"):
            text = (PLAIN | OTHER)[name]
            _, (answer,) = await whole.exchange(text)
            head, _, body = text.partition(b"\r\n\r\n")
            request, *lines = head.decode().split("\r\n")
            method, path, _ = request.split()
            headers = httpx.Headers(dict(line.split(": ", 1) for line in lines))
            for hop in hops:
                headers.pop(hop, None)
            sent = BODY if name == "chunked" else body
            expected = await client.request(method, path, headers=headers, content=sent)
            answer.headers.pop("connection", None)
            assert essence(answer) == essence(expected), name


SHORT = {
    name: text
    for name, text in (PLAIN | OTHER).items()
    if len(text) < 2000
    and name not in ("head", "head of health", "too large")
    and b"HTTP/1.0" not in text
    and b"close" not in text
}


@settings(max_examples=25)
@given(
    names=st.lists(st.sampled_from(sorted(SHORT)), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 600), min_size=1, max_size=5),
)
async def test_any_requests_in_any_pieces(whole: Lab, names: list[str], sizes: list[int]) -> None:
    """Each of several on one connection is answered as if it were alone, in order."""
    expected: list[object] = []
    for name in names:
        _, alone = await whole.exchange(SHORT[name], kind=HttpToolsProtocol)
        expected += map(essence, alone)
    _, found = await whole.exchange(*cut(b"".join(SHORT[name] for name in names), *sizes))
    assert [*map(essence, found)] == expected


@settings(max_examples=25)
@given(names=st.lists(st.sampled_from(sorted(SHORT)), min_size=2, max_size=8))
async def test_any_whole_requests(whole: Lab, names: list[str]) -> None:
    """Each is answered as if it were alone, parsed or not; one of them is repeated."""
    expected: list[object] = []
    names = [each for name in names for each in (name, names[0])]
    for name in names:
        _, alone = await whole.exchange(SHORT[name], kind=HttpToolsProtocol)
        expected += map(essence, alone)
    _, found = await whole.exchange(*(SHORT[name] for name in names))
    assert [*map(essence, found)] == expected
