"""Responses as bare bytes: little-endian, in row-major order. Shape and dtype are headers."""

from typing import Final

from service.codecs.base import ALL_DTYPES
from service.codecs.envelope import envelope_headers, envelope_json
from service.codecs.media_types import BYTES
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Outcome, Output
from service.core.dtypes import describe
from service.core.response import HttpResponse
from service.core.timing import Stopwatch


class RawCodec:
    """application/octet-stream, for responses alone."""

    media_type: Final = BYTES
    dtypes: Final = ALL_DTYPES
    element_ns: Final = 0
    has_outputs: Final = False

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the memory of the tensor, copied only if it is not contiguous."""
        data = to_bytes(outcome.result)
        texts = watch.stop()
        headers = envelope_headers(outcome, texts, envelope_json(outcome, texts, request_id))
        shape = ",".join(map(str, outcome.result.shape))
        dtype = describe(outcome.result.dtype).name
        return HttpResponse.of(
            self.media_type,
            (data,),
            (
                *headers,
                (b"x-tensor-shape", shape.encode()),
                (b"x-tensor-dtype", dtype.encode()),
            ),
        )
