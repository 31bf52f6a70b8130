"""Figures of the load test: every call as it was seen by the client, and what they sum up to."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

PHASES: Final = (
    "decode",
    "queue",
    "upload",
    "compile",
    "compute",
    "download",
    "encode",
    "outside",
)
PERCENTILES: Final = (50, 90, 95, 99)
MAX_STEPS: Final = 120


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong: the status and code of a problem document, or the class of an error."""

    status: int | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One call: when it began, in seconds of the test, how long it took, and how it went.

    `phases_ms` are those of `Server-Timing`, and `outside`, which is what the client saw beyond
    them: HTTP, the network, and the client itself.
    """

    kind: str
    route: str
    began_s: float
    taken_ms: float
    sent_bytes: int = 0
    received_bytes: int = 0
    phases_ms: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None


def summarize(samples: Sequence[Sample], kinds: Iterable[str]) -> dict[str, Any]:
    """Return the figures of a report: in total, by route and kind, by second, and failures.

    `kinds` are the names of all kinds, in the order of the report.
    """
    order = list(kinds)
    seconds = max((each.began_s + each.taken_ms / 1e3 for each in samples), default=0.0)
    routes = sorted({each.route for each in samples})
    return {
        "seconds": seconds,
        "total": _figures(samples),
        "routes": [
            {"route": route, **_figures(of_route), "kinds": _by_kind(of_route, order)}
            for route in routes
            if (of_route := [each for each in samples if each.route == route])
        ],
        "failures": _failures(samples),
        "timeline": _timeline(samples, seconds),
    }


def _by_kind(samples: Sequence[Sample], order: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, **_figures(of_kind)}
        for kind in order
        if (of_kind := [each for each in samples if each.kind == kind])
    ]


def _figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the number of calls, their latencies, bytes a second of a call, and its phases."""
    taken_ms = np.array([each.taken_ms for each in samples])
    moved = sum(each.sent_bytes + each.received_bytes for each in samples)
    return {
        "calls": len(samples),
        "failed": sum(each.failure is not None for each in samples),
        "bytes": moved,
        "bytes_per_s": moved / (float(taken_ms.sum()) / 1e3) if samples else 0.0,
        "latency_ms": _latency(taken_ms),
        "phases_ms": {
            name: float(np.median(found))
            for name in PHASES
            if (found := [each.phases_ms[name] for each in samples if name in each.phases_ms])
        },
    }


def _latency(taken_ms: "np.ndarray[Any, Any]") -> dict[str, float]:
    if not taken_ms.size:
        return {}
    found = dict(zip(PERCENTILES, np.percentile(taken_ms, PERCENTILES), strict=True))
    return {
        **{f"p{percent}": float(ms) for percent, ms in found.items()},
        "max": float(taken_ms.max()),
    }


def _failures(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Return the failures of each kind by code, the most frequent first, with a first detail."""
    found: dict[tuple[str, int | None, str], dict[str, Any]] = {}
    for each in samples:
        if each.failure is not None:
            names = {"kind": each.kind, **asdict(each.failure)}
            key = (each.kind, each.failure.status, each.failure.code)
            found.setdefault(key, {**names, "calls": 0})["calls"] += 1
    return sorted(found.values(), key=lambda entry: -entry["calls"])


def _timeline(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """Return the calls that ended in each step of time, of a second or more."""
    step_s = max(1, math.ceil(seconds / MAX_STEPS))
    steps: list[list[Sample]] = [[] for _ in range(math.floor(seconds / step_s) + 1)]
    for each in samples:
        steps[math.floor((each.began_s + each.taken_ms / 1e3) / step_s)].append(each)
    return {
        "step_s": step_s,
        "steps": [
            {
                "calls": len(step),
                "failed": sum(each.failure is not None for each in step),
                "latency_ms": _latency(np.array([each.taken_ms for each in step])),
            }
            for step in steps
        ],
    }
