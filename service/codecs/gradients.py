"""Answers with gradients: for each operand the equation, its explanation, and the result."""

from typing import Any, Final

import orjson

from service.codecs.base import ALL_DTYPES, Writer
from service.codecs.chain import LINES, ChainSafetensorsWriter
from service.codecs.envelope import shared_fields
from service.codecs.json.writer import ELEMENT_NS, result_json
from service.codecs.media_types import JSON, SAFETENSORS
from service.core.call import ChainOutcome, Outcome, Output
from service.core.response import Chunks, HttpResponse
from service.core.timing import Stopwatch, server_timing


class GradientsJsonWriter:
    """application/json: `gradients` has an object for the name of each operand."""

    media_type: Final = JSON
    dtypes: Final = ALL_DTYPES
    element_ns: Final = ELEMENT_NS
    has_outputs: Final = True

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the gradients in the form that `output` chooses.

        The explanation of the outcome has the equation of the call, and the texts of each gradient.
        """
        assert isinstance(outcome, ChainOutcome)  # noqa: S101  # it writes no others
        found: Any = outcome.explanation
        head = {"op": outcome.op, "equation": found["equation"]}
        texts: list[bytes | memoryview] = [orjson.dumps(head)[:-1], b',"gradients":']
        separator = b"{"
        for step in outcome.steps:
            row = {
                **found["gradients"][step.name],
                "strategy": step.strategy,
                "compute_ms": step.elapsed_ns / 1e6,
            }
            # Names of operands need no escapes.
            name = b'%b"%b":' % (separator, step.name.encode())
            result = result_json(outcome.results[step.name], output)
            texts += (name, orjson.dumps(row)[:-1], b',"result":', *result, b"}")
            separator = b","
        timing = watch.stop()
        rest = orjson.dumps(shared_fields(outcome, timing, request_id))
        chunks: Chunks = (*texts, b"},", rest[1:])
        return HttpResponse.of(JSON, chunks, LINES % server_timing(timing))


# A safetensors file has the gradients by the names of the operands, and the texts in its metadata.
GRADIENTS_WRITERS: Final[dict[str, Writer]] = {
    JSON: GradientsJsonWriter(),
    SAFETENSORS: ChainSafetensorsWriter(),
}
