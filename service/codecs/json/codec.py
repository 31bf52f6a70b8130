"""JSON requests and responses."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from service.codecs.arriving_text import ArrivingText, begin_text
from service.codecs.base import (
    ALL_DTYPES,
    NO_FIELDS,
    THREAD_TEXT_BYTES,
    Body,
    DecodeContext,
)
from service.codecs.envelope import rest_json
from service.codecs.json.document import (
    read_document,
    read_extracted,
    refuse_deep,
    refuse_deep_extracted,
)
from service.codecs.json.operands import open_operand
from service.codecs.json.plain import plain_call
from service.codecs.json.rounding import TieError
from service.codecs.json.writer import ELEMENT_NS, result_json
from service.codecs.json_pointer import kind_of
from service.codecs.media_types import JSON
from service.codecs.number_text import Extracted, OperandNames, extract
from service.codecs.query import read_query
from service.codecs.request import Operand, build_call
from service.core.call import Call, Outcome, Output
from service.core.response import JOINED_BYTES, Chunks, HttpResponse
from service.core.timing import Stopwatch, server_timing
from service.errors import DuplicateKeyError, InvalidFieldError, Place, RequestError, escape, quote
from service.registry import Op

# Shorter bodies are decoded, or their errors worded, in a millisecond.
SHORT_BYTES: Final = 2048
# The most values beside extracted arrays that the event loop reads, by their commas: 0.3 ms.
INLINE_COMMAS: Final = 2048

# All headers of a response.
LINES: Final = b"content-type: %b\r\ncontent-length: %%d\r\nserver-timing: %%b\r\n" % JSON.encode()


class JsonCodec:
    """application/json, as docs/formats.md describes it."""

    media_type: Final = JSON
    thread_bytes: Final = THREAD_TEXT_BYTES
    dtypes: Final = ALL_DTYPES
    element_ns: Final = ELEMENT_NS
    has_outputs: Final = True

    def begin(self, buffer: bytearray, op: Op[Any], context: DecodeContext) -> ArrivingText | None:
        """Return the reading of a body that arrives in `buffer`; None without compiled code."""
        return begin_text(self, buffer, op, operand_names(op), context)

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """Decode a short body, or one of arrays with little around them and no error."""
        extracted = extract(
            body, operand_names(op), max_numbers=context.max_numbers, threaded=False
        )
        if extracted is not None and not query:
            call = plain_call(extracted, op, context)
            if call is not None:
                return call
        if len(body) <= SHORT_BYTES:
            return self.decode_extracted(body, extracted, op, context, query)
        if extracted is None or extracted[0].count(b",") > INLINE_COMMAS:
            return None
        try:
            return _extracted_call(extracted, op, context, query)
        except (RequestError, TieError):  # left to `decode`, on a thread
            return None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Decode the body: plain requests without a check of each field, all others in general."""
        extracted = extract(body, operand_names(op), max_numbers=context.max_numbers)
        return self.decode_extracted(body, extracted, op, context, query)

    def decode_extracted(
        self,
        body: Body,
        extracted: Extracted | None,
        op: Op[Any],
        context: DecodeContext,
        query: Mapping[str, str],
    ) -> Call:
        """Decode a body whose arrays were extracted; the whole text if it is not plain."""
        try:
            call = None if extracted is None else _extracted_call(extracted, op, context, query)
            return _decode(body, op, context, query) if call is None else call
        except TieError:
            return _decode(body, op, replace(context, exact=True), query)

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the result in the form that `output` chooses."""
        payload = result_json(outcome.result, output)
        timing = watch.stop()
        header = server_timing(timing)
        head = (b'{"op":"', outcome.op.encode(), b'","result":')
        chunks: Chunks = (*head, *payload, rest_json(outcome, timing, request_id))
        length = sum(map(len, chunks))
        if length < JOINED_BYTES:
            chunks = (b"".join(chunks),)
        # Not by `HttpResponse.of`: this is on the path of every small request.
        return HttpResponse(200, LINES % (length, header), chunks, length)


@lru_cache
def operand_names(op: Op[Any]) -> OperandNames:
    """Return where the operands of an operation are."""
    return OperandNames(op.operands)


def _extracted_call(
    extracted: Extracted, op: Op[Any], context: DecodeContext, query: Mapping[str, str]
) -> Call | None:
    """Return the call of a request whose arrays were extracted; None if all of it has to be read.

    The fields of a plain request are not checked one by one.
    """
    if not query:
        call = plain_call(extracted, op, context)
        if call is not None:
            return call
    is_beside = op.optional or not op.needs_operands
    if is_beside and len(extracted[0]) > context.max_slow_bytes:
        return None  # tensors in other fields: to read them would hold the GIL
    fields = read_extracted(extracted, op.operands, context)
    if fields is None:
        return None
    try:
        return _complete(fields, op, context, query)
    except RequestError:
        refuse_deep_extracted(extracted, op.operands, context)
        raise


def _decode(body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str]) -> Call:
    """Return the call of any body by the general way; TieError if it has to be read exactly."""
    fields = read_document(body, op.operands, context)
    try:
        return _complete(fields, op, context, query)
    except RequestError:
        # An error of nesting comes first: it is about the document, not about its fields.
        refuse_deep(body, context)
        raise


def _complete(
    fields: dict[str, object], op: Op[Any], context: DecodeContext, query: Mapping[str, str]
) -> Call:
    """Return the call of the fields of a document and of a query string."""
    if query:
        _join(fields, read_query(query, op, context))
    return build_call(op, fields, take_operands(fields, op, context), context)


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
    for name in op.optional:
        if fields.get(name) is None:
            fields.pop(name, None)
    if op.operands is not None:
        return {
            name: open_operand(fields.pop(name), f"/{name}", context, casts=casts)
            for name in op.operands
            if name in fields
        }
    listed = _take_list(fields) if "operands" in fields else []
    placed = [(f"/operands/{index}", value) for index, value in enumerate(listed)]
    placed += op.take_inline(fields, len(placed))
    values = {str(index): each for index, each in enumerate(placed)}
    values |= {name: (f"/{name}", fields.pop(name)) for name in op.optional if name in fields}
    return {
        name: open_operand(value, pointer, context, casts=casts)
        for name, (pointer, value) in values.items()
    }


def _take_list(fields: dict[str, object]) -> list[object]:
    """Take the list of operands out of the fields."""
    listed = fields.pop("operands")
    if isinstance(listed, list) and listed:
        return listed
    found = "empty" if listed == [] else kind_of(listed)
    raise InvalidFieldError(
        f"operands is a list of one tensor or more; it was {found}",
        places=[Place("/operands", "expected a list of one tensor or more")],
    )
