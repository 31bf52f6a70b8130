"""Chart of a sweep: time against size, a line for each strategy."""

from collections.abc import Sequence
from itertools import cycle
from math import inf, log10
from typing import Final

import altair as alt

from service.cli.charts.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SKY,
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
    tooltip,
)
from service.compare.report import host_line, row_labels, unavailable_lines
from service.compare.sweep import Sweep
from service.core.units import time_text

COLOURS: Final = (VERMILION, ORANGE, SKY, GREEN, BLUE, PURPLE, BLACK, GREY)
SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
WIDTH_PX: Final = 620
HEIGHT_PX: Final = 440
LABEL_PX: Final = 15


def sweep_chart(sweep: Sweep, title: str, limit_ns: int) -> Chart:
    """Return time against size, a line for each strategy; a ring marks the size where it stops."""
    first, last = sweep.sizes[0], sweep.sizes[-1]
    named = dict(zip(row_labels(sweep.lines), sweep.lines, strict=True))
    lines = {name: line for name, line in named.items() if line.rows}
    names = list(lines)
    points: list[Record] = [
        {"line": name, "n": size, "median": row.median_ns, **quartiles(row), **rates(row)}
        for name, line in lines.items()
        for size, row in line.rows
    ]
    times = decades([limit_ns, *(p[name] for p in points for name in ("low", "median", "high"))])
    ends: list[Record] = [
        {
            "line": name,
            "n": line.rows[-1][0],
            "median": line.rows[-1][1].median_ns,
            "stops": line.last != last,
        }
        for name, line in lines.items()
    ]
    _place_labels(ends, times)
    for end in ends:
        reached = f"stops at {end['n']}" if end["stops"] else time_text(end["median"])
        end["text"] = f"{end['line']}: {reached}"
    colour = alt.Color(
        "line:N", legend=None, scale=alt.Scale(domain=names, range=_repeat(COLOURS, len(names)))
    )
    shape = alt.Shape(
        "line:N", legend=None, scale=alt.Scale(domain=names, range=_repeat(SHAPES, len(names)))
    )
    domain = [first, last] if last > first else [first / 2, last * 2]
    x = alt.X(
        "n:Q",
        scale=alt.Scale(type="log", base=2, domain=domain, nice=False),
        axis=alt.Axis(
            title="n", values=list(sweep.sizes), format=",d", labelFlush=False, gridColor=GRID
        ),
    )
    y = alt.Y("median:Q", scale=log(times), axis=axis("median time of a run", times, TIME_LABEL))
    drawn = alt.Chart(data(points)).encode(x=x, color=colour)
    ended = alt.Chart(data(ends)).encode(color=colour)
    limit = alt.Chart(
        data([{"median": limit_ns, "text": f"limit of a run: {time_text(limit_ns)}"}])
    )
    edge = alt.value(WIDTH_PX + 10)
    layers = [
        limit.mark_rule(strokeDash=[6, 4], color=GREY).encode(y=y),
        limit.mark_text(align="left", dx=6, dy=-7, color=GREY).encode(
            x=alt.value(0), y=y, text="text:N"
        ),
        ended.mark_rule(strokeDash=[2, 3], opacity=0.7).encode(
            x=x, x2=edge, y=y, y2=alt.Y2("label:Q")
        ),
        drawn.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        drawn.mark_line(strokeWidth=2).encode(y=y),
        drawn.mark_point(filled=True, size=46, opacity=1).encode(
            y=y, shape=shape, tooltip=[alt.Tooltip("n:Q"), *tooltip("line")]
        ),
        ended.transform_filter("datum.stops")
        .mark_point(size=230, strokeWidth=2, opacity=1, shape="circle")
        .encode(x=x, y=y),
        ended.mark_text(align="left", dx=4, color=INK, fontSize=12).encode(
            x=edge, y=alt.Y("label:Q"), text="text:N", color=alt.value(INK)
        ),
    ]
    chart = alt.LayerChart(layer=layers).properties(width=WIDTH_PX, height=HEIGHT_PX)
    note = "a ring marks the last size of a strategy that stops; bars: middle half of the runs"
    report = sweep.points[-1].report
    return finish(chart, title, [note, host_line(report.host), *unavailable_lines(report)])


def _place_labels(ends: Sequence[Record], times: tuple[float, float]) -> None:
    """Add `label` to each end: the time at which its name is drawn without overlapping others."""
    low, high = (log10(end) for end in times)
    pixels = (high - low) / HEIGHT_PX
    previous = -inf
    for end in sorted(ends, key=lambda end: end["median"]):
        previous = max(log10(end["median"]), previous + LABEL_PX * pixels)
        end["label"] = 10**previous


def _repeat(values: Sequence[str], count: int) -> list[str]:
    return [value for value, _ in zip(cycle(values), range(count), strict=False)]
