"""The report of the load test: JSON, and one page that needs no network."""

from pathlib import Path
from typing import Any, Final

import orjson

from service.cli.standalone import LAB, WEB, standalone_page

HERE: Final = Path(__file__).parent
STYLES: Final = (LAB / "answer.css", WEB / "report" / "report.css", HERE / "report.css")


def write_report(report: dict[str, Any], page: Path) -> None:
    """Write the page of a report, and the report itself as JSON beside it.

    `report` has what figures.summarize returns, and the fields of __main__.measure.
    """
    text = orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode()
    page.with_suffix(".json").write_text(text, encoding="utf-8")
    html = standalone_page(
        HERE / "report.js",
        STYLES,
        title=f"Load test of {report['target']}",
        subtitle=f"{report['users']} users for {report['seconds']:.0f} s, {report['began']}",
        data=text,
        text=text,
    )
    page.write_text(html, encoding="utf-8")
