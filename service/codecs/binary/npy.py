"""npy bodies and answers: one tensor, as numpy.save writes it."""

from collections.abc import Mapping
from typing import Any, Final

from service.codecs.base import (
    NO_FIELDS,
    SHORT_BYTES,
    UNBOUNDED_BYTES,
    Body,
    Chunks,
    Encoded,
    Reading,
)
from service.codecs.binary.npy_header import read_span, write_header
from service.codecs.binary.slices import call_on
from service.codecs.envelope import envelope_headers, envelope_json
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Call, Outcome, Output, Tensor
from service.core.dtypes import IN_NUMPY, describe
from service.core.timing import Timings
from service.errors import MissingFieldError, Place
from service.registry import Op


class NpyCodec:
    """application/x-npy. It has no code for bfloat16."""

    media_type: Final = "application/x-npy"
    thread_bytes: Final = UNBOUNDED_BYTES
    dtypes: Final = IN_NUMPY
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
        """The call on the one tensor of a body."""
        names = op.operands if op.operands is not None else ("0",)
        if len(names) > 1:
            raise MissingFieldError(
                f"an npy file is one tensor, and {op.name} needs {' and '.join(names)}",
                hint="send both in an npz or a safetensors file",
                places=[Place(f"/{name}", "missing") for name in names[1:]],
            )
        return call_on({names[0]: (read_span(body, "the body"), body)}, op, reading, query)

    def result(self, tensor: Tensor, output: Output) -> Chunks:
        """A header, and the bytes of the tensor."""
        header = write_header(describe(tensor.dtype), tuple(tensor.shape))
        return (header, to_bytes(tensor))

    def answer(
        self, outcome: Outcome, payload: Chunks, timings: Timings, request_id: str
    ) -> Encoded:
        """The file as it is; what else there is to say is in the headers."""
        texts = timings.texts()
        envelope = envelope_json(outcome, texts, request_id)
        return Encoded(payload, envelope_headers(outcome, texts, envelope))
