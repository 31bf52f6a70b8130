"""safetensors bodies and answers."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from service.codecs.base import (
    NO_FIELDS,
    SHORT_BYTES,
    UNBOUNDED_BYTES,
    Body,
    Chunks,
    Encoded,
    Reading,
)
from service.codecs.binary.safetensors_header import (
    CODES,
    METADATA,
    PREFIX,
    SHORT_HEADER,
    read_header,
    read_spans,
)
from service.codecs.binary.slices import DecodedHeader, call_of, recipe_of
from service.codecs.envelope import envelope_headers, envelope_json
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Call, Outcome, Output, Tensor
from service.core.dtypes import describe
from service.core.timing import Timings
from service.registry import Op

_CODE_OF: Final = {dtype.name: code for code, dtype in CODES.items()}


@lru_cache(maxsize=64)
def _known_recipe(
    text: bytes, op: Op[Any], reading: Reading, query: tuple[tuple[str, str], ...]
) -> DecodedHeader:
    # Clients send the same shapes again.
    spans, _ = read_header(text)
    return recipe_of(spans, op, reading, dict(query))


class SafetensorsCodec:
    """application/x-safetensors. It has no code for complex128."""

    media_type: Final = "application/x-safetensors"
    thread_bytes: Final = UNBOUNDED_BYTES
    dtypes: Final = frozenset(dtype.torch for dtype in CODES.values())
    element_ns: Final = 0
    has_outputs: Final = False

    def try_decode(
        self, body: Body, op: Op[Any], reading: Reading, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """The call on the tensors of a short body."""
        return self.decode(body, op, reading, query) if len(body) <= SHORT_BYTES else None

    def decode(
        self, body: Body, op: Op[Any], reading: Reading, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """The call on the tensors of a body, whose names are those of the operands."""
        text, spans = read_spans(body)
        if len(text) <= SHORT_HEADER:
            recipe = _known_recipe(text, op, reading, tuple(query.items()))
        else:
            recipe = recipe_of(spans, op, reading, query)
        return call_of(recipe, dict.fromkeys(spans, body), op, reading)

    def result(self, tensor: Tensor, output: Output) -> Chunks:
        """The bytes of the tensor; the header is made when the time they took is known."""
        return (to_bytes(tensor),)

    def answer(
        self, outcome: Outcome, payload: Chunks, timings: Timings, request_id: str
    ) -> Encoded:
        """The tensor `result`; the envelope is JSON text among the metadata."""
        texts = timings.texts()
        envelope = envelope_json(outcome, texts, request_id)
        described = {
            METADATA: {"envelope": envelope.decode()},
            "result": {
                "dtype": _CODE_OF[describe(outcome.result.dtype).name],
                "shape": tuple(outcome.result.shape),
                "data_offsets": (0, sum(map(len, payload))),
            },
        }
        header = orjson.dumps(described)
        header += b" " * (-len(header) % 8)  # so that the tensor is aligned in the file
        head = len(header).to_bytes(PREFIX, "little") + header
        return Encoded((head, *payload), envelope_headers(outcome, texts, envelope))
