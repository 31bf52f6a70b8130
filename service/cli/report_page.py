"""Pages of races and sweeps: the drawing of the lab page with the report inside, as one file."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from service.cli.against import KeptReport
from service.cli.standalone import LAB, WEB, standalone_page
from service.compare import CompareOptions, Report
from service.compare.sweep import Sweep
from service.core.timing import NS_PER_MS
from service.http.serializers import report_answer
from service.operations import REGISTRY

ENTRY: Final = WEB / "report" / "main.js"
STYLES: Final = (LAB / "race.css", LAB / "answer.css", WEB / "report" / "report.css")


def race_page(
    report: Report, title: str, text: str, options: CompareOptions, kept: KeptReport | None = None
) -> str:
    """Return the page of a race, with a kept report laid over it; `text` is its table."""
    fields = {"report": _json(report_answer(report)), "kept": _laid(kept)}
    return _page([report], title, text, options, **fields)


def sweep_page(
    found: Sweep,
    title: str,
    text: str,
    options: CompareOptions,
    *,
    limit_ns: int,
    kept: Mapping[int, KeptReport] = MappingProxyType({}),
) -> str:
    """Return the page of a sweep, with kept reports laid over some sizes; `text` is its table."""
    answer = sweep_answer(found)
    then = [_laid(kept.get(point.size)) for point in found.points]
    reports = [point.report for point in found.points]
    return _page(reports, title, text, options, **answer, kept=then, limit_ms=limit_ns / NS_PER_MS)


def sweep_answer(found: Sweep) -> dict[str, Any]:
    """Return a sweep as JSON has it: the report at each size, and why the last were left out."""
    points = [
        {"size": point.size, "report": _json(report_answer(point.report))} for point in found.points
    ]
    return {"points": points, "ended": found.ended}


def _page(
    reports: Sequence[Report], title: str, text: str, options: CompareOptions, **fields: Any
) -> str:
    strategies = _strategies(reports[-1])
    data = {
        "title": title,
        "strategies": strategies,
        "tolerance": {"rtol": options.rtol, "atol": options.atol},
        **fields,
    }
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return standalone_page(
        ENTRY,
        STYLES,
        title=title,
        subtitle=f"{'A race' if len(reports) == 1 else 'Races'} of strategies, {made}",
        data=orjson.dumps(data).decode(),
        text=text,
    )


def _laid(kept: KeptReport | None) -> dict[str, Any] | None:
    """Return what the page lays over a race: the rows that ran."""
    if kept is None:
        return None
    ran = kept.answer.model_copy(update={"rows": list(kept.rows.values())})
    return {"name": kept.name, "report": _json(ran)}


def _json(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.model_dump(mode="json", exclude_unset=True)
    return found


def _strategies(report: Report) -> list[dict[str, object]]:
    """Return the strategies of a report with their source, as the lab page lists them.

    Those of a chain have the source of each operation that they compute.
    """
    ops = [REGISTRY[report.op]] if report.op in REGISTRY else REGISTRY.values()
    here = {row.strategy for row in report.available_rows}
    found = {}
    for row in report.rows:
        known = [op.strategies[row.strategy] for op in ops if row.strategy in op.strategies]
        found[row.strategy] = {
            "name": row.strategy,
            "summary": known[0].summary,
            "snippet": "\n\n\n".join(strategy.snippet for strategy in known),
            "available": row.strategy in here,
            "reason": row.skipped,
        }
    return list(found.values())
