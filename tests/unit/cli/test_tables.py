"""Tests of tables of results that are rare: wrong, infinite, skipped, on two devices."""

from dataclasses import replace

import pytest
import torch

from service.cli.output import table_text
from service.cli.tables import plan_table, race_table, sweep_table, verdict
from service.compare import CompareOptions, Row
from service.compare.report import host_line, quickest, strategy_labels
from service.compare.sweep import Sweep
from service.core.call import Spec
from service.core.devices import host_devices
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.planning.planner import CallSpec, Planner
from tests.unit.cli.reports import DEAR, GPU, NUMBER, QUICK, SLOW, report, sweep


def test_the_fastest_agrees() -> None:
    """A result that disagrees is never the fastest."""
    assert quickest(report(SLOW, QUICK, GPU)) is QUICK
    assert quickest(report(GPU, DEAR)) is None


def test_names() -> None:
    """The name of a row has its device if there are several devices."""
    assert strategy_labels([SLOW, QUICK]) == ["loops", "torch"]
    assert strategy_labels([QUICK, GPU]) == ["torch on cpu", "torch on cuda:0"]


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
    """Disagreeing elements are counted, with the position of the worst unless it is a number."""
    assert verdict(row) == text


def test_race_table() -> None:
    """Words mark the fastest, the baseline and what disagrees; reasons are below the table."""
    compiled = replace(QUICK, compile_ns=2_000_000)
    text = table_text(race_table(report(SLOW, compiled, GPU, DEAR), "a race", CompareOptions()))
    lines = {" ".join(line.split()[:3]): line for line in text.splitlines()}
    assert text.startswith("a race\n")
    assert lines["loops cpu 1"].endswith("baseline")
    assert lines["torch cpu 3"].endswith("fastest")
    assert "NO: 2 elements, most at [1, 0]" in lines["torch cuda:0 2"]
    assert "infinite" in lines["torch cuda:0 2"]
    assert "skipped python on cpu: would take hours" in text
    assert text.count("compiled") == 1
    assert "compiled torch on cpu before its runs: 2.00 ms" in text
    assert "A processor, 2 threads, python 3.11, torch 2" in text


def test_race_table_of_one() -> None:
    """A single strategy is fastest and baseline; without a baseline no speed-up is shown."""
    alone = replace(QUICK, times_ns=(1_000,))
    text = table_text(race_table(report(alone, baseline="torch"), "a race", CompareOptions()))
    assert "fastest, baseline" in text
    assert "×" not in table_text(
        race_table(report(QUICK, baseline=None), "a race", CompareOptions())
    )


def test_plan_table_without_a_strategy() -> None:
    """A plan without a strategy has no line of memory."""
    planner = Planner(host_devices("cpu"), CostModel(), Limits(2**24, 2**30, 16, 30_000))
    specs = (Spec((2, 2), torch.float32),) * 2
    found = planner.explain(CallSpec(REGISTRY["matmul"], specs, {}))
    text = table_text(plan_table(replace(found, plan=None, reason="none", estimates=()), "a plan"))
    assert "accepted  NO: none" in text
    assert "memory" not in text
    assert "us (prior)" in table_text(plan_table(found, "a plan"))


def test_sweep_table() -> None:
    """Each size marks its fastest; each strategy has its last size and the reason."""
    lines = table_text(sweep_table(sweep(), "a sweep")).splitlines()
    assert any(" ".join(line.split()) == "4 - > 1.20 us ! 105 ns -" for line in lines)
    assert any("loops on cpu" in line and "at 4: too slow" in line for line in lines)
    assert any("dot on cpu" in line and "at 2: does not take int8" in line for line in lines)
    assert any("torch on cpu" in line and "it does not stop" in line for line in lines)
    assert lines[-1] == host_line(report())
    ended = Sweep((), "at 2: nothing runs")
    assert table_text(sweep_table(ended, "a sweep")).endswith("the sweep ended at 2: nothing runs")
