"""The Open Inference Protocol: requests and responses in JSON or with binary tensor data.

Unlike the other codecs, which are shared, one is created for each request: a header has the length
of the JSON, and the body selects the form of the response.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import orjson

from service.codecs.arriving_text import ArrivingText, begin_text
from service.codecs.base import (
    NO_FIELDS,
    SHORT_BYTES,
    THREAD_TEXT_BYTES,
    UNBOUNDED_BYTES,
    Body,
    DecodeContext,
)
from service.codecs.binary.slices import CACHED_HEADER_BYTES
from service.codecs.compression import pack
from service.codecs.inference.request import DATATYPES, INPUTS, RESULT, ParsedRequest, read_request
from service.codecs.json.rounding import TieError
from service.codecs.json.writer import ELEMENT_NS, data_json
from service.codecs.media_types import BYTES, JSON
from service.codecs.number_text import Extracted, extract
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Call, Outcome, Output
from service.core.dtypes import describe
from service.core.response import Chunks, HttpResponse
from service.core.timing import Stopwatch, server_timing
from service.errors import MalformedBodyError, ServiceError, UnknownFieldError, quote
from service.registry import Op

# Any text of this length is decoded or refused within 5 ms.
SHORT_TEXT_BYTES: Final = 16_384
# An id without escapes at the beginning, where clients write it.
ID: Final = re.compile(rb'\{\s*"id"\s*:\s*"([A-Za-z0-9._-]{1,64})"\s*,')


@lru_cache(maxsize=64)
def _read_request_cached(
    text: bytes, op: Op[Any], context: DecodeContext, version: str, data_begin: int
) -> ParsedRequest:
    return read_request(text, op, context, version, data_begin=data_begin)


class InferenceCodec:
    """Codec of one request. Models of the protocol are operations, their versions strategies."""

    __slots__ = ("_coding", "_header_bytes", "_id", "_is_binary", "_version")

    _id: str | None
    _is_binary: bool
    dtypes: Final = frozenset(dtype.torch for dtype in DATATYPES.values())
    has_outputs: Final = False

    def __init__(self, version: str, header_bytes: int | None = None, coding: str | None = None):
        """Create the codec before the body is received.

        `header_bytes` is the length of its JSON, if binary data may follow. A response in JSON is
        compressed by `coding`, if given.
        """
        self._version = version
        self._header_bytes = header_bytes
        self._coding = coding

    @property
    def media_type(self) -> str:
        """That of the response, which the body selects."""
        return BYTES if self._is_binary else JSON

    @property
    def thread_bytes(self) -> int:
        """The limit of JSON text; binary data have none, as they are not parsed."""
        text = self._header_bytes is None or self._header_bytes > THREAD_TEXT_BYTES
        return THREAD_TEXT_BYTES if text else UNBOUNDED_BYTES

    @property
    def element_ns(self) -> int:
        """That of JSON text, and 0 for binary data."""
        return 0 if self._is_binary else ELEMENT_NS

    def begin(self, buffer: bytearray, op: Op[Any], context: DecodeContext) -> ArrivingText | None:
        """Return the reading of JSON that arrives in `buffer`; None where binary data follow."""
        if self._header_bytes is not None:
            return None
        return begin_text(self, buffer, op, INPUTS, context)

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """Decode a short body, of which no more than a short part is text."""
        text = self._header_bytes is None or self._header_bytes > SHORT_TEXT_BYTES
        short_bytes = SHORT_TEXT_BYTES if text else SHORT_BYTES
        return self.decode(body, op, context, query) if len(body) <= short_bytes else None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Decode the body, which selects the format of the response. A query string is refused."""
        extracted = None
        if self._header_bytes is None:
            extracted = extract(body, INPUTS, max_numbers=context.max_numbers)
        return self.decode_extracted(body, extracted, op, context, query)

    def decode_extracted(
        self,
        body: Body,
        extracted: Extracted | None,
        op: Op[Any],
        context: DecodeContext,
        query: Mapping[str, str],
    ) -> Call:
        """Decode a body whose arrays were extracted, unless it is not plain or has binary data."""
        if query:
            raise UnknownFieldError(
                f"the query string has {quote(next(iter(query)))}, which this protocol does not",
                hint="write it into the parameters of the body",
            )
        parsed = self._read(body, extracted, op, context)
        self._id, self._is_binary = parsed.id, parsed.is_binary
        try:
            return parsed.call(body, op, context)
        except TieError:
            context, length = replace(context, exact=True), self._header_bytes
            text = bytes(memoryview(body)[:length])
            parsed = read_request(text, op, context, self._version, data_begin=length)
            return parsed.call(body, op, context)

    def _read(
        self, body: Body, extracted: Extracted | None, op: Op[Any], context: DecodeContext
    ) -> ParsedRequest:
        """Return the parsed JSON of the body, from the cache if it is short and was read before."""
        length, version = self._header_bytes, self._version
        if length is None:
            return read_request(body, op, context, version, extracted=extracted)
        if not 0 < length <= len(body):
            raise MalformedBodyError(
                f"Inference-Header-Content-Length is {quote(length)}, and the body has {len(body)} "
                "bytes; it is the length of the JSON that the body begins with"
            )
        text = bytes(memoryview(body)[:length])
        if length > CACHED_HEADER_BYTES:
            extracted = extract(text, INPUTS, max_numbers=context.max_numbers)
            return read_request(text, op, context, version, data_begin=length, extracted=extracted)
        found = ID.match(text)
        if found is not None:
            # Each request has an id of its own: the text is cached without it.
            rest = b"{" + text[found.end() :]
            if b'"id"' not in rest and b"\\" not in rest:
                with suppress(ServiceError):  # raised again below, from the whole text
                    request = _read_request_cached(rest, op, context, version, length)
                    return replace(request, id=found[1].decode())
        return _read_request_cached(text, op, context, version, length)

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the response; the strategy that ran is the version of the model."""
        result = outcome.result
        payload: Chunks
        if self._is_binary:
            payload = (to_bytes(result),)
        else:
            # The protocol's clients read integers of any size, and expect no strings.
            payload = data_json(result, flat=True, quotes=False)
        parameters: dict[str, object] = {"device": outcome.device}
        if outcome.arithmetic is not None:
            parameters |= outcome.arithmetic.stated
        if outcome.warnings:
            parameters["warnings"] = "\n".join(outcome.warnings)
        head = (
            b'{"model_name":"%b","model_version":"%b",%b"parameters":%b,"outputs":[{"name":"%b",'
            % (
                outcome.op.encode(),
                outcome.strategy.encode(),
                b"" if self._id is None else b'"id":%b,' % orjson.dumps(self._id),
                orjson.dumps(parameters),
                RESULT.encode(),
            )
            + b'"datatype":"%b","shape":%b,'
            % (
                str(describe(result.dtype).protocol).encode(),
                orjson.dumps(tuple(result.shape)),
            )
        )
        timing = b"server-timing: %b\r\n" % server_timing(watch.stop())
        if not self._is_binary:
            chunks = (b'%b"data":' % head, *payload, b"}]}")
            response = HttpResponse.of(JSON, chunks, timing)
            return response if self._coding is None else pack(response, self._coding)
        head += b'"parameters":{"binary_data_size":%d}}]}' % len(payload[0])
        length = b"inference-header-content-length: %d\r\n" % len(head)
        return HttpResponse.of(BYTES, (head, *payload), length + timing)
