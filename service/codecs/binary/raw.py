"""Responses as bare bytes: little-endian, in row-major order. Shape and dtype are headers."""

from functools import lru_cache
from typing import Final

import torch

from service.codecs.base import ALL_DTYPES
from service.codecs.envelope import envelope_json, envelope_lines
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
        timing = watch.stop()
        lines = envelope_lines(outcome, timing, envelope_json(outcome, timing, request_id))
        lines += _tensor_lines(outcome.result.shape, outcome.result.dtype)
        return HttpResponse.of(self.media_type, (data,), lines)


@lru_cache(maxsize=1024)
def _tensor_lines(shape: torch.Size, dtype: torch.dtype) -> bytes:
    """Return the headers that describe the tensor."""
    sizes, name = ",".join(map(str, shape)), describe(dtype).name
    return f"x-tensor-shape: {sizes}\r\nx-tensor-dtype: {name}\r\n".encode()
