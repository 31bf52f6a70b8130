"""JSON requests and responses."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from service.codecs import number_text
from service.codecs.base import (
    ALL_DTYPES,
    NO_FIELDS,
    THREAD_TEXT_BYTES,
    Body,
    DecodeContext,
    SlowTextError,
)
from service.codecs.envelope import rest_json
from service.codecs.json.document import read_document, refuse_deep
from service.codecs.json.operands import open_operand
from service.codecs.json.plain import plain_call
from service.codecs.json.rounding import TieError
from service.codecs.json.writer import ELEMENT_NS, result_json
from service.codecs.json_pointer import escape, kind_of
from service.codecs.media_types import JSON
from service.codecs.number_text import Extracted, OperandNames, extract
from service.codecs.query import read_query
from service.codecs.request import Operand, build_call
from service.core.call import Call, Outcome, Output
from service.core.response import JOINED_BYTES, Chunks, HttpResponse
from service.core.timing import TIMING_LINE, Stopwatch
from service.errors import DuplicateKeyError, InvalidFieldError, Place, RequestError, quote
from service.registry import Op

# Errors of shorter bodies are worded in a millisecond.
SHORT_BYTES: Final = 2048

# All headers of a response, with its length and the texts of its phases.
LINES: Final = b"content-type: " + JSON.encode() + b"\r\ncontent-length: %d\r\n" + TIMING_LINE


class JsonCodec:
    """application/json, as docs/formats.md describes it."""

    media_type: Final = JSON
    thread_bytes: Final = THREAD_TEXT_BYTES
    dtypes: Final = ALL_DTYPES
    element_ns: Final = ELEMENT_NS
    has_outputs: Final = True

    def begin(self, buffer: bytearray, op: Op[Any]) -> "JsonReading | None":
        """Return the reading of a body that arrives in `buffer`; None if it is read when whole."""
        found = number_text.begin(buffer, operand_names(op))
        return None if found is None else JsonReading(buffer, op, found)

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """Decode a short body, or a plain one without an error."""
        if len(body) <= SHORT_BYTES:
            return self.decode(body, op, context, query)
        extracted = extract(body, operand_names(op), threaded=False)
        if extracted is None:
            return None
        try:
            return _call(body, extracted, op, context, query)
        except (RequestError, TieError):  # left to `decode`, on a thread
            return None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Decode the body: plain requests without a check of each field, all others in general."""
        return _settled(body, extract(body, operand_names(op)), op, context, query)

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the result in the form that `output` chooses."""
        payload = result_json(outcome.result, output)
        texts = watch.stop()
        head = b'{"op":"%b","result":' % outcome.op.encode()
        chunks: Chunks = (head, *payload, rest_json(outcome, texts, request_id))
        length = sum(map(len, chunks))
        if length < JOINED_BYTES:
            chunks = (b"".join(chunks),)
        # Not by `HttpResponse.of`: this is on the path of every small request.
        return HttpResponse(200, LINES % (length, *texts), chunks, length)


class JsonReading:
    """A body of an operation that is read while it arrives."""

    __slots__ = ("_buffer", "_op", "_reading", "feed", "stop")

    def __init__(self, buffer: bytearray, op: Op[Any], reading: Any):
        """Wrap the reading of the numbers in `buffer`."""
        self._buffer, self._op, self._reading = buffer, op, reading
        self.feed, self.stop = reading.feed, reading.stop

    def decode(self, context: DecodeContext, query: Mapping[str, str] = NO_FIELDS) -> Call:
        """Return the call of the whole body, as `JsonCodec.decode` does."""
        return _settled(self._buffer, self._reading.finish(), self._op, context, query)


@lru_cache
def operand_names(op: Op[Any]) -> OperandNames:
    """Return where the operands of an operation are."""
    return OperandNames(op.operands)


def _settled(
    body: Body,
    extracted: Extracted | None,
    op: Op[Any],
    context: DecodeContext,
    query: Mapping[str, str],
) -> Call:
    """Return the call of any body, read by the text of its numbers if that has to decide."""
    try:
        return _call(body, extracted, op, context, query)
    except TieError:
        return _decode(body, None, op, replace(context, exact=True), query)


def _call(
    body: Body,
    extracted: Extracted | None,
    op: Op[Any],
    context: DecodeContext,
    query: Mapping[str, str],
) -> Call:
    """Return the call: of a plain request without a check of each field, of others in general."""
    if extracted is not None and not query:
        call = plain_call(extracted, op, context)
        if call is not None:
            return call
    return _decode(body, extracted, op, context, query)


def _decode(
    body: Body,
    extracted: Extracted | None,
    op: Op[Any],
    context: DecodeContext,
    query: Mapping[str, str],
) -> Call:
    """Return the call of any body by the general way; TieError if it has to be read exactly."""
    fields = read_document(body, op.operands, context, extracted=extracted)
    try:
        if query:
            _join(fields, read_query(query, op, context))
        return build_call(op, fields, take_operands(fields, op, context), context)
    except RequestError:
        if len(body) > context.max_slow_bytes:  # counting brackets holds the GIL
            raise SlowTextError from None
        # An error of nesting comes first: it is about the document, not about its fields.
        refuse_deep(body, context)
        raise


def _join(fields: dict[str, object], query: dict[str, object]) -> None:
    """Add the fields of a query string; DuplicateKeyError if the body has one of them, too."""
    for name, value in query.items():
        if value is None and name in fields:
            continue
        if fields.get(name) is not None:
            raise DuplicateKeyError(
                f"{quote(name)} stands in the body and in the query string",
                hint="send it once",
                places=[Place(f"/{escape(name)}", "also in the query string")],
            )
        fields[name] = value


def take_operands(
    fields: dict[str, object], op: Op[Any], context: DecodeContext
) -> dict[str, Operand]:
    """Take the operands out of the fields, and return them by name."""
    casts = fields.get("dtype") is not None
    if op.operands is not None:
        return {
            name: open_operand(fields.pop(name), f"/{name}", context, casts=casts)
            for name in op.operands
            if name in fields
        }
    if "operands" not in fields:
        return {}
    listed = fields.pop("operands")
    if not isinstance(listed, list) or not listed:
        found = "empty" if listed == [] else kind_of(listed)
        raise InvalidFieldError(
            f"operands is a list of one tensor or more; it was {found}",
            places=[Place("/operands", "expected a list of one tensor or more")],
        )
    return {
        str(index): open_operand(value, f"/operands/{index}", context, casts=casts)
        for index, value in enumerate(listed)
    }
