"""Style of all charts: colours, logarithmic axes with units, titles.

The colours are those of Okabe and Ito, which stay distinct in colour blindness, without their
yellow, which is too faint on white. Shapes and words repeat what colours show.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Any, Final, TypeAlias

import altair as alt
import numpy as np

from service.compare import Row
from service.core.units import rate_text, share_text, time_text

Chart: TypeAlias = alt.HConcatChart | alt.LayerChart
Record: TypeAlias = dict[str, Any]

VERMILION, ORANGE, SKY, GREEN = "#D55E00", "#E69F00", "#56B4E9", "#009E73"
BLUE, PURPLE, BLACK, GREY = "#0072B2", "#CC79A7", "#000000", "#767676"
INK, FAINT, GRID = "#222222", "#D0D0D0", "#E8E8E8"
MAX_TICKS: Final = 8
# Label of a tick in nanoseconds, with the unit of its power of ten.
TIME_LABEL: Final = (
    "datum.value >= 1e9 ? format(datum.value / 1e9, ',') + ' s' : "
    "datum.value >= 1e6 ? datum.value / 1e6 + ' ms' : "
    "datum.value >= 1e3 ? datum.value / 1e3 + ' us' : datum.value + ' ns'"
)


def data(records: Iterable[Mapping[str, Any]]) -> alt.Data:
    """Return records as the data of a chart."""
    return alt.Data(values=list(records))  # type: ignore[no-untyped-call]  # altair does not annotate it


def quartiles(row: Row) -> dict[str, float]:
    """Return the first and third quartile of the runs, in nanoseconds."""
    low, high = np.percentile(row.times_ns, [25, 75])
    return {"low": float(low), "high": float(high)}


def rates(row: Row) -> dict[str, str]:
    """Return what a tooltip says of a strategy beside its name: time, rates, share of the peak."""
    found = {"time": time_text(row.median_ns)}
    if row.rates is not None:
        found["GFLOP/s"] = rate_text(row.rates.gflops)
        found["GB/s"] = rate_text(row.rates.gb_per_s)
        if row.rates.peak_share is not None:
            found["of peak"] = share_text(row.rates.peak_share)
    return found


def tooltip(name: str) -> list[alt.Tooltip]:
    """Return the fields of a tooltip: `name`, and those of `rates`."""
    return [
        alt.Tooltip(f"{field}:N", title=title)
        for field, title in (
            (name, "strategy"),
            *((field, field) for field in ("time", "GFLOP/s", "GB/s", "of peak")),
        )
    ]


def decades(values: Iterable[float]) -> tuple[float, float]:
    """Return the powers of ten around positive `values`, or one decade if there are none."""
    logs = [log10(max(value, 1e-300)) for value in values] or [0.0]
    low, high = floor(min(logs)), ceil(max(logs))
    return 10.0**low, 10.0 ** max(high, low + 1)


def log(domain: tuple[float, float]) -> alt.Scale:
    """Return a logarithmic scale."""
    return alt.Scale(type="log", domain=list(domain), nice=False)


def axis(title: str, domain: tuple[float, float], label: str) -> alt.Axis:
    """Return an axis with ticks at powers of ten; `label` is the expression of their text."""
    low, high = (round(log10(end)) for end in domain)
    step = ceil((high - low + 1) / MAX_TICKS)
    ticks = [10.0**power for power in range(low, high + 1, step)]
    return alt.Axis(title=title, values=ticks, labelExpr=label, labelFlush=False, gridColor=GRID)


def small(text: str) -> alt.TitleParams:
    """Return the title of a panel."""
    return alt.TitleParams(text, anchor="start", fontSize=12, fontWeight="normal", color=INK)


def finish(chart: Chart, title: str, notes: Sequence[str]) -> Chart:
    """Return the chart with its title and notes, on white."""
    text = alt.TitleParams(
        title, subtitle=list(notes), anchor="start", fontSize=15, subtitleColor=GREY, offset=14
    )
    finished: Chart = chart.properties(title=text, background="white", padding=16).configure_view(
        stroke=None
    )
    return finished


def write_png(chart: Chart, path: Path) -> None:
    """Write the chart as a PNG at twice its size, for screens of high resolution."""
    chart.save(str(path), format="png", scale_factor=2)
