"""The codec of one inference request: length of the JSON, ids, cached headers, responses."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from service.codecs import DecodeContext
from service.codecs.binary.slices import CACHED_HEADER_BYTES
from service.codecs.inference import codec as module
from service.codecs.inference.codec import SHORT_TEXT_BYTES, InferenceCodec
from service.codecs.json.writer import ELEMENT_NS
from service.codecs.media_types import BYTES, JSON
from service.core.dtypes import DTYPES
from service.errors import MalformedBodyError, UnknownFieldError
from service.operations import REGISTRY
from tests.unit.codecs.encoding import encode

CONTEXT = DecodeContext(max_elements=10_000, dtype=DTYPES["float32"], max_deadline_ms=1000)
NORM = REGISTRY["norm"]
DATA = np.array([3, 4], np.float32).tobytes()
INPUT = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}


def header(**fields: object) -> bytes:
    """Return the JSON of a request with binary data."""
    return orjson.dumps({**fields, "inputs": [INPUT]})


def response(codec: InferenceCodec, result: torch.Tensor, **fields: Any) -> tuple[Any, bytes]:
    """Return the JSON of a response and the bytes after it."""
    encoded = encode(codec, result, **fields)
    body = b"".join(encoded.chunks)
    length = int(dict(encoded.headers).get(b"inference-header-content-length", len(body)))
    return json.loads(body[:length]), body[length:]


@pytest.mark.parametrize("padding", [0, CACHED_HEADER_BYTES])
@pytest.mark.parametrize("number", ["1", "2", 'with "quotes"', "\u20ac", None])
def test_each_request_has_its_own_id(number: str | None, padding: int) -> None:
    """With short headers, which are cached, and with long ones."""
    text = header(**({} if number is None else {"id": number})) + b" " * padding
    codec = InferenceCodec("auto", len(text))
    (x,) = codec.decode(text + DATA, NORM, CONTEXT).operands
    assert x.tolist() == [3, 4]
    answer, rest = response(codec, torch.ones(1))
    assert answer.get("id") == number
    assert rest == b""


def test_a_header_is_parsed_once_for_all_ids() -> None:
    """The cache has the text without the id."""
    module._read_request_cached.cache_clear()
    for number in range(5):
        text = header(id=str(number))
        InferenceCodec("auto", len(text)).decode(text + DATA, NORM, CONTEXT)
    assert module._read_request_cached.cache_info().misses == 1


@pytest.mark.parametrize("length", [0, -1, 10_000])
def test_a_length_beyond_the_body_is_refused(length: int) -> None:
    """The body begins with JSON of that length."""
    with pytest.raises(MalformedBodyError, match="Inference-Header-Content-Length"):
        InferenceCodec("auto", length).decode(header() + DATA, NORM, CONTEXT)


def test_a_query_string_is_refused() -> None:
    """The parameters are in the body."""
    with pytest.raises(UnknownFieldError, match="'dim'"):
        InferenceCodec("auto").decode(header(), NORM, CONTEXT, {"dim": "0"})


def test_a_response_in_json() -> None:
    """Integers are numbers of any size, and warnings one text."""
    codec = InferenceCodec("auto")
    codec.decode(
        orjson.dumps({"inputs": [{**INPUT, "parameters": None, "data": [3, 4]}]}), NORM, CONTEXT
    )
    assert (codec.media_type, codec.element_ns) == (JSON, ELEMENT_NS)
    answer, _ = response(codec, torch.tensor([[2**60, 1]]), warnings=("one", "two"))
    assert answer == {
        "model_name": "norm",
        "model_version": "torch",
        "parameters": {"device": "cpu", "warnings": "one\ntwo"},
        "outputs": [{"name": "result", "datatype": "INT64", "shape": [1, 2], "data": [2**60, 1]}],
    }


def test_a_response_with_binary_data() -> None:
    """The JSON has their size."""
    text = header(parameters={"binary_data_output": True})
    codec = InferenceCodec("auto", len(text))
    codec.decode(text + DATA, NORM, CONTEXT)
    assert (codec.media_type, codec.element_ns) == (BYTES, 0)
    answer, rest = response(codec, torch.tensor([3.0, 4.0]))
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert rest == DATA


def test_long_text_is_decoded_on_a_thread() -> None:
    """Long binary data are not: they are not parsed."""
    values = [0.5] * 5000
    text = orjson.dumps(
        {"inputs": [{**INPUT, "shape": [5000], "parameters": None, "data": values}]}
    )
    assert len(text) > SHORT_TEXT_BYTES
    assert InferenceCodec("auto").try_decode(text, NORM, CONTEXT) is None
    text = orjson.dumps(
        {"inputs": [{**INPUT, "shape": [5000], "parameters": {"binary_data_size": 20_000}}]}
    )
    body = text + np.array(values, np.float32).tobytes()
    call = InferenceCodec("auto", len(text)).try_decode(body, NORM, CONTEXT)
    assert call is not None
    assert call.operands[0].tolist() == values
    assert InferenceCodec("auto").thread_bytes < InferenceCodec("auto", len(text)).thread_bytes


def test_text_is_read_while_it_arrives() -> None:
    """Unless binary data may follow: the length of the text is known then."""
    text = orjson.dumps({"inputs": [{**INPUT, "parameters": None, "data": [3, 4.5]}]})
    assert InferenceCodec("auto", len(text)).begin(bytearray(10), NORM, CONTEXT) is None
    reading = InferenceCodec("auto").begin(bytearray(text), NORM, CONTEXT)
    assert reading is not None
    reading.feed(len(text))
    assert reading.decode(CONTEXT).operands[0].tolist() == [3, 4.5]
