"""Tests of tables of results that are rare: wrong, infinite, skipped, on two devices."""

from dataclasses import replace

import pytest
import torch
from rich.table import Table

from service.cli.output import table_text
from service.cli.tables import disagreement, plan_table, race_table, sweep_table
from service.compare import CompareOptions
from service.compare.agreement import Agreement
from service.compare.rates import Rates
from service.compare.report import host_line, quickest, row_labels, strategy_labels
from service.compare.sweep import Point, Sweep
from service.core.arithmetic import Arithmetic
from service.core.call import Spec
from service.core.devices import host_devices
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.planning.plan import CallSpec
from service.planning.planner import Planner
from tests.unit.cli.reports import (
    ABSENT,
    ABSENT_LINES,
    DEAR,
    GPU,
    NEAR,
    NUMBER,
    QUICK,
    SLOW,
    WRONG,
    report,
    sweep,
)


def test_the_fastest_agrees() -> None:
    """A result that disagrees is never the fastest."""
    assert quickest(report(SLOW, QUICK, GPU)) is QUICK
    assert quickest(report(GPU, DEAR)) is None


def test_names() -> None:
    """The name of a row has its device if there are several devices."""
    assert strategy_labels([SLOW, QUICK]) == ["loops", "torch"]
    assert strategy_labels([QUICK, GPU]) == ["torch on cpu", "torch on cuda:0"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (GPU.agreement, "2 elements, most at [1, 0]"),
        (replace(WRONG, worst_result="z"), "2 elements, most at [1, 0] of z"),
        (NUMBER.agreement, "1 element"),
    ],
)
def test_disagreement(found: Agreement, text: str) -> None:
    """Disagreeing elements are counted, with the position of the worst unless it is a number.

    Of a chain the result is named that it is in.
    """
    assert disagreement(found) == text


def test_rows_of_several_precisions() -> None:
    """A row says which precision it has, if the request asked for one."""
    tf32 = replace(GPU, arithmetic=Arithmetic("tf32"))
    rows = [replace(GPU, arithmetic=Arithmetic("ieee")), tf32, replace(GPU, arithmetic=None)]
    labels = ["torch in ieee", "torch in tf32", "torch"]
    assert row_labels(rows) == labels
    text = table_text(race_table(report(SLOW, tf32), "", CompareOptions()))
    assert "torch on cuda:0 in tf32" in text
    twice = report(rows[0], replace(tf32, times_ns=(400,)))
    found = Sweep((Point(2, twice),), None)
    assert [[row.median_ns for _, row in line.rows] for line in found.lines] == [[105], [400]]
    lines = table_text(sweep_table(found, "a sweep")).splitlines()
    assert lines[1].split("  ")[-2:] == [" torch in ieee", " torch in tf32"]
    assert lines[3].split() == ["2", "!", "105", "ns", "!", "400", "ns"]


def test_race_table() -> None:
    """Words mark the fastest, the baseline and what disagrees; reasons are below the table."""
    compiled = replace(QUICK, compile_ns=2_000_000)
    text = table_text(race_table(report(SLOW, compiled, GPU, DEAR), "a race", CompareOptions()))
    assert max(map(len, text.splitlines())) <= 100
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "a race"
    assert "loops on cpu 9.00 us - baseline 2.1e-05 0.0123 1 in 1,300,000 1.00e-06 2.5 yes" in lines
    assert "torch on cpu 1.20 us 200 ns 7.50× 118 2.00 87 % 0 0 fastest" in lines
    assert "torch on cuda:0 105 ns 5.00 ns 85.7× - - - infinite 0 NO" in lines
    assert "torch on cuda:0 disagrees: 2 elements, most at [1, 0]" in lines
    assert "skipped python on cpu: would take hours" in lines
    assert "compiled torch on cpu before its runs: 2.00 ms" in lines
    assert text.count("compiled") == 1
    assert (
        "peak of cpu: 135 GFLOP/s by a product in float32, 11.4 GB/s by a copy of this size"
        in lines
    )
    assert not any("peak of cuda:0" in line for line in lines), "it has not been measured"
    assert "A processor, 2 threads, python 3.11, torch 2" in lines


def test_copies_to_a_gpu() -> None:
    """They have columns where a row has them: a GPU is quick, and what is copied takes its time."""
    ran = replace(GPU, upload_ns=2_000_000, download_ns=30_000)
    text = table_text(race_table(report(SLOW, ran, DEAR), "a race", CompareOptions()))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "median iqr speed-up upload download GFLOP/s" in lines[1]
    assert "torch on cuda:0 105 ns 5.00 ns 85.7× 2.00 ms 30.0 us - - - infinite 0 NO" in lines
    assert any(line.startswith("loops on cpu 9.00 us - baseline - - 2.1e-05") for line in lines)
    assert "python on cpu - - - - - - - - - - skipped" in lines
    assert "upload" not in table_text(race_table(report(GPU), "a race", CompareOptions()))


def test_a_race_fits_into_a_terminal() -> None:
    """Its table is up to 100 columns wide on one device, as long as the longest names are."""
    slow = replace(SLOW, strategy="elementwise", times_ns=(9_990_000, 9_880_000))
    quick = replace(QUICK, times_ns=(11, 9), rates=Rates(0.00123, 0.00123, 1 / 9_900_000))
    rows = (slow, quick, replace(NUMBER, agreement=NEAR, rates=Rates(1, 1, 1.2)))
    shown = race_table(report(*rows, baseline="elementwise"), "a race", CompareOptions())
    (table,) = (part for part in shown.renderables if isinstance(part, Table))
    text = table_text(table)
    assert "1 in 9,900,000" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "over 100 % of peak: the peak is measured" in table_text(shown)


def test_race_table_of_one() -> None:
    """A single strategy is fastest and baseline; without a baseline no speed-up is shown."""
    alone = replace(QUICK, times_ns=(1_000,))
    text = table_text(race_table(report(alone, baseline="torch"), "a race", CompareOptions()))
    assert "  baseline  " in text
    assert text.count("fastest") == 1
    assert "×" not in table_text(
        race_table(report(QUICK, baseline=None), "a race", CompareOptions())
    )


def test_strategies_that_this_host_lacks() -> None:
    """They are named below the table, by what they need, and have no rows in it."""
    text = table_text(race_table(report(SLOW, *ABSENT, QUICK), "a race", CompareOptions()))
    lines = text.splitlines()
    assert [line for line in lines if "cuda" in line or "numba" in line] == ABSENT_LINES
    assert any(line.startswith("loops  ") for line in lines), "one device has rows"
    found = Sweep((Point(2, report(SLOW, *ABSENT, QUICK)),), None)
    lines = table_text(sweep_table(found, "a sweep")).splitlines()
    assert [line for line in lines if "cuda" in line or "numba" in line] == ABSENT_LINES
    assert lines[1].split() == ["n", "loops", "torch"]


def test_plan_table_without_a_strategy() -> None:
    """A plan without a strategy has no line of memory."""
    planner = Planner(host_devices("cpu"), CostModel(), Limits(2**24, 2**30, 16, 30_000))
    specs = (Spec((2, 2), torch.float32),) * 2
    call = CallSpec(REGISTRY["matmul"], specs, {})
    found = planner.explain(call)
    none = replace(found, plan=None, reason="none", estimates=())
    text = table_text(plan_table(call, none, "a plan"))
    assert "accepted  NO: none" in text
    assert "memory" not in text
    assert "us (prior)" in table_text(plan_table(call, found, "a plan"))


def test_sweep_table() -> None:
    """Each size marks its fastest; each strategy has its last size and the reason."""
    lines = table_text(sweep_table(sweep(), "a sweep")).splitlines()
    ends = [" ".join(line.split()) for line in lines]
    assert "torch on cpu 4 1.20 us 118 2.00 87 % it does not stop" in ends
    assert any(" ".join(line.split()) == "4 - > 1.20 us ! 105 ns -" for line in lines)
    assert any("loops on cpu" in line and "at 4: too slow" in line for line in lines)
    assert any("dot on cpu" in line and "at 2: does not take int8" in line for line in lines)
    assert any("torch on cpu" in line and "it does not stop" in line for line in lines)
    assert lines[-1] == host_line(report().host)
    ended = Sweep((), "at 2: nothing runs")
    assert table_text(sweep_table(ended, "a sweep")).endswith("the sweep ended at 2: nothing runs")
