"""The report of the load test: JSON, and one page that needs no network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from service.cli.standalone import LAB, WEB, standalone_page
from service.core.units import time_text

HERE: Final = Path(__file__).parent
STYLES: Final = (LAB / "answer.css", WEB / "report" / "report.css", HERE / "report.css")


def write_report(report: dict[str, Any], page: Path) -> None:
    """Write the page of a report, and the report itself as JSON beside it.

    `report` has what figures.summarize returns, and the fields of __main__.measure.
    """
    page.with_suffix(".json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    html = standalone_page(
        HERE / "report.js",
        STYLES,
        title=f"Load test of {report['target']}",
        subtitle=f"{report['users']} users for {report['seconds']:.0f} s, {report['began']}",
        data=orjson.dumps(report).decode(),
        text="\n".join(_lines(report)),
    )
    page.write_text(html, encoding="utf-8")


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield what a browser without scripts shows: a line for each kind of call."""
    for route in report["routes"]:
        for kind in route["kinds"]:
            median, most = (time_text(kind["latency_ms"][name] * 1e6) for name in ("p50", "max"))
            yield (
                f"{kind['kind']}: {kind['calls']} calls, {kind['failed']} failed, "
                f"median {median}, at most {most}"
            )
