"""Tables and charts of races that are hard to get: wrong, infinite, skipped, on two devices."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.cli.charts import race_chart, sweep_chart, write_html, write_png
from service.cli.output import table_text
from service.cli.tables import plan_table, race_table, sweep_table, verdict
from service.compare import CompareOptions, Report, Row
from service.compare.agreement import Agreement
from service.compare.report import Host, host_line, quickest, rung_names
from service.compare.sweep import Point, Sweep
from service.core.call import Spec
from service.core.devices import host_devices
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.planning.planner import CallSpec, Planner

HOST = Host("A processor", 2, ("cuda:0", "cpu"), {"python": "3.11", "torch": "2"})
EXACT = Agreement(0.0, 0.0, 0, None)
NEAR = Agreement(1e-6, 1e-6, 0, (0, 1))
WRONG = Agreement(math.inf, math.inf, 2, (1, 0))
ONE_WRONG = Agreement(1.0, 1.0, 1, ())

SLOW = Row("loops", "cpu", 9_000, (9_000,), NEAR)
QUICK = Row("torch", "cpu", 1_000, (1_000, 1_200, 1_400), EXACT)
GPU = Row("torch", "cuda:0", 100, (100, 110), WRONG)
NUMBER = Row("numpy", "cpu", 100, (100, 110), ONE_WRONG)
DEAR = Row("python", "cpu", 10**13, skipped="would take hours")
UNABLE = Row("dot", "cpu", None, skipped="does not take int8")


def report(*rows: Row, baseline: str | None = "loops") -> Report:
    """A report of these rows."""
    specs = (Spec((2, 2), torch.float32), Spec((2, 2), torch.float32))
    return Report("matmul", specs, 8, baseline, HOST, rows)


def drawn_texts(chart: Any) -> set[str]:
    """All strings in the specification of a chart."""
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


def test_the_fastest_agrees() -> None:
    """A wrong result is not the fastest, however soon it comes."""
    assert quickest(report(SLOW, QUICK, GPU)) is QUICK
    assert quickest(report(GPU, DEAR)) is None


def test_names() -> None:
    """The device is named where there are several."""
    assert rung_names([SLOW, QUICK]) == ["loops", "torch"]
    assert rung_names([QUICK, GPU]) == ["torch on cpu", "torch on cuda:0"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (QUICK, "yes"),
        (GPU, "NO: 2 elements, most at [1, 0]"),
        (NUMBER, "NO: 1 element"),
        (DEAR, "skipped"),
    ],
)
def test_verdict(row: Row, text: str) -> None:
    """What disagrees is counted, and the worst place named, if the result has places."""
    assert verdict(row) == text


def test_race_table() -> None:
    """The fastest, the baseline and what disagrees are marked by words; reasons stand below."""
    text = table_text(race_table(report(SLOW, QUICK, GPU, DEAR), "a race", CompareOptions()))
    lines = {" ".join(line.split()[:3]): line for line in text.splitlines()}
    assert text.startswith("a race\n")
    assert lines["loops cpu 1"].endswith("baseline")
    assert lines["torch cpu 3"].endswith("fastest")
    assert "NO: 2 elements, most at [1, 0]" in lines["torch cuda:0 2"]
    assert "infinite" in lines["torch cuda:0 2"]
    assert "skipped python on cpu: would take hours" in text
    assert "A processor, 2 threads, python 3.11, torch 2" in text


def test_race_table_of_one() -> None:
    """The only rung is the fastest and the baseline; without a baseline there is no speed-up."""
    alone = replace(QUICK, times_ns=(1_000,))
    text = table_text(race_table(report(alone, baseline="torch"), "a race", CompareOptions()))
    assert "fastest, baseline" in text
    assert "×" not in table_text(
        race_table(report(QUICK, baseline=None), "a race", CompareOptions())
    )


def test_race_chart(tmp_path: Path) -> None:
    """Zero and infinity have their places; the skipped and the wrong are told in words."""
    chart = race_chart(report(SLOW, QUICK, GPU, DEAR, UNABLE), "a race")
    texts = drawn_texts(chart)
    assert {"a race", "over loops", "fastest", "disagrees", "agrees with float64"} <= texts
    assert {"torch on cuda:0", "skipped: about 2.78 h", "skipped", "infinite, 2 disagree"} <= texts
    assert any("? '0' : " in text and "? 'infinite' : " in text for text in texts)
    write_png(chart, tmp_path / "race.png")
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_race_chart_without_a_winner() -> None:
    """A race that nothing won, or that nothing ran in, is drawn as well."""
    texts = drawn_texts(race_chart(report(NUMBER, baseline=None), "a race"))
    assert "1.00e+00, 1 disagrees" in texts
    assert "fastest" not in texts
    assert "skipped" in drawn_texts(race_chart(report(UNABLE, baseline=None), "a race"))


def test_plan_table_without_a_strategy() -> None:
    """What no strategy takes has no memory to tell of."""
    planner = Planner(host_devices("cpu"), CostModel(), Limits(2**24, 2**30, 16, 30_000))
    specs = (Spec((2, 2), torch.float32),) * 2
    found = planner.explain(CallSpec(REGISTRY["matmul"], specs, {}))
    text = table_text(plan_table(replace(found, plan=None, reason="none", estimates=()), "a plan"))
    assert "accepted  NO: none" in text
    assert "memory" not in text


def sweep() -> Sweep:
    """Two sizes, at the second of which the loops are skipped; on two devices, one wrong."""
    stopped = replace(SLOW, times_ns=(), agreement=None, skipped="too slow")
    races = (report(SLOW, QUICK, GPU, UNABLE), report(stopped, QUICK, GPU, UNABLE))
    return Sweep(tuple(Point(n, race) for n, race in zip((2, 4), races, strict=True)), None)


def test_sweep_table() -> None:
    """Each size has its fastest; each strategy its last size, and the reason."""
    lines = table_text(sweep_table(sweep(), "a sweep")).splitlines()
    assert any(" ".join(line.split()) == "4 - > 1.20 us ! 105 ns -" for line in lines)
    assert any("loops on cpu" in line and "at 4: too slow" in line for line in lines)
    assert any("dot on cpu" in line and "at 2: does not take int8" in line for line in lines)
    assert any("torch on cpu" in line and "it does not stop" in line for line in lines)
    assert lines[-1] == host_line(report())
    ended = Sweep((), "at 2: nothing runs")
    assert table_text(sweep_table(ended, "a sweep")).endswith("the sweep ended at 2: nothing runs")


def test_sweep_chart(tmp_path: Path) -> None:
    """Each line is named where it ends; one that stops says so."""
    found = sweep()
    texts = drawn_texts(sweep_chart(found, "a </script> sweep", 10**9))
    assert {"loops on cpu: stops at 2", "torch on cpu: 1.20 us", "limit of a run: 1.00 s"} <= texts
    alone = Sweep(found.points[:1], None)
    chart = sweep_chart(alone, "a </script> sweep", 10**9)
    write_html(chart, tmp_path / "sweep.html", "a </script> sweep", "<a table>")
    page = (tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2
    assert "&lt;a table&gt;" in page
