"""JSON requests and responses."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from service.codecs.base import (
    ALL_DTYPES,
    NO_FIELDS,
    THREAD_TEXT_BYTES,
    Body,
    DecodeContext,
)
from service.codecs.envelope import rest_json
from service.codecs.json.document import read_document, refuse_deep
from service.codecs.json.operands import open_operand
from service.codecs.json.parsers import read_large
from service.codecs.json.plain import PLAIN_BYTES, plain_call, read_plain_body
from service.codecs.json.rounding import TieError
from service.codecs.json.writer import ELEMENT_NS, result_json
from service.codecs.json_pointer import escape, kind_of
from service.codecs.media_types import JSON
from service.codecs.query import read_query
from service.codecs.request import Operand, build_call
from service.core.call import Call, Outcome, Output
from service.core.response import JOINED_BYTES, Chunks, HttpResponse
from service.core.timing import Stopwatch, server_timing
from service.errors import DuplicateKeyError, InvalidFieldError, Place, RequestError, quote
from service.registry import Op

# Names of fields, and words in them: einsum's equations are the longest.
LONGEST: Final = 256
# The most rows that the event loop reads: 0.3 ms.
INLINE_ROWS: Final = 2048

# All headers of a response.
LINES: Final = b"content-type: %b\r\ncontent-length: %%d\r\nserver-timing: %%b\r\n" % JSON.encode()


class JsonCodec:
    """application/json, as docs/formats.md describes it."""

    media_type: Final = JSON
    thread_bytes: Final = THREAD_TEXT_BYTES
    dtypes: Final = ALL_DTYPES
    element_ns: Final = ELEMENT_NS
    has_outputs: Final = True

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """Decode a small body, or one that has few rows and no error."""
        if len(body) <= PLAIN_BYTES:
            return self.decode(body, op, context, query)
        if len(body) > THREAD_TEXT_BYTES:
            return None
        fields = read_large(body, op.operands, max_values=INLINE_ROWS)
        if fields is None:
            return None
        try:
            return _call(fields, op, context, query)
        except (RequestError, TieError):  # left to `decode`, on a thread
            return None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Decode the body, by the first of three ways that can.

        Small plain bodies are read in one pass, and plain documents without a check of each field.
        The general way decodes all other bodies, and raises all errors.
        """
        plain = None if query else read_plain_body(body, op, context)
        if plain is not None:
            return plain
        try:
            return _decode(body, op, context, query)
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


def _decode(body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str]) -> Call:
    """Return the call of any body by the general way; TieError if it has to be read exactly."""
    fields = read_document(body, op.operands, context)
    try:
        return _call(fields, op, context, query)
    except RequestError:
        # An error of nesting comes first: it is about the document, not about its fields.
        refuse_deep(body, context)
        raise


def _call(
    fields: dict[str, object], op: Op[Any], context: DecodeContext, query: Mapping[str, str]
) -> Call:
    """Return the call of a document's fields and those of the query string."""
    if query:
        _join(fields, read_query(query, op, context))
    # Parsed fields are cached, so that long words of large bodies must not get there.
    words = [*fields, *(each for each in fields.values() if isinstance(each, str))]
    if all(len(word) <= LONGEST for word in words):
        plain = plain_call(dict(fields), op, context)  # it takes the operands out
        if plain is not None:
            return plain
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
