"""The envelope of a response: its JSON, and its form in a header."""

import json

import pytest
import torch

from service.codecs.envelope import LONGEST_HEADER, envelope_json, envelope_lines, shorten
from service.core.response import HttpResponse
from tests.unit.codecs.encoding import outcome_of, stopwatch_of

TIMING = stopwatch_of(1500).stop()
RESULT = torch.ones(2)


@pytest.mark.parametrize("warnings", [(), ("careful", "\u20ac")])
@pytest.mark.parametrize("explanation", [None, {"steps": [1, 2]}])
def test_the_envelope_is_json(
    warnings: tuple[str, ...], explanation: dict[str, object] | None
) -> None:
    """It has all fields of a response but the result."""
    made = outcome_of(RESULT, warnings=warnings, explanation=explanation)
    envelope = json.loads(envelope_json(made, TIMING, "id"))
    timing = envelope.pop("timing")
    assert timing["compute_ms"] == 0.0015
    assert envelope == {
        "op": "norm",
        **({} if explanation is None else {"norm": explanation}),
        "strategy": "torch",
        "device": "cpu",
        "warnings": list(warnings),
        "request_id": "id",
    }


def test_headers_have_the_envelope() -> None:
    """Strategy, device and timing have headers of their own, too."""
    made = outcome_of(RESULT)
    envelope = envelope_json(made, TIMING, "id")
    headers = dict(HttpResponse(200, envelope_lines(made, TIMING, envelope), (), 0).headers)
    assert headers.pop(b"server-timing")
    assert headers == {b"x-strategy": b"torch", b"x-device": b"cpu", b"x-envelope": envelope}


def test_a_header_is_ascii() -> None:
    """Other characters in warnings are escaped."""
    text = '{"warnings":["\u20ac"]}'.encode()
    assert shorten(text) == b'{"warnings":["\\u20ac"]}'


def test_a_long_envelope_is_shortened() -> None:
    """The longest blocks are removed first, and `dropped` has their names."""
    fields = {"op": "norm", "a": ["x" * 3000], "b": {"c": "y" * 3000}, "warnings": ["z" * 2000]}
    text = shorten(json.dumps(fields).encode())
    assert json.loads(text) == {"op": "norm", "warnings": ["z" * 2000], "dropped": ["b", "a"]}
    assert len(text) <= LONGEST_HEADER
