"""Chart of a race and of a kept report: two marks for each strategy, on one axis of time."""

from typing import Final

import altair as alt

from service.cli.against import KeptReport
from service.cli.charts.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    TIME_LABEL,
    Chart,
    Record,
    axis,
    data,
    decades,
    finish,
    log,
)
from service.compare import Report
from service.compare.report import host_line, row_labels
from service.core.units import ratio_text, time_text

ROW_PX: Final = 36
WIDTH_PX: Final = 520


def overlay_chart(report: Report, kept: KeptReport, title: str) -> Chart:
    """Return the medians of both, joined for each strategy, with the ratio on the right."""
    now, then = "now", f"then: {kept.name}"
    marks: list[Record] = []
    pairs: list[Record] = []
    rows = kept.comparable(report)
    names = row_labels(rows)
    for name, row in zip(names, rows, strict=True):
        medians = [(then, kept.median_ns(row)), (now, row.median_ns if row.times_ns else None)]
        ran = [(run, median) for run, median in medians if median is not None]
        for run, median in ran:
            marks.append({"label": name, "run": run, "median": median, "text": time_text(median)})
        ratio = kept.ratio(row)
        pair = {} if ratio is None else {"low": ran[0][1], "high": ran[1][1]}
        text = "" if ratio is None else f"{ratio_text(ratio)} as fast"
        pairs.append({"label": name, "ratio": text, **pair})
    times = decades(mark["median"] for mark in marks)
    y = alt.Y(
        "label:N",
        sort=names,
        scale=alt.Scale(domain=names),
        axis=alt.Axis(title=None, labelFontSize=12, labelPadding=9, ticks=False),
    )
    x = alt.X("median:Q", scale=log(times), axis=axis("median time of a run", times, TIME_LABEL))
    legend = alt.Legend(title=None, orient="bottom", labelFontSize=12, labelLimit=WIDTH_PX)
    runs = [now, then]
    joined = alt.Chart(data(pairs)).encode(y=y)
    dots = alt.Chart(data(marks)).mark_point(filled=True, size=110, opacity=1)
    layers = [
        joined.transform_filter("isValid(datum.low)")
        .mark_rule(color=GREY, strokeWidth=2)
        .encode(x=alt.X("low:Q", scale=log(times)), x2="high:Q"),
        dots.encode(
            x=x,
            y=y,
            color=alt.Color(
                "run:N", legend=legend, scale=alt.Scale(domain=runs, range=[BLUE, ORANGE])
            ),
            shape=alt.Shape(
                "run:N", legend=legend, scale=alt.Scale(domain=runs, range=["circle", "diamond"])
            ),
            tooltip=[alt.Tooltip(f"{field}:N") for field in ("label", "run", "text")],
        ),
        joined.mark_text(align="left", fontSize=12, color=INK).encode(
            x=alt.value(WIDTH_PX + 14), text="ratio:N"
        ),
    ]
    chart = alt.LayerChart(layer=layers).properties(width=WIDTH_PX, height=ROW_PX * len(names))
    notes = [f"now: {host_line(report.host)}", f"{then}: {host_line(kept.host)}"]
    return finish(chart, title, notes)
