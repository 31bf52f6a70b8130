"""Tests of tables as Markdown and of reports as CSV."""

import csv
import json
from io import StringIO
from pathlib import Path

from rich.console import Group
from rich.table import Table

from service.cli.exports import csv_text, markdown_text
from service.cli.tables import race_table
from service.compare import CompareOptions
from service.http.schemas import CompareRow
from service.http.serializers import report_answer
from tests.unit.cli.commands import SMALL, Output, run
from tests.unit.cli.reports import DEAR, GPU, QUICK, SLOW, UNABLE, report


def test_csv_is_the_json_report() -> None:
    """A row has the values of its fields in JSON; those that it lacks are empty."""
    race = report(SLOW, QUICK, GPU, DEAR, UNABLE)
    text = csv_text([race, race])
    head, *lines = csv.reader(StringIO(text, newline=""))
    assert head == ["op", "shapes", "dtype", *CompareRow.model_fields]
    rows = report_answer(race).model_dump(exclude_unset=True)["rows"]
    assert len(lines) == 2 * len(rows)
    for line, row in zip(lines, [*rows, *rows], strict=True):
        found = dict(zip(head, line, strict=True))
        assert (found["op"], found["shapes"], found["dtype"]) == ("matmul", "2x2 2x2", "float32")
        for name in CompareRow.model_fields:
            value = row.get(name)
            if isinstance(value, str):
                assert found[name] == value
            else:
                assert json.loads(found[name] or "null") == value


def test_markdown_is_the_table() -> None:
    """The cells of the terminal's table, below a heading; a bar in a cell is escaped."""
    table = race_table(report(SLOW, QUICK, DEAR), "a race", CompareOptions())
    lines = markdown_text(table).splitlines()
    assert lines[0] == "## a race"
    assert lines[2].startswith("| strategy | median | iqr |")
    assert lines[3].startswith("| --- | --: | --: |")
    cells = "loops | 9.00 us | - | baseline | 2.1e-05 | 0.0123 | 1 in 1,300,000 | 1.00e-06"
    assert lines[4] == f"| {cells} | 2.5 | yes |"
    assert "skipped python: would take hours" in lines
    bars = Table("a|b")
    bars.add_row("c|d")
    assert markdown_text(Group("x", bars)).splitlines()[2:] == ["| a\\|b |", "| --- |", "| c\\|d |"]


def test_files(capsys: Output, tmp_path: Path) -> None:
    """A race and a sweep are written as both, beside the table or the JSON."""
    table, rows = tmp_path / "race.md", tmp_path / "race.csv"
    report = json.loads(run(capsys, f"compare matmul {SMALL} --json --csv {rows} --md {table}"))
    with rows.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["strategy"] for row in found] == [row["strategy"] for row in report["rows"]]
    rates = [row.get("gflops") for row in report["rows"]]
    # As numbers: orjson and Python spell small ones differently, 0.00009 and 9e-05.
    assert [float(row["gflops"]) if row["gflops"] else None for row in found] == rates
    assert any(rates)
    assert table.read_text(encoding="utf-8").startswith("## matmul of 2×3 and 3×4, float32\n\n| ")
    line = "compare matmul --sweep 2:4 --strategies loops torch --budget-ms 1"
    run(capsys, f"{line} --csv {rows} --md {table}")
    with rows.open(encoding="utf-8", newline="") as file:
        shapes = [row["shapes"] for row in csv.DictReader(file)]
    assert shapes == ["2x2 2x2", "2x2 2x2", "4x4 4x4", "4x4 4x4"]
    assert table.read_text(encoding="utf-8").count("\n| --- |") == 2
