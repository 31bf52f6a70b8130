"""Answers to chains: several results by the names of their steps, and a row for each step."""

from collections.abc import Mapping
from typing import Final

import orjson

from service.codecs.base import ALL_DTYPES, Writer
from service.codecs.json.writer import ELEMENT_NS, result_json
from service.codecs.media_types import JSON
from service.core.call import ChainOutcome, Outcome, Output, StepOutcome
from service.core.dtypes import describe
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
        chunks: Chunks = (*texts, b"},", envelope_json(outcome, timing, request_id)[1:])
        return HttpResponse.of(JSON, chunks, LINES % server_timing(timing))


def envelope_json(outcome: ChainOutcome, timing: bytes, request_id: str) -> bytes:
    """Return the object of an answer without its results."""
    steps = [_row(step) for step in outcome.steps]
    return orjson.dumps({"steps": steps, **shared_fields(outcome, timing, request_id)})


def shared_fields(outcome: ChainOutcome, timing: bytes, request_id: str) -> dict[str, object]:
    """Return the fields that all answers with several results have."""
    shared = {
        "threads": outcome.threads,
        "warm": outcome.warm,
        "executor": outcome.executor,
    }
    return {
        "device": outcome.device,
        "warnings": outcome.warnings,
        "request_id": request_id,
        "timing": orjson.loads(b"{%b}" % timing) | shared,
    }


def _row(step: StepOutcome) -> Mapping[str, object]:
    return {
        "name": step.name,
        "operation": step.op,
        "strategy": step.strategy,
        "shape": step.spec.shape,
        "dtype": describe(step.spec.dtype).name,
        "compute_ms": step.elapsed_ns / 1e6,
    }


CHAIN_WRITERS: Final[dict[str, Writer]] = {JSON: ChainJsonWriter()}
