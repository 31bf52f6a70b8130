"""Answers to chains: several results by the names of their steps, and a row for each step."""

from typing import Final

from service.codecs.base import ALL_DTYPES, Writer
from service.codecs.binary.npy import NpyCodec
from service.codecs.binary.raw import RawCodec
from service.codecs.binary.safetensors import SafetensorsCodec, file_head
from service.codecs.envelope import chain_rest_json, envelope_json, envelope_lines
from service.codecs.json.writer import ELEMENT_NS, result_json
from service.codecs.media_types import BYTES, JSON, NPY, SAFETENSORS
from service.codecs.tensor_bytes import to_bytes
from service.core.call import ChainOutcome, Outcome, Output
from service.core.response import Chunks, HttpResponse
from service.core.timing import Stopwatch, server_timing

LINES: Final = b"server-timing: %b\r\n"


class ChainJsonWriter:
    """application/json: `results` has an object as the result of a single call for each name."""

    media_type: Final = JSON
    dtypes: Final = ALL_DTYPES
    element_ns: Final = ELEMENT_NS
    has_outputs: Final = True

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the results in the form that `output` chooses."""
        assert isinstance(outcome, ChainOutcome)  # noqa: S101  # it writes no others
        texts: list[bytes | memoryview] = [b'{"op":"chain","results":']
        separator = b"{"
        for name, result in outcome.results.items():
            # Names of steps need no escapes.
            texts += (separator, b'"%b":' % name.encode(), *result_json(result, output))
            separator = b","
        timing = watch.stop()
        chunks: Chunks = (*texts, b"},", chain_rest_json(outcome, timing, request_id))
        return HttpResponse.of(JSON, chunks, LINES % server_timing(timing))


class ChainSafetensorsWriter:
    """application/x-safetensors: a file of the results, each by the name of its step."""

    media_type: Final = SAFETENSORS
    dtypes: Final = SafetensorsCodec.dtypes
    element_ns: Final = 0
    has_outputs: Final = False

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the file; the envelope is JSON text in its metadata, too."""
        assert isinstance(outcome, ChainOutcome)  # noqa: S101  # it writes no others
        data = [to_bytes(result) for result in outcome.results.values()]
        timing = watch.stop()
        envelope = envelope_json(outcome, timing, request_id)
        head = file_head(outcome.results, data, envelope)
        lines = envelope_lines(outcome, timing, envelope)
        return HttpResponse.of(self.media_type, (head, *data), lines)


CHAIN_WRITERS: Final[dict[str, Writer]] = {
    JSON: ChainJsonWriter(),
    SAFETENSORS: ChainSafetensorsWriter(),
    NPY: NpyCodec(),
    BYTES: RawCodec(),
}
# Formats of one tensor.
SINGLE: Final = frozenset((NPY, BYTES))
