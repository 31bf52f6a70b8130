"""Outcomes, stopwatches and responses for the tests of codecs."""

from time import perf_counter_ns
from typing import Any

import torch

from service.codecs import Writer
from service.core.call import Outcome, Output
from service.core.response import HttpResponse
from service.core.timing import COMPUTE, DECODE, Stopwatch


def outcome_of(result: torch.Tensor, **fields: Any) -> Outcome:
    """Return the outcome of a norm with these fields."""
    given = {"op": "norm", "strategy": "torch", "device": "cpu", "threads": 2, "warm": False}
    return Outcome(**{"result": result, **given, **fields})


def stopwatch_of(compute_ns: int = 0) -> Stopwatch:
    """Return a running stopwatch whose one phase so far is a computation of this time."""
    now = perf_counter_ns()
    return Stopwatch([(DECODE, now - compute_ns), (COMPUTE, now)])


def encode(
    codec: Writer, result: torch.Tensor, output: Output = "nested", **fields: Any
) -> HttpResponse:
    """Return the response with a result that took 1500 ns; its request id is `id`."""
    return codec.encode(outcome_of(result, **fields), output, stopwatch_of(1500), "id")
