"""Charts of races, by altair; the module is imported only for them."""

from typing import Any

from tensor_service_client.races import Report, labels
from tensor_service_client.units import ratio_text, time_text

try:
    import altair as alt
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "a chart of a race needs altair: pip install altair", name=error.name
    ) from None

# Colours that differ in lightness too, for readers who do not see hues.
STATES = {"fastest": "#009e73", "agrees": "#0072b2", "disagrees": "#d55e00"}


def race_chart(report: Report) -> alt.LayerChart | alt.FacetChart:
    """Return the median of each strategy that ran, on a logarithmic axis, slowest first."""
    best = report.fastest
    rows: list[dict[str, Any]] = [
        {
            "strategy": name,
            "ms": row.median_ms,
            "time": time_text(row.median_ms)
            + ("" if row.speedup is None else f", {ratio_text(row.speedup)}"),
            "state": "fastest" if row is best else "agrees" if row.agrees else "disagrees",
        }
        for name, row in zip(labels(report.rows), report.rows, strict=True)
        if row.median_ms is not None
    ]
    data = alt.Data(values=rows)  # type: ignore[no-untyped-call]  # altair does not annotate it
    base = alt.Chart(data).encode(
        x=alt.X("ms:Q", scale=alt.Scale(type="log"), title="median of a run, ms"),
        y=alt.Y("strategy:N", sort=[row["strategy"] for row in rows], title=None),
        tooltip=["strategy:N", "time:N", "state:N"],
    )
    colours = alt.Scale(domain=[*STATES], range=[*STATES.values()])
    points = base.mark_point(filled=True, size=90).encode(
        color=alt.Color("state:N", scale=colours, title=None),
        shape=alt.Shape("state:N", title=None),
    )
    texts = base.mark_text(align="left", dx=9).encode(text="time:N")
    return alt.layer(points, texts, title=report.title)
