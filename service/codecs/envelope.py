"""Fields of a response beside its result: the end of a JSON object, or headers."""

import json
from typing import Final

import orjson

from service.core.call import Outcome
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


def envelope_json(outcome: Outcome, timing: bytes, request_id: str) -> bytes:
    """Return the whole object without its result."""
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
