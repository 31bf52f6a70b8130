"""Tests of the figures of recorded calls, and of the page that shows them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.load.figures import Failure, Sample, summarize
from tests.load.report import write_report

PHASES = {"decode": 0.25, "queue": 0.0, "compute": 0.5, "encode": 0.25, "outside": 1.0}
REFUSED = Failure(503, "overloaded", "no slot <b>was</b> free")


def sample(kind: str, began_s: float, taken_ms: float, **more: Any) -> Sample:
    """Return a call of the product, or of a plan."""
    route = "/matmul/plan" if kind == "plan" else "/matmul"
    return Sample(kind=kind, route=route, began_s=began_s, taken_ms=taken_ms, **more)


SAMPLES = [
    *(
        sample("tiny", at / 10, 2.0 + at / 10, sent_bytes=60, received_bytes=40, phases_ms=PHASES)
        for at in range(21)
    ),
    sample("large", 0.5, 2000.0, sent_bytes=8_000_000, phases_ms=PHASES | {"compute": 1500.0}),
    sample("large", 2.5, 1.0, failure=REFUSED),
    sample("plan", 2.9, 0.5),
    sample("large", 2.6, 1.0, failure=replace(REFUSED, detail="nor now")),
    sample("plan", 2.9, 0.5, failure=Failure(None, "WrongAnswerError", "found 1")),
]
ABOUT = {
    "target": "http://127.0.0.1:1",
    "users": 4,
    "began": "2026-11-28 08:00 UTC",
    "client": {"processor": "A processor", "locust": "2"},
}


def test_figures_of_routes_and_kinds() -> None:
    """Percentiles, bytes a second of a call, and medians of phases, in the order of the kinds."""
    found = summarize(SAMPLES, ["large", "tiny", "plan", "none"])
    product, plan = found["routes"]
    assert (product["route"], product["calls"], product["failed"]) == ("/matmul", 24, 2)
    assert (plan["route"], plan["calls"], plan["failed"]) == ("/matmul/plan", 2, 1)
    large, tiny = product["kinds"]
    assert (large["kind"], tiny["kind"]) == ("large", "tiny")
    assert tiny["latency_ms"] == pytest.approx(
        {"p50": 3.0, "p90": 3.8, "p95": 3.9, "p99": 3.98, "max": 4.0}
    )
    assert tiny["bytes_per_s"] == pytest.approx(100 / 3e-3)
    assert tiny["phases_ms"] == PHASES
    assert large["phases_ms"]["compute"] == 1500.0, "of the calls that have phases"
    assert plan["phases_ms"] == {}
    assert (found["total"]["calls"], found["total"]["failed"]) == (26, 3)


def test_failures_by_kind_and_code() -> None:
    """The most frequent is first; the detail is that of the first call."""
    first, second = summarize(SAMPLES, ["large"])["failures"]
    assert first == {
        "kind": "large",
        "status": 503,
        "code": "overloaded",
        "detail": "no slot <b>was</b> free",
        "calls": 2,
    }
    assert (second["code"], second["calls"]) == ("WrongAnswerError", 1)


def test_calls_over_time() -> None:
    """A call counts in the second in which it ended; a long test has longer steps."""
    timeline = summarize(SAMPLES, [])["timeline"]
    assert timeline["step_s"] == 1
    assert [(step["calls"], step["failed"]) for step in timeline["steps"]] == [
        (10, 0),
        (10, 0),
        (6, 3),
    ]
    assert timeline["steps"][0]["latency_ms"]["p50"] == pytest.approx(2.45)
    long = summarize([sample("tiny", 0, 1.0), sample("tiny", 600.5, 1.0)], [])["timeline"]
    assert (long["step_s"], len(long["steps"])) == (6, 101)
    assert long["steps"][50] == {"calls": 0, "failed": 0, "latency_ms": {}}


def test_no_call() -> None:
    """A test that no call came through has a report as well."""
    found = summarize([], ["tiny"])
    assert (found["seconds"], found["routes"], found["total"]["latency_ms"]) == (0.0, [], {})


def test_the_report(tmp_path: Path) -> None:
    """A page that has the figures in it, and the same as JSON beside it."""
    page = tmp_path / "report.html"
    write_report({**summarize(SAMPLES, ["tiny"]), **ABOUT, "server": None}, page)
    text = page.read_text(encoding="utf-8")
    assert "<h1>Load test of http://127.0.0.1:1</h1>" in text
    assert "4 users for 3 s, 2026-11-28 08:00 UTC" in text
    assert "<b>" not in text
    assert "tiny: 21 calls, 0 failed, median 3.00 ms, at most 4.00 ms" in text
    data = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert data["total"]["calls"] == len(SAMPLES)
    assert data["routes"][0]["kinds"][0]["latency_ms"]["p50"] == pytest.approx(3.0)
