"""Tests of charts of results that are rare: wrong, infinite, skipped, on two devices."""

from pathlib import Path
from typing import Any

from service.cli.charts import race_chart, sweep_chart, write_png
from service.compare.sweep import Point, Sweep
from tests.unit.cli.reports import (
    ABSENT,
    ABSENT_LINES,
    DEAR,
    GPU,
    NUMBER,
    QUICK,
    SLOW,
    UNABLE,
    report,
    sweep,
)


def drawn_texts(chart: Any) -> set[str]:
    """Return all strings in the specification of a chart."""
    found: set[str] = set()

    def walk(part: object) -> None:
        if isinstance(part, dict):
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)
        elif isinstance(part, str):
            found.add(part)

    walk(chart.to_dict())
    return found


def test_race_chart(tmp_path: Path) -> None:
    """Zero and infinity are drawn at an edge; words mark the skipped and the wrong."""
    chart = race_chart(report(SLOW, QUICK, GPU, DEAR, UNABLE), "a race")
    texts = drawn_texts(chart)
    assert {"a race", "over loops", "fastest", "disagrees", "agrees"} <= texts
    assert {"118", "2.00", "87 %", "GFLOP/s", "GB/s", "of peak"} <= texts, "in tooltips"
    assert {"torch on cuda:0", "skipped: about 2.78 h", "skipped", "infinite, 2 disagree"} <= texts
    assert any("? '0' : " in text and "? 'infinite' : " in text for text in texts)
    write_png(chart, tmp_path / "race.png")
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_race_chart_without_a_winner() -> None:
    """A race without a fastest strategy, or without any run, is drawn."""
    texts = drawn_texts(race_chart(report(NUMBER, baseline=None), "a race"))
    assert "1.00e+00, 1 disagrees" in texts
    assert "fastest" not in texts
    assert "skipped" in drawn_texts(race_chart(report(UNABLE, baseline=None), "a race"))


def test_charts_without_the_strategies_that_this_host_lacks() -> None:
    """They have no line, and are named below the title."""
    race = report(SLOW, *ABSENT, QUICK)
    for chart in (
        race_chart(race, "a race"),
        sweep_chart(Sweep((Point(2, race),), None), "a sweep", 10**9),
    ):
        texts = drawn_texts(chart)
        assert {text for text in texts if "cuda" in text or "numba" in text} == set(ABSENT_LINES)


def test_sweep_chart() -> None:
    """The name of each line is at its end, with the size at which it stops."""
    found = sweep()
    texts = drawn_texts(sweep_chart(found, "a sweep", 10**9))
    assert {"118", "87 %", "1 in 1,300,000"} <= texts, "in tooltips"
    assert {"loops on cpu: stops at 2", "torch on cpu: 1.20 us", "limit of a run: 1.00 s"} <= texts
    alone = Sweep(found.points[:1], None)
    assert "stops at" not in "".join(drawn_texts(sweep_chart(alone, "a sweep", 10**9)))
