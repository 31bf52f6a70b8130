"""Responses as bare bytes: little-endian, in row-major order. Shape and dtype are headers."""

from typing import Final

from service.codecs.base import ALL_DTYPES, Chunks, Encoded
from service.codecs.envelope import envelope_headers, envelope_json
from service.codecs.media_types import BYTES
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Outcome, Output, Tensor
from service.core.dtypes import describe
from service.core.timing import Timings


class RawCodec:
    """application/octet-stream, for responses alone."""

    media_type: Final = BYTES
    dtypes: Final = ALL_DTYPES
    element_ns: Final = 0
    has_outputs: Final = False

    def result(self, tensor: Tensor, output: Output) -> Chunks:
        """The tensor's own memory, if it is contiguous."""
        return (to_bytes(tensor),)

    def answer(
        self, outcome: Outcome, payload: Chunks, timings: Timings, request_id: str
    ) -> Encoded:
        """The bytes as they are, and headers that say what they are."""
        texts = timings.texts()
        headers = envelope_headers(outcome, texts, envelope_json(outcome, texts, request_id))
        shape = ",".join(map(str, outcome.result.shape))
        dtype = describe(outcome.result.dtype).name
        return Encoded(
            payload,
            (
                *headers,
                (b"x-tensor-shape", shape.encode()),
                (b"x-tensor-dtype", dtype.encode()),
            ),
        )
