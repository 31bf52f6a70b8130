"""Fields of a response beside its result: the end of a JSON object, or headers."""

import json
from typing import Final

import orjson

from service.core.call import ChainOutcome, Outcome
from service.core.dtypes import describe
from service.core.timing import server_timing

LONGEST_HEADER: Final = 4096
# Names of the registry and checked request ids need no escapes.
ENVELOPE: Final = (
    b',%b"strategy":"%b","device":"%b","warnings":%b,"request_id":"%b","timing":{%b,'
    b'"threads":%d,"warm":%b,"executor":"%b"}}'
)
# The headers of a response that is not JSON.
LINES: Final = b"server-timing: %b\r\nx-strategy: %b\r\nx-device: %b\r\nx-envelope: %b\r\n"


def rest_json(outcome: Outcome, timing: bytes, request_id: str) -> bytes:
    """Return everything after the result, from its comma to the closing brace."""
    explanation = b""
    if outcome.explanation is not None:
        block = orjson.dumps(dict(outcome.explanation))
        explanation = b'"%b":%b,' % (outcome.op.encode(), block)
    if outcome.arithmetic is not None:
        explanation += orjson.dumps(outcome.arithmetic.stated)[1:-1] + b","
    return ENVELOPE % (
        explanation,
        outcome.strategy.encode(),
        outcome.device.encode(),
        orjson.dumps(outcome.warnings) if outcome.warnings else b"[]",
        request_id.encode(),
        timing,
        outcome.threads,
        b"true" if outcome.warm else b"false",
        outcome.executor.encode(),
    )


def chain_rest_json(outcome: ChainOutcome, timing: bytes, request_id: str) -> bytes:
    """Return everything after the results of a chain, to the closing brace."""
    rows = [
        {
            "name": step.name,
            "operation": step.op,
            "strategy": step.strategy,
            "shape": step.spec.shape,
            "dtype": describe(step.spec.dtype).name,
            "compute_ms": step.elapsed_ns / 1e6,
        }
        for step in outcome.steps
    ]
    explanation = outcome.explanation or {}
    rest = shared_fields(outcome, timing, request_id)
    return orjson.dumps({**explanation, "steps": rows, **rest})[1:]


def shared_fields(outcome: ChainOutcome, timing: bytes, request_id: str) -> dict[str, object]:
    """Return the last fields of all answers with several results."""
    host = {
        "threads": outcome.threads,
        "warm": outcome.warm,
        "executor": outcome.executor,
    }
    stated = {} if outcome.arithmetic is None else outcome.arithmetic.stated
    return {
        **stated,
        "device": outcome.device,
        "warnings": outcome.warnings,
        "request_id": request_id,
        "timing": orjson.loads(b"{%b}" % timing) | host,
    }


def envelope_json(outcome: Outcome, timing: bytes, request_id: str) -> bytes:
    """Return the whole object without its result, or its results."""
    if isinstance(outcome, ChainOutcome):
        return b'{"op":"%b",%b' % (
            outcome.op.encode(),
            chain_rest_json(outcome, timing, request_id),
        )
    return b'{"op":"%b"%b' % (outcome.op.encode(), rest_json(outcome, timing, request_id))


def envelope_lines(outcome: Outcome, timing: bytes, envelope: bytes) -> bytes:
    """Return the lines of headers of a response that is not JSON."""
    strategy, device = outcome.strategy.encode(), outcome.device.encode()
    return LINES % (server_timing(timing), strategy, device, shorten(envelope))


def shorten(envelope: bytes) -> bytes:
    """Return the envelope in ASCII, short enough for a header.

    Its longest blocks are dropped first, and named in `dropped`.
    """
    if len(envelope) <= LONGEST_HEADER and envelope.isascii():
        return envelope
    fields = orjson.loads(envelope)
    blocks = [name for name, value in fields.items() if isinstance(value, dict | list)]
    blocks.sort(key=lambda name: len(_ascii(fields[name])))
    dropped: list[str] = []
    text = _ascii(fields)
    while len(text) > LONGEST_HEADER:
        dropped.append(blocks.pop())
        del fields[dropped[-1]]
        text = _ascii({**fields, "dropped": dropped})
    return text


def _ascii(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
