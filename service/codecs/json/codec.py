"""JSON bodies and answers."""

from collections.abc import Mapping
from typing import Any, Final

from service.codecs.base import (
    ALL_DTYPES,
    NO_FIELDS,
    THREAD_TEXT_BYTES,
    Body,
    Chunks,
    DecodeContext,
    Encoded,
)
from service.codecs.envelope import rest_json
from service.codecs.json.document import read_document, refuse_deep
from service.codecs.json.fast_path import plain_call, read_quick
from service.codecs.json.operands import open_operand
from service.codecs.json.parsers import read_large
from service.codecs.json.writer import result_json
from service.codecs.json_pointer import escape, kind_of
from service.codecs.query import read_query
from service.codecs.request import Operand, build_call
from service.core.call import Call, Outcome, Output, Tensor
from service.core.timing import Timings, server_timing
from service.errors import DuplicateKeyError, InvalidFieldError, Place, RequestError, quote
from service.registry import Op

# One small write is quicker than three; one large one costs a copy.
JOINED_BYTES: Final = 65_536
# Whatever is wrong with so little is worded in less than a millisecond.
TINY_BYTES: Final = 2048
# Names of fields, and words in them: einsum's equations are the longest.
LONGEST: Final = 256
# A look at so many rows takes 0.3 ms.
GLANCE_ROWS: Final = 2048


class JsonCodec:
    """application/json, as the contract describes it."""

    media_type: Final = "application/json"
    thread_bytes: Final = THREAD_TEXT_BYTES
    dtypes: Final = ALL_DTYPES
    element_ns: Final = 30
    has_outputs: Final = True

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """The call of a tiny body, or of one with few rows and nothing wrong in it."""
        if len(body) <= TINY_BYTES:
            return self.decode(body, op, context, query)
        if len(body) > THREAD_TEXT_BYTES:
            return None
        fields = read_large(body, op.operands, patience=GLANCE_ROWS)
        if fields is None:
            return None
        try:
            return _call(fields, op, context, query)
        except RequestError:  # to be worded on a thread
            return None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """The call that a body asks for; a ServiceError says why there is none."""
        # Three ways, each taking what the one before left: small plain bodies in one go, plain
        # documents without a look at each field, and everything else, errors included.
        quick = None if query else read_quick(body, op, context)
        if quick is not None:
            return quick
        fields = read_document(body, op.operands, context)
        try:
            return _call(fields, op, context, query)
        except RequestError:
            # Whatever else is wrong, nesting comes first: it is about the document, not the fields.
            refuse_deep(body, context)
            raise

    def result(self, tensor: Tensor, output: Output) -> Chunks:
        """The JSON object of a result, in one of the forms of `OUTPUTS`."""
        return result_json(tensor, output)

    def answer(
        self, outcome: Outcome, payload: Chunks, timings: Timings, request_id: str
    ) -> Encoded:
        """The answer: `payload` stands in it as it is, neither read nor written again."""
        texts = timings.texts()
        head = b'{"op":"%b","result":' % outcome.op.encode()
        chunks = (head, *payload, rest_json(outcome, texts, request_id))
        if sum(map(len, chunks)) < JOINED_BYTES:
            chunks = (b"".join(chunks),)
        return Encoded(chunks, ((b"server-timing", server_timing(texts)),))


def _call(
    fields: dict[str, object], op: Op[Any], context: DecodeContext, query: Mapping[str, str]
) -> Call:
    """The call of a document's fields and those of the query string."""
    if query:
        _join(fields, read_query(query, op, context))
    # What plain fields mean is remembered, and a large body may have any words in them.
    words = [*fields, *(each for each in fields.values() if isinstance(each, str))]
    if all(len(word) <= LONGEST for word in words):
        plain = plain_call(dict(fields), op, context)  # it takes the operands out
        if plain is not None:
            return plain
    return build_call(op, fields, take_operands(fields, op, context), context)


def _join(fields: dict[str, object], query: dict[str, object]) -> None:
    """Add the fields of a query string; DuplicateKeyError if the body has one of them, too."""
    for name, value in query.items():
        if name in fields:
            raise DuplicateKeyError(
                f"{quote(name)} stands in the body and in the query string",
                hint="send it once",
                places=[Place(f"/{escape(name)}", "also in the query string")],
            )
        fields[name] = value


def take_operands(
    fields: dict[str, object], op: Op[Any], context: DecodeContext
) -> dict[str, Operand]:
    """Operands by name, taken out of the fields."""
    if op.operands is not None:
        return {
            name: open_operand(fields.pop(name), f"/{name}", context)
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
        str(index): open_operand(value, f"/operands/{index}", context)
        for index, value in enumerate(listed)
    }
