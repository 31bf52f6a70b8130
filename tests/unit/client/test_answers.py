"""Tests of results as they are shown, and as dictionaries."""

from typing import Any

import numpy as np
import pytest

from tensor_service_client.answers import (
    Answer,
    ChainAnswer,
    ChainEnvelope,
    Envelope,
    Gradient,
    Gradients,
    Summary,
    Timing,
)
from tests.unit.client.documents import ENVELOPE, TIMING

GRADIENT: Any = Gradient([1.0], "float32", (1,), "ik,jk->ij", "of a", "upstream @ b.T", "torch")


def test_an_answer() -> None:
    """Shape, dtype, strategy, device, times, warnings."""
    answer = Answer(np.ones((5, 10)), "float64", (5, 10), Envelope(ENVELOPE))
    assert repr(answer).splitlines() == [
        "matmul: 5×10 float64 by torch on cpu",
        "times: decode 12.0 us, compute 3.10 us; total 15.1 us",
        "warning: b: 3 digits were lost",
    ]
    assert "3.10 us" in answer._repr_html_()
    assert answer.timing.compute_ms == 0.0031
    fields = answer.to_dict()
    assert fields["result"] is answer.result
    assert (fields["shape"], fields["strategy"]) == ([5, 10], "torch")
    assert type(fields["timing"]) is dict


def test_an_answer_without_times() -> None:
    """A header may have had no room for them."""
    answer = Answer(1, "int64", (), Envelope({"op": "norm", "strategy": "torch", "device": "cpu"}))
    assert repr(answer) == "norm: () int64 by torch on cpu"
    assert repr(Timing({"total_ms": 0.0})) == "no time"
    assert repr(Timing(TIMING)) == "decode 12.0 us, compute 3.10 us; total 15.1 us"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"precision": "tf32", "deterministic": True}, "arithmetic: tf32, deterministic"),
        ({"precision": "ieee", "deterministic": False}, "arithmetic: ieee"),
        ({"deterministic": True}, "arithmetic: deterministic"),
        ({"deterministic": False}, None),
    ],
)
def test_arithmetic(fields: dict[str, Any], line: str | None) -> None:
    """What was asked for has a line after the title."""
    lines = repr(Answer(1, "float32", (), Envelope(ENVELOPE | fields))).splitlines()
    assert lines[1] == (line or "times: decode 12.0 us, compute 3.10 us; total 15.1 us")


def test_a_summary() -> None:
    """Its statistics are part of the answer."""
    summary = Summary({"min": 1.0, "nan": 0})
    answer = Answer(summary, "float64", (2,), Envelope(ENVELOPE))
    assert [line.split() for line in repr(answer).splitlines()[-2:]] == [
        ["min", "1.0"],
        ["nan", "0"],
    ]
    assert answer.to_dict()["result"] == {"min": 1.0, "nan": 0}


def test_gradients() -> None:
    """A line of torch for each operand."""
    gradients = Gradients("ij,jk->ik", {"a": GRADIENT}, Envelope(ENVELOPE))
    lines = repr(gradients).splitlines()
    assert lines[0] == "gradients of matmul, as einsum ij,jk->ik"
    assert lines[3].split() == ["a", "1", "float32", "torch", "ik,jk->ij", "upstream", "@", "b.T"]
    assert gradients.to_dict()["gradients"]["a"]["result"] == [1.0]
    assert repr(gradients["a"]).splitlines() == [
        "gradient: 1 float32 by torch",
        "einsum ik,jk->ij: of a",
        "in torch: upstream @ b.T",
    ]


def test_a_chain() -> None:
    """A row for each step."""
    step = {"name": "norm0", "strategy": "torch", "shape": [], "dtype": "f", "compute_ms": 0.0412}
    answer = ChainAnswer([1.0], ChainEnvelope(ENVELOPE | {"op": "chain", "steps": [step]}))
    lines = repr(answer).splitlines()
    assert lines[0] == "chain of 1 steps on cpu"
    assert lines[3].split() == ["norm0", "torch", "()", "f", "41.2", "us"]
    assert lines[4].startswith("times: ")
    assert answer.to_dict()["results"] == [1.0]
    assert answer.warnings == ["b: 3 digits were lost"]
