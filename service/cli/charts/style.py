"""What all pictures share: colours, axes by powers of ten with their units, titles.

Colours are those of Okabe and Ito, which people who do not see all colours can tell apart, without
their yellow, which is too faint on white. Shapes and words tell what colours tell.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, Final, TypeAlias

import altair as alt
import numpy as np

from service.compare import Row

Chart: TypeAlias = alt.HConcatChart | alt.LayerChart
Record: TypeAlias = dict[str, Any]

VERMILION, ORANGE, SKY, GREEN = "#D55E00", "#E69F00", "#56B4E9", "#009E73"
BLUE, PURPLE, BLACK, GREY = "#0072B2", "#CC79A7", "#000000", "#767676"
INK, FAINT, GRID = "#222222", "#D0D0D0", "#E8E8E8"
MAX_TICKS: Final = 8
# Of nanoseconds, in the unit that suits each power of ten.
TIME_LABEL: Final = (
    "datum.value >= 1e9 ? format(datum.value / 1e9, ',') + ' s' : "
    "datum.value >= 1e6 ? datum.value / 1e6 + ' ms' : "
    "datum.value >= 1e3 ? datum.value / 1e3 + ' us' : datum.value + ' ns'"
)


def data(records: Iterable[Mapping[str, Any]]) -> alt.Data:
    """The records that a picture is drawn from."""
    return alt.Data(values=list(records))  # type: ignore[no-untyped-call]  # altair does not annotate it


def middle_half(row: Row) -> dict[str, float]:
    """The ends of the middle half of the runs, in nanoseconds."""
    low, high = np.percentile(row.times_ns, [25, 75])
    return {"low": float(low), "high": float(high)}


def decades(values: Iterable[float]) -> tuple[float, float]:
    """The powers of ten that hold `values`, which are above zero; a decade if there are none."""
    logs = [log10(max(value, 1e-300)) for value in values] or [0.0]
    low, high = floor(min(logs)), ceil(max(logs))
    return 10.0**low, 10.0 ** max(high, low + 1)


def log(domain: tuple[float, float]) -> alt.Scale:
    """A scale by powers."""
    return alt.Scale(type="log", domain=list(domain), nice=False)


def axis(title: str, domain: tuple[float, float], label: str) -> alt.Axis:
    """An axis with a tick at powers of ten, each with its unit."""
    low, high = (round(log10(end)) for end in domain)
    step = ceil((high - low + 1) / MAX_TICKS)
    ticks = [10.0**power for power in range(low, high + 1, step)]
    return alt.Axis(title=title, values=ticks, labelExpr=label, labelFlush=False, gridColor=GRID)


def small(text: str) -> alt.TitleParams:
    """The title of a part."""
    return alt.TitleParams(text, anchor="start", fontSize=12, fontWeight="normal", color=INK)


def finish(chart: Chart, title: str, notes: Sequence[str]) -> Chart:
    """The picture with its title, on white."""
    text = alt.TitleParams(
        title, subtitle=list(notes), anchor="start", fontSize=15, subtitleColor=GREY, offset=14
    )
    finished: Chart = chart.properties(title=text, background="white", padding=16).configure_view(
        stroke=None
    )
    return finished
