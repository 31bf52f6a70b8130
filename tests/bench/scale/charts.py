"""Charts of the measurements, in the colours and axes of the service's own charts."""

from pathlib import Path
from typing import Final

import altair as alt

from service.cli.charts import Chart, write_png
from service.cli.charts.style import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    SKY,
    TIME_LABEL,
    VERMILION,
    Record,
    axis,
    data,
    decades,
    finish,
    log,
    small,
)
from tests.bench.measurements import Figure
from tests.bench.scale.report import Products, Requests
from tests.bench.scale.tables import by_workload

PANEL_PX: Final = 200
PARTS: Final = {"server": BLUE, "proxy": ORANGE, "client": GREY}
WAYS: Final = {"dask, two workers": VERMILION, "torch here": GREEN, "torch, product alone": SKY}
NS_PER_MS: Final = 1e6


def draw_requests(report: Requests, folder: Path) -> None:
    """Write the pictures of the first part."""
    folder.mkdir(parents=True, exist_ok=True)
    write_png(rate_chart(report), folder / "scale-rate.png")
    write_png(cost_chart(report), folder / "scale-cost.png")
    write_png(growth_chart(report), folder / "scale-growth.png")


def draw_products(report: Products, folder: Path) -> None:
    """Write the picture of the second part."""
    folder.mkdir(parents=True, exist_ok=True)
    write_png(product_chart(report), folder / "scale-products.png")


def _layout_axis(report: Requests) -> alt.X:
    names = list(dict.fromkeys(str(each.layout) for each in report.loaded))
    return alt.X("layout:N", sort=names, axis=alt.Axis(title=None, labelAngle=-30))


def rate_chart(report: Requests) -> Chart:
    """Requests a second by instances: a panel for each workload."""
    panels = []
    for name in report.exchanges:
        records: list[Record] = []
        for cell in report.loaded:
            if cell.workload == name:
                figure = cell.figure(lambda each: each.rate)
                records += [
                    {"layout": str(cell.layout), "rate": each, "median": figure.median}
                    for each in figure.values
                ]
        y = alt.Axis(title="requests/s", gridColor=GRID, format=",.0f")
        scale = alt.Scale(domain=[0, 1.1 * max(each["rate"] for each in records)])
        base = alt.Chart(data(records)).encode(x=_layout_axis(report))
        layers = [
            base.mark_tick(thickness=3, width=26, color=BLUE).encode(
                y=alt.Y("median:Q", axis=y, scale=scale)
            ),
            base.mark_point(filled=True, size=18, opacity=0.6, color=INK).encode(
                y=alt.Y("rate:Q", axis=y, scale=scale)
            ),
        ]
        panels.append(
            alt.LayerChart(layer=layers).properties(
                title=small(name), width=PANEL_PX, height=PANEL_PX
            )
        )
    note = f"{report.cores} cores for instances, proxy and client; bar: median, dots: rounds"
    title = "Requests a second by instances, 16 in flight"
    return finish(alt.HConcatChart(hconcat=panels), title, [note, report.machine])


def growth_chart(report: Requests) -> Chart:
    """Rate of several instances as a multiple of one, where they run in time slices."""
    records: list[Record] = []
    for name, cells in by_workload(report.time_sliced).items():
        one = cells[0].figure(lambda each: each.rate).median
        for cell in cells:
            times = [each.rate / one for each in cell.rounds]
            records.append(
                {
                    "request": name,
                    "instances": cell.layout.instances,
                    "median": cell.figure(lambda each: each.rate).median / one,
                    "low": min(times),
                    "high": max(times),
                }
            )
    counts = sorted({each["instances"] for each in records})
    x = alt.X(
        "instances:Q",
        axis=alt.Axis(title="instances", values=counts, format="d", gridColor=GRID),
        scale=alt.Scale(domain=[0, counts[-1]]),
    )
    y = alt.Y("median:Q", axis=alt.Axis(title="times the rate of one", gridColor=GRID))
    names = list(report.exchanges)
    colour = alt.Color(
        "request:N", title=None, scale=alt.Scale(domain=names, range=[BLUE, VERMILION, GREEN])
    )
    base = alt.Chart(data(records)).encode(x=x, color=colour)
    ideal = alt.Chart(data([{"instances": n, "median": n} for n in (0, counts[-1])]))
    layers = [
        ideal.mark_line(strokeDash=[6, 4], color=GREY).encode(x=x, y=y),
        base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        base.mark_line(strokeWidth=2).encode(y=y),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            y=y, shape=alt.Shape("request:N", scale=alt.Scale(domain=names))
        ),
    ]
    chart = alt.LayerChart(layer=layers).properties(width=420, height=320)
    note = "each runs a fifth of the time, no two at once; dashed: n instances, n times the rate"
    title = "Instances that do not compete for cores, behind the proxy"
    return finish(chart, title, [note, report.machine])


def cost_chart(report: Requests) -> Chart:
    """Processor time of a request by part: a panel for each workload."""
    panels = []
    colour = alt.Color(
        "part:N",
        title=None,
        scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())),
        legend=alt.Legend(orient="right"),
    )
    for name in report.exchanges:
        records: list[Record] = []
        for cell in report.loaded:
            if cell.workload == name:
                spent = {
                    "server": cell.figure(lambda each: each.server_us),
                    "proxy": cell.figure(lambda each: each.proxy_us),
                    "client": cell.figure(lambda each: each.client_us),
                }
                records += [
                    {"layout": str(cell.layout), "part": part, "order": order, "us": us.median}
                    for order, (part, us) in enumerate(spent.items())
                ]
        bars = (
            alt.Chart(data(records))
            .mark_bar(width=26)
            .encode(
                x=_layout_axis(report),
                y=alt.Y("us:Q", axis=alt.Axis(title="us of a core", gridColor=GRID)),
                color=colour,
                order="order:Q",
            )
        )
        panels.append(bars.properties(title=small(name), width=PANEL_PX, height=PANEL_PX))
    note = "medians of rounds, 16 in flight; a host for each part would have to give it this much"
    title = "Processor time of one request"
    return finish(alt.HConcatChart(hconcat=panels), title, [note, report.machine])


def product_chart(report: Products) -> Chart:
    """Time against size, both ways; the local one ends where this host refuses."""
    records: list[Record] = []
    for size in report.sizes:
        for way, times in zip(WAYS, (size.dask_ms, size.torch_ms, size.alone_ms), strict=True):
            if times:
                records.append(
                    {
                        "way": way,
                        "n": size.n,
                        "median": Figure(tuple(times)).median * NS_PER_MS,
                        "low": min(times) * NS_PER_MS,
                        "high": max(times) * NS_PER_MS,
                    }
                )
    domain = decades([each[name] for each in records for name in ("low", "high")])
    sizes = sorted({each["n"] for each in records})
    x = alt.X(
        "n:Q",
        scale=alt.Scale(type="log", base=2, domain=[sizes[0], sizes[-1]], nice=False),
        axis=alt.Axis(title="n", values=sizes, format=",d", labelFlush=False, gridColor=GRID),
    )
    y = alt.Y("median:Q", scale=log(domain), axis=axis("median time", domain, TIME_LABEL))
    ways = list(WAYS)
    colour = alt.Color("way:N", title=None, scale=alt.Scale(domain=ways, range=list(WAYS.values())))
    shape = alt.Shape("way:N", title=None, scale=alt.Scale(domain=ways))
    base = alt.Chart(data(records)).encode(x=x, color=colour)
    layers = [
        base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        base.mark_line(strokeWidth=2).encode(y=y),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=y, shape=shape),
    ]
    chart = alt.LayerChart(layer=layers).properties(width=560, height=380)
    note = "bars: fastest and slowest round; operands and product in files"
    title = "n x n times n x n in float64, by a cluster of two workers and here"
    return finish(chart, title, [note, report.machine])
