"""Tests of `python -m service compare --against`: a race beside a kept report."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.cli.against import KeptReport, read_report, read_sweep
from service.cli.charts import overlay_chart
from service.cli.output import table_text
from service.cli.report_page import sweep_answer
from service.cli.tables import overlay_table, race_table
from service.compare import CompareOptions
from service.compare.sweep import Point, Sweep
from service.core.arithmetic import Arithmetic
from service.http.serializers import report_answer
from tests.unit.cli.commands import SMALL, Output, refused, run
from tests.unit.cli.reports import ABSENT, DEAR, GPU, QUICK, SLOW, UNABLE, report
from tests.unit.cli.test_charts import drawn_texts
from tests.unit.cli.test_report_page import data_of

NEW_FIELDS = ("gflops", "gb_per_s", "peak_share")


def kept_file(folder: Path, **changes: Any) -> Path:
    """Write the report of a product of 2 x 2 by a slower host, as an older version wrote it."""
    answer = report_answer(report(SLOW, QUICK, UNABLE)).model_dump(exclude_unset=True)
    del answer["host"]["peaks"], answer["params"]
    for row in answer["rows"]:
        for name in NEW_FIELDS:
            row.pop(name, None)
        if "median_ms" in row:
            row["median_ms"] *= 3
    answer["host"]["cpu"] = "Another\x1b[31m processor"
    path = folder / "report.json"
    path.write_text(json.dumps(answer | changes), encoding="utf-8")
    return path


def test_a_race_beside_an_older_report(tmp_path: Path) -> None:
    """Medians of both, their ratio, and both hosts; what ran only once has no ratio."""
    kept = read_report(str(kept_file(tmp_path)))
    now = report(QUICK, GPU, DEAR, *ABSENT)
    table = race_table(now, "a race", CompareOptions())
    lines = [
        " ".join(line.split()) for line in table_text(overlay_table(now, kept, table)).splitlines()
    ]
    assert "torch on cpu 1.20 us 3.60 us 3.00× as fast 87 % -" in lines
    assert "torch on cuda:0 105 ns - - - -" in lines
    assert "python on cpu - - - - -" in lines
    assert "now: A processor, 2 threads, python 3.11, torch 2" in lines
    then = "then: Another?[31m processor, 2 threads, python 3.11, torch 2, in report.json"
    assert then in lines
    assert "only then: loops on cpu" in lines
    assert not any(line.startswith(("cuda", "numba")) for line in lines), "this host lacks them"
    lacking = replace(SLOW, times_ns=(), agreement=None, skipped="needs it", is_available=False)
    rows = kept.comparable(report(lacking, QUICK, *ABSENT))
    assert [row.strategy for row in rows] == ["loops", "torch"], "the loops ran then"


def test_no_text_of_a_kept_report_controls_the_terminal(tmp_path: Path) -> None:
    """Names of strategies and devices neither, also in a sweep."""
    answer = json.loads(kept_file(tmp_path).read_bytes())
    for row in answer["rows"]:
        row.update(strategy="evil\x1b]0;owned\x07", device="cpu\x9b31m")
    path = tmp_path / "report.json"
    path.write_text(json.dumps(answer), encoding="utf-8")
    swept = tmp_path / "sweep.json"
    swept.write_text(json.dumps({"points": [{"size": 2, "report": answer}]}), encoding="utf-8")
    for kept in (read_report(str(path)), read_sweep(str(swept))[2]):
        now = report(QUICK)
        text = table_text(overlay_table(now, kept, race_table(now, "a race", CompareOptions())))
        assert "only then: evil?]0;owned? on cpu?31m" in text
        assert all(each.isprintable() for each in text.replace("\n", ""))


def test_rows_of_several_precisions(tmp_path: Path) -> None:
    """A row is laid over one of its own precision, which is ieee where none was asked for."""
    path = kept_file(tmp_path)
    answer = json.loads(path.read_bytes())
    (row,) = (row for row in answer["rows"] if row["strategy"] == "torch")
    answer["rows"] += [row | {"precision": "tf32", "median_ms": 0.007}]
    answer["rows"] += [row | {"precision": "bf16x3"}]
    path.write_text(json.dumps(answer), encoding="utf-8")
    kept = read_report(str(path))
    ieee, tf32 = (replace(QUICK, arithmetic=Arithmetic(each)) for each in ("ieee", "tf32"))
    assert [kept.median_ns(each) for each in (QUICK, ieee, tf32)] == [3_600, 3_600, 7_000]
    assert kept.median_ns(replace(GPU, arithmetic=Arithmetic("tf32"))) is None
    now = report(ieee, tf32)
    text = table_text(overlay_table(now, kept, race_table(now, "a race", CompareOptions())))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "torch in ieee 1.20 us 3.60 us 3.00× as fast 87 % -" in lines
    assert "torch in tf32 1.20 us 7.00 us 5.83× as fast 87 % -" in lines
    assert "only then: loops on cpu, torch on cpu in bf16x3" in lines
    assert {"torch in ieee", "torch in tf32"} <= drawn_texts(overlay_chart(now, kept, "a race"))


def test_rows_that_are_deterministic(tmp_path: Path) -> None:
    """A row that has to give the same bits is laid over such a row alone, and is named so."""
    path = kept_file(tmp_path)
    answer = json.loads(path.read_bytes())
    (row,) = (row for row in answer["rows"] if row["strategy"] == "torch")
    answer["rows"] += [row | {"deterministic": True, "median_ms": 0.007}]
    path.write_text(json.dumps(answer), encoding="utf-8")
    kept = read_report(str(path))
    fixed, free = (replace(QUICK, arithmetic=Arithmetic(None, each)) for each in (True, False))
    assert [kept.median_ns(each) for each in (QUICK, free, fixed)] == [3_600, 3_600, 7_000]
    now = report(fixed)
    text = table_text(overlay_table(now, kept, race_table(now, "a race", CompareOptions())))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "torch 1.20 us 7.00 us 5.83× as fast 87 % -" in lines
    assert "only then: loops on cpu, torch on cpu" in lines
    now = report(QUICK)
    text = table_text(overlay_table(now, kept, race_table(now, "a race", CompareOptions())))
    assert "only then: loops on cpu, torch on cpu (deterministic)" in text


def test_a_chart_of_both(tmp_path: Path) -> None:
    """Each run has its marks, and the legend says which is which."""
    kept = read_report(str(kept_file(tmp_path)))
    texts = drawn_texts(overlay_chart(report(SLOW, QUICK, GPU, DEAR, *ABSENT), kept, "a race"))
    assert {"now", "then: report.json", "3.00× as fast", "27.0 us", "9.00 us"} <= texts
    assert "now: A processor, 2 threads, python 3.11, torch 2" in texts
    assert "numba on cpu" not in texts


def test_a_report_of_this_version(capsys: Output, tmp_path: Path) -> None:
    """What `--json` prints is laid beside the next race, in the table and in all files."""
    kept, page = tmp_path / "kept.json", tmp_path / "both.html"
    kept.write_text(run(capsys, f"compare matmul {SMALL} --json"), encoding="utf-8")
    line = f"compare matmul {SMALL} --against {kept}"
    text = run(capsys, f"{line} --html {page}")
    ran = [row for row in json.loads(kept.read_bytes())["rows"] if "median_ms" in row]
    assert text.count("as fast") == len(ran) > 5
    assert '"name":"kept.json"' in page.read_text(encoding="utf-8")
    assert json.loads(run(capsys, f"{line} --json")).keys() == json.loads(kept.read_bytes()).keys()


SHAPES = "--shapes 2x2 2x2 --strategies torch --budget-ms 1"


@pytest.mark.parametrize(
    ("command", "changes", "message"),
    [
        (
            "norm --shapes 2",
            {},
            "is a report of 'matmul' of 2×2 and 2×2 in 'float32'; this race is of 'norm' of 2",
        ),
        ("matmul --shapes 2x3 3x2", {}, "hint: its call: matmul --shapes 2x2 2x2 --dtype float32"),
        (
            f"matmul {SHAPES} --dtype float64",
            {},
            "in 'float32'; this race is of 'matmul' of 2×2 and 2×2 in 'float64'",
        ),
        (f"matmul {SHAPES}", {"multiply_adds": 9}, "a report of 9 multiply-adds; this race has 8"),
        (
            f"matmul {SHAPES}",
            {"params": {"ord": 1}},
            "'report.json' is a report of ord 1; this race has no fields",
        ),
        (f"matmul {SHAPES}", {"rows": []}, "no strategy ran in the report"),
        (
            f"matmul {SHAPES}",
            {"rows": [{"strategy": "a", "device": "cpu", "estimated_ms": None, "median_ms": -1}]},
            "no strategy ran",
        ),
        (f"matmul {SHAPES}", {"shapes": "2x2"}, "is no report of a race"),
        ("matmul --sweep 2:4", {}, " is no sweep\nhint: "),
    ],
)
def test_reports_that_do_not_compare(
    capsys: Output, tmp_path: Path, command: str, changes: dict[str, Any], message: str
) -> None:
    """Another operation, shape, dtype or equation is an error before the race."""
    assert message in refused(
        capsys, f"compare {command} --against {kept_file(tmp_path, **changes)}"
    )


def kept_sweep(folder: Path) -> Path:
    """Write a sweep of products at 2 and 4, by a slower host; nothing ran at 4."""
    answer = sweep_answer(Sweep((Point(2, report(SLOW)), Point(4, report(UNABLE))), None))
    answer["points"][0]["report"] = json.loads(kept_file(folder).read_bytes())
    path = folder / "sweep.json"
    path.write_text(json.dumps(answer), encoding="utf-8")
    return path


def test_a_sweep_beside_an_older_one(capsys: Output, tmp_path: Path) -> None:
    """Sizes of both have a row of ratios, and their race on the page has the marks of both."""
    kept, page = kept_sweep(tmp_path), tmp_path / "sweep.html"
    line = "compare matmul --sweep 1:2 --strategies loops torch --budget-ms 1"
    lines = run(capsys, f"{line} --against {kept} --html {page}").splitlines()
    (note,) = [text for text in lines if text.startswith("how many times as fast as in ")]
    assert note.startswith("how many times as fast as in sweep.json: Another?[31m processor")
    head, _, ratios = lines[lines.index(note) - 3 : lines.index(note)]
    assert head.split() == ["n", "loops", "torch"]
    assert re.fullmatch(r"2 +\S+× +\S+× *", ratios)
    laid = data_of(page.read_text(encoding="utf-8"))["kept"]
    assert [each and each["name"] for each in laid] == [None, "sweep.json"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("matmul --sweep 4:8", "has none of the sizes of this sweep\nhint: it has 2\n"),
        ("norm --sweep 1:2", "is a report of 'matmul' of 2×2 and 2×2 in 'float32'; this race"),
    ],
)
def test_sweeps_that_do_not_compare(
    capsys: Output, tmp_path: Path, line: str, message: str
) -> None:
    """Other sizes, or another operation, are an error before the first race."""
    assert message in refused(capsys, f"compare {line} --against {kept_sweep(tmp_path)}")


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00", b"[]", b'{"points": []}', b"[" * 100_000])
def test_garbage(capsys: Output, tmp_path: Path, garbage: bytes) -> None:
    """A file of something else is an error, and so is none."""
    path = tmp_path / "x.json"
    path.write_bytes(garbage)
    error = refused(capsys, f"compare matmul {SHAPES} --against {path}")
    assert "is no report of a race\nhint: " in error
    error = refused(capsys, f"compare matmul {SHAPES} --against {tmp_path}")
    assert "cannot be read: Is a directory" in error
    if garbage != b'{"points": []}':
        assert "is no sweep\nhint: " in refused(
            capsys, f"compare matmul --sweep 2:4 --against {path}"
        )


def test_times_that_are_none(tmp_path: Path) -> None:
    """A median that is not positive or beyond any race does not count as one."""
    rows = [
        {"strategy": name, "device": "cpu", "estimated_ms": None, "median_ms": ms}
        for name, ms in (("a", 0), ("b", 1e300), ("c", 2.5))
    ]
    found = read_report(str(kept_file(tmp_path, rows=rows)))
    assert isinstance(found, KeptReport)
    assert list(found.rows) == [("c", "cpu", "ieee", False)]
