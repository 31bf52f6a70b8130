"""Chart of a race: a line for each strategy, with its time, its spread and its error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10
from typing import Final

import altair as alt

from service.cli.charts.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    TIME_LABEL,
    VERMILION,
    Chart,
    Record,
    axis,
    data,
    decades,
    finish,
    log,
    quartiles,
    rates,
    small,
    tooltip,
)
from service.compare import Report, Row
from service.compare.report import (
    basis_line,
    host_line,
    quickest,
    row_labels,
    unavailable_lines,
)
from service.core.units import count_text, error_text, ratio_text, time_text

STATES: Final = {
    "fastest": (GREEN, "diamond"),
    "agrees": (BLUE, "circle"),
    "disagrees": (VERMILION, "cross"),
}
FASTEST, AGREES, DISAGREES = STATES
ROW_PX: Final = 30
COLUMN_PX: Final = 66


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Panel of the chart: the field on its axis, and the columns of text beside it.

    `columns` maps fields of the records to headings.
    """

    title: str
    width_px: int
    field: str
    spread: bool
    domain: tuple[float, float]
    of: str
    ticks: str
    columns: Mapping[str, str]


def race_chart(report: Report, title: str) -> Chart:
    """Return the times and the errors of a race side by side, a line for each strategy."""
    fastest = quickest(report)
    rows = report.available_rows
    records = [
        {"label": name, **_record(report, row, fastest)}
        for name, row in zip(row_labels(rows), rows, strict=True)
    ]
    ran = [record for record in records if record["state"] is not None]
    times = decades(record[name] for record in ran for name in ("low", "median", "high"))
    errors = decades(record["error"] for record in ran if 0 < record["error"] < inf)
    # A logarithmic axis has no zero and no infinity: these are drawn a decade beyond the rest.
    low, high = (round(log10(end)) for end in errors)
    edges = {0.0: 10.0 ** (low - 1), inf: 10.0 ** (high + 1)}
    found = [edge for edge in edges if any(record["error"] == edge for record in ran)]
    for record in ran:
        record["error"] = edges.get(record["error"], record["error"])
    words = "".join(f"datum.value == {edges[edge]!r} ? '{error_text(edge)}' : " for edge in found)
    panels = (
        Panel(
            title="Time; bars: middle half of the runs",
            width_px=400,
            field="median",
            spread=True,
            domain=times,
            of="time of a run",
            ticks=TIME_LABEL,
            columns={
                "time_text": "median",
                "speedup_text": "" if report.baseline is None else f"over {report.baseline}",
            },
        ),
        Panel(
            title="Largest error, in the unit of the result",
            width_px=240,
            field="error",
            spread=False,
            domain=decades([*errors, *(edges[edge] for edge in found)]),
            of="absolute error",
            ticks=f"{words}format(datum.value, '.0e')",
            columns={"error_text": ""},
        ),
    )
    drawn = alt.hconcat(*(_draw(panel, records) for panel in panels), spacing=24)
    notes = [host_line(report.host), basis_line(report), *unavailable_lines(report)]
    return finish(drawn, title, notes)


def _record(report: Report, row: Row, fastest: Row | None) -> Record:
    """Return the fields of a strategy that are drawn."""
    if row.agreement is None:
        about = "" if row.estimated_ns is None else f": about {time_text(row.estimated_ns)}"
        texts = {"time_text": f"skipped{about}", "speedup_text": "", "error_text": ""}
        return {"state": None, **texts}
    speedup = report.speedup(row)
    state = AGREES if row.agreement.agrees else DISAGREES
    count = row.agreement.disagreeing
    wrong = "" if row.agreement.agrees else f", {count_text(count)} disagree{'s' * (count == 1)}"
    return {
        "state": FASTEST if row is fastest else state,
        "median": row.median_ns,
        **quartiles(row),
        **rates(row),
        "time_text": time_text(row.median_ns),
        "speedup_text": "" if speedup is None else ratio_text(speedup),
        "error": row.agreement.max_abs_error,
        "error_text": error_text(row.agreement.max_abs_error) + wrong,
    }


def _draw(panel: Panel, records: Sequence[Record]) -> alt.LayerChart:
    """Return a row of marks for each record, with columns of text on the right."""
    order = [record["label"] for record in records]
    rows = alt.Axis(title=None, labelFontSize=12, labelPadding=9, ticks=False)
    base = alt.Chart(data(records)).encode(y=alt.Y("label:N", sort=order, axis=rows))
    ran = base.transform_filter("datum.state != null")
    scale = log(panel.domain)
    x = alt.X(f"{panel.field}:Q", scale=scale, axis=axis(panel.of, panel.domain, panel.ticks))
    colour, shape = _states(records)
    layers = [ran.mark_rule(color=FAINT).encode(x=x, x2=alt.value(0))]
    if panel.spread:
        bars = ran.mark_rule(strokeWidth=5, opacity=0.45, strokeCap="round")
        ends = {"x": alt.X("low:Q", scale=scale), "x2": alt.X2("high:Q")}
        layers.append(bars.encode(**ends, color=colour))
    dots = ran.mark_point(filled=True, size=110, opacity=1)
    layers.append(dots.encode(x=x, color=colour, shape=shape, tooltip=tooltip("label")))
    ink = alt.condition("datum.state == null", alt.value(GREY), alt.value(INK))
    for number, (field, head) in enumerate(panel.columns.items()):
        left = alt.value(panel.width_px + 14 + COLUMN_PX * number)
        figures = base.mark_text(align="left", fontSize=12)
        layers.append(figures.encode(x=left, text=f"{field}:N", color=ink))
        heads = alt.Chart(data([{"head": head}])).mark_text(align="left", fontSize=11, color=GREY)
        layers.append(heads.encode(x=left, y=alt.value(-8), text="head:N"))
    chart = alt.LayerChart(layer=layers)
    return chart.properties(
        width=panel.width_px, height=ROW_PX * len(order), title=small(panel.title)
    )


def _states(records: Sequence[Record]) -> tuple[alt.Color, alt.Shape]:
    """Return colour and shape of the states in use, with one legend."""
    used = [state for state in STATES if any(record["state"] == state for record in records)]
    legend = None
    if used:  # a legend without entries has no size, and then the picture has none
        legend = alt.Legend(
            title=None, orient="bottom", direction="horizontal", labelFontSize=12, symbolOpacity=1
        )
    colours = alt.Scale(domain=used, range=[STATES[state][0] for state in used])
    shapes = alt.Scale(domain=used, range=[STATES[state][1] for state in used])
    return (
        alt.Color("state:N", legend=legend, scale=colours),
        alt.Shape("state:N", legend=legend, scale=shapes),
    )
