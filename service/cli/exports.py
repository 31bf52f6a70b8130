"""Tables and reports as text for other programs: Markdown and CSV."""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Any, Final

import orjson
from rich.console import Group, RenderableType
from rich.table import Table

from service.compare import Report
from service.http.schemas import CompareRow
from service.http.serializers import report_answer

# What tells the rows of one race from those of another.
CALL: Final = ("op", "shapes", "dtype")


def csv_text(reports: Iterable[Report]) -> str:
    """Return a row for each strategy of each race, with the fields of the JSON report.

    Numbers and words are those of JSON; a field that a row lacks is empty.
    """
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow([*CALL, *CompareRow.model_fields])
    for report in reports:
        answer = report_answer(report)
        shapes = " ".join("x".join(map(str, shape)) or "()" for shape in answer.shapes)
        for row in answer.rows:
            values = row.model_dump(exclude_unset=True)
            cells = [_cell(values.get(name)) for name in CompareRow.model_fields]
            writer.writerow([answer.op, shapes, answer.dtype, *cells])
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def markdown_text(table: Group) -> str:
    """Return what a terminal would show as Markdown: a heading, tables and paragraphs."""
    title, *parts = table.renderables
    return "\n\n".join([f"## {title}", *filter(None, map(_block, parts))]) + "\n"


def _block(part: RenderableType) -> str:
    if not isinstance(part, Table):
        return str(part)
    columns = part.columns
    sides = ["--:" if column.justify == "right" else "---" for column in columns]
    rows = zip(*(column.cells for column in columns), strict=True)
    lines: list[Iterable[object]] = [[column.header for column in columns], sides, *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )
