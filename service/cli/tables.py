"""Plans, races and sweeps as tables for a terminal; words and signs repeat what colours show."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.against import KeptReport
from service.compare import CompareOptions, Report, Row
from service.compare.agreement import Agreement
from service.compare.report import (
    basis_line,
    host_line,
    peak_lines,
    quickest,
    row_label,
    row_labels,
    strategy_labels,
    unavailable_lines,
)
from service.compare.sweep import Sweep, SweepLine
from service.core.dtypes import describe
from service.core.units import (
    bytes_text,
    count_text,
    error_text,
    rate_text,
    ratio_text,
    shape_text,
    share_text,
    time_text,
    ulp_text,
)
from service.planning.plan import CallSpec, Estimate, Explanation

NO_VALUE: Final = "-"
PATH_NOTE: Final = "operands are counted from 0; each result joins the end of the list"
COMPILE: Final = "to compile"
COMPILE_NOTE: Final = f"{COMPILE}: what the first call of each process takes in addition"
# Names beside a reason are wrapped at this width, which the longest name and its device fit into.
NAMES_WIDTH: Final = 24
GREY: Final = "bright_black"
TIMES: Final = ("median", "iqr", "speed-up")
COPIES: Final = ("upload", "download")
RATES: Final = ("GFLOP/s", "GB/s", "of peak")
FAST: Final = "bold green"
WRONG: Final = "bold red"


def race_table(report: Report, title: str, options: CompareOptions) -> Group:
    """Return a row for each strategy of this host, in the registry's order, then notes.

    The notes are the reasons of skipped strategies, the strategies that this host lacks, and what
    the figures are measured by.
    """
    table = _table("strategy", gap=1)
    copies = COPIES if any(row.upload_ns for row in report.rows) else ()
    for name in (*TIMES, *copies, *RATES, "error", "ulp"):
        table.add_column(name, justify="right")
    table.add_column("agrees")
    fastest = quickest(report)
    rows = report.available_rows
    labelled = list(zip(row_labels(rows), rows, strict=True))
    for name, row in labelled:
        if row.agreement is None:
            cells = [*[NO_VALUE] * (len(table.columns) - 2), "skipped"]
        else:
            cells = _race_cells(report, row, row.agreement, fastest, has_copies=bool(copies))
        table.add_row(name, *cells, style=_style(row, fastest))
    skipped = [(name, row.skipped) for name, row in labelled if row.skipped is not None]
    wrong = [
        f"{name} disagrees: {disagreement(row.agreement)}"
        for name, row in labelled
        if row.agreement is not None and not row.agreement.agrees
    ]
    compiled = [
        f"compiled {name} before its runs: {time_text(row.compile_ns)}"
        for name, row in labelled
        if row.compile_ns
    ]
    notes = [
        *compiled,
        *peak_lines(report),
        *_cached(report.rows),
        host_line(report.host),
        basis_line(report),
        *_tolerance(options),
    ]
    return Group(
        _title(title),
        table,
        *_skipped(skipped),
        *_unavailable(report),
        *(Text(line, style=WRONG) for line in wrong),
        *map(Text, notes),
    )


def overlay_table(report: Report, kept: KeptReport, table: Group) -> Group:
    """Return the table of a race, and another one that lays a kept report beside it."""
    both = _table("strategy", gap=1)
    for name in ("now", "then", "now over then", "of peak now", "then"):
        both.add_column(name, justify="right")
    rows = kept.comparable(report)
    for name, row in zip(row_labels(rows), rows, strict=True):
        both.add_row(name, *_overlay_cells(row, kept))
    here = {row.key for row in report.rows}
    others = [row_label(row) for key, row in kept.rows.items() if key not in here]
    notes = [f"now:  {host_line(report.host)}", f"then: {host_line(kept.host)}, in {kept.name}"]
    if others:
        notes.append(f"only then: {', '.join(others)}")
    return Group(*table.renderables, both, *map(Text, notes))


def overlay_sweep_table(found: Sweep, kept: Mapping[int, KeptReport], table: Group) -> Group:
    """Return the table of a sweep, and another one of ratios to a kept sweep by size."""
    both = _table("n")
    for name in row_labels(found.lines):
        both.add_column(name, justify="right")
    shared = [point for point in found.points if point.size in kept]
    for point in shared:
        rows = [line.row(point.size) for line in found.lines]
        ratios = [None if row is None else kept[point.size].ratio(row) for row in rows]
        cells = (NO_VALUE if ratio is None else ratio_text(ratio) for ratio in ratios)
        both.add_row(str(point.size), *cells)
    then = next(iter(kept.values()))
    note = f"how many times as fast as in {then.name}: {host_line(then.host)}"
    return Group(*table.renderables, Text(""), both, Text(note))


def _overlay_cells(row: Row, kept: KeptReport) -> list[str]:
    then_ns, ratio = kept.median_ns(row), kept.ratio(row)
    shares = (None if row.rates is None else row.rates.peak_share, kept.peak_share(row))
    return [
        time_text(row.median_ns) if row.times_ns else NO_VALUE,
        NO_VALUE if then_ns is None else time_text(then_ns),
        NO_VALUE if ratio is None else f"{ratio_text(ratio)} as fast",
        *(share_text(share) if share else NO_VALUE for share in shares),
    ]


def disagreement(found: Agreement) -> str:
    """Return how many elements disagree and the position of the worst."""
    worst = f", most at {list(found.worst)}" if found.worst else ""
    where = f" of {found.worst_result}" if found.worst_result else ""
    return _elements(found.disagreeing) + worst + where


def plan_table(request: CallSpec, found: Explanation, title: str) -> Group:
    """Return the facts of a call, the cost of each strategy, and the steps of the operation."""
    inferred, plan = found.inferred, found.plan
    dtype = describe(inferred.dtype)
    shown = plan or found.cheapest
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    size = bytes_text(inferred.elements * dtype.itemsize)
    result = f"{shape_text(inferred.shape)} {dtype.name}, {_elements(inferred.elements)}, {size}"
    facts.add_row("result", result)
    facts.add_row("work", f"{count_text(inferred.multiply_adds)} multiply-adds")
    if shown is not None:
        peak = shown.work.peak_elements
        most = f"largest intermediate {_elements(peak)}" if peak else "no intermediate"
        facts.add_row("memory", f"{bytes_text(shown.peak_bytes)}; {most}")
    if plan is not None:
        accepted = Text(f"yes: {plan.strategy.name} on {plan.device.name} would run", style=FAST)
    else:
        accepted = Text(f"NO: {found.reason}", style=WRONG)
    facts.add_row("accepted", accepted)
    if found.hint is not None:
        facts.add_row("hint", found.hint)
    facts.add_row("in torch", request.reproduce(inferred))
    parts: list[RenderableType] = [_title(title), "", facts, "", *_estimates(found.estimates)]
    if inferred.path is not None:
        parts += ["", _path(inferred.path), Text(PATH_NOTE)]
    if inferred.explanation is not None:
        parts += ["", *_broadcasting(inferred.explanation)]
    return Group(*parts)


def sweep_table(sweep: Sweep, title: str) -> Group:
    """Return medians by size, a column for each strategy, then the last size and why it stopped."""
    table = _table("n")
    names = row_labels(sweep.lines)
    for name in names:
        table.add_column(name, justify="right")
    for point in sweep.points:
        fastest = quickest(point.report)
        cells = [_sweep_cell(line.row(point.size), fastest) for line in sweep.lines]
        table.add_row(str(point.size), *cells)
    note = "median of a run; > marks the fastest of a size, ! one that disagrees"
    ends = _table("strategy", "last n", "its median", *RATES, "why it stops there")
    for name, line in zip(names, sweep.lines, strict=True):
        ends.add_row(name, *_end_cells(line), style=GREY if line.last is None else "")
    parts: list[RenderableType] = [_title(title), table, Text(note), "", ends]
    if sweep.ended is not None:
        parts.append(Text(f"the sweep ended {sweep.ended}", style=GREY))
    if sweep.points:
        last = sweep.points[-1].report
        parts += _unavailable(last)
        shown = (row for line in sweep.lines for _, row in line.rows[-1:])
        parts += [Text(line) for line in (*peak_lines(last), *_cached(shown), host_line(last.host))]
    return Group(*parts)


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _table(*columns: str, gap: int = 2) -> Table:
    """Return a table whose columns are apart by `gap` and one more."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap - 1, 0, 1), show_edge=False)
    for name in columns:
        table.add_column(name)
    return table


def _race_cells(
    report: Report, row: Row, agreement: Agreement, fastest: Row | None, *, has_copies: bool
) -> list[str]:
    speedup = report.speedup(row)
    is_baseline = row.strategy == report.baseline and speedup == 1
    agrees = "fastest" if row is fastest else "yes" if agreement.agrees else "NO"
    return [
        time_text(row.median_ns),
        time_text(row.iqr_ns) if len(row.times_ns) > 1 else NO_VALUE,
        "baseline" if is_baseline else NO_VALUE if speedup is None else ratio_text(speedup),
        *(_copy_cells(row) if has_copies else ()),
        *_rate_cells(row),
        error_text(agreement.max_abs_error),
        ulp_text(agreement.max_ulp_error),
        agrees,
    ]


def _copy_cells(row: Row) -> list[str]:
    return [time_text(ns) if ns else NO_VALUE for ns in (row.upload_ns, row.download_ns)]


def _rate_cells(row: Row) -> list[str]:
    if row.rates is None:
        return [NO_VALUE] * len(RATES)
    share = row.rates.peak_share
    return [
        rate_text(row.rates.gflops),
        rate_text(row.rates.gb_per_s),
        NO_VALUE if share is None else share_text(share),
    ]


def _style(row: Row, fastest: Row | None) -> str:
    if row.agreement is None:
        return GREY
    if not row.agreement.agrees:
        return WRONG
    return FAST if row is fastest else ""


def _skipped(rows: Iterable[tuple[str, str]]) -> Iterable[Text]:
    return (Text(f"skipped {name}: {reason}", style=GREY) for name, reason in rows)


def _unavailable(report: Report) -> Iterable[Text]:
    return (Text(line, style=GREY) for line in unavailable_lines(report))


def _tolerance(options: CompareOptions) -> list[str]:
    return [
        "error: the largest, in the unit of the result; ulp: in units in its last place",
        f"agrees: within {options.atol:g} + {options.rtol:g} of the size of each element",
    ]


def _cached(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the reason of shares above the peak, if there are any."""
    if any(row.rates and (row.rates.peak_share or 0) > 1 for row in rows):
        yield "over 100 % of peak: the peak is measured by a copy, and to read alone may be faster"


def _elements(count: int) -> str:
    return "1 element" if count == 1 else f"{count_text(count)} elements"


def _estimates(estimates: Sequence[Estimate]) -> list[RenderableType]:
    """Return a row for each strategy and device, then each reason with the rows that it refuses."""
    table = _table("strategy", "device")
    columns = ["estimated"]
    is_compiled = any(each.compile_ns for each in estimates)
    if is_compiled:
        columns.append(COMPILE)
    for name in columns:
        table.add_column(name, justify="right")
    table.add_column("accepted")
    refused: dict[str, list[str]] = {}
    for name, each in zip(strategy_labels(estimates), estimates, strict=True):
        time = NO_VALUE if each.estimated_ns is None else time_text(each.estimated_ns)
        if each.plan is not None and not each.plan.is_measured:
            time += " (prior)"
        times = [time, time_text(each.compile_ns) if each.compile_ns else NO_VALUE]
        accepted, style = "yes", ""
        if each.reason is not None:
            refused.setdefault(each.reason, []).append(name)
            accepted, style = "NO", GREY
        table.add_row(each.strategy, each.device, *times[: len(columns)], accepted, style=style)
    parts: list[RenderableType] = [table]
    if is_compiled:
        parts.append(Text(COMPILE_NOTE))
    if refused:
        parts += ["", _reasons(refused)]
    return parts


def _reasons(refused: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(max_width=NAMES_WIDTH)
    for reason, names in refused.items():
        table.add_row(", ".join(names), Text(f"NO: {reason}"), style=GREY)
    return table


def _path(steps: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("step", "takes", "equation", "gives")
    table.add_column("multiply-adds", justify="right")
    for number, step in enumerate(steps, 1):
        taken = " and ".join(map(str, step["positions"]))
        gives = shape_text(tuple(step["shape"]))
        table.add_row(
            str(number), taken, step["equation"], gives, count_text(step["multiply_adds"])
        )
    return table


def _broadcasting(block: Mapping[str, Any]) -> list[RenderableType]:
    """Return the aligned axes from left to right, then the memory of each operand and its view."""
    axes = _table("axis", "result")
    operands = block["operands"]
    for number in range(len(operands)):
        axes.add_column(f"operand {number}")
    for axis in block["axes"]:
        cells = [
            each["role"] if each["size"] is None else f"{each['size']} {each['role']}"
            for each in axis["operands"]
        ]
        axes.add_row(str(axis["axis"]), str(axis["size"]), *cells)
    memory = _table("operand", "shape", "strides", "expanded", "stores", "appears")
    for number, each in enumerate(operands):
        memory.add_row(
            str(number),
            shape_text(tuple(each["shape"])),
            str(tuple(each["strides"])),
            str(tuple(each["expanded_strides"])),
            bytes_text(each["stored_bytes"]),
            bytes_text(each["apparent_bytes"]),
        )
    return [axes, memory]


def _sweep_cell(row: Row | None, fastest: Row | None) -> Text:
    if row is None or row.agreement is None:
        return Text(NO_VALUE, style=GREY)
    sign = "> " if row is fastest else ""
    if not row.agreement.agrees:
        sign = "! "
    return Text(sign + time_text(row.median_ns), style=_style(row, fastest))


def _end_cells(line: SweepLine) -> list[str]:
    stopped = line.stopped or "it does not stop"
    if not line.rows:
        return [*[NO_VALUE] * (2 + len(RATES)), stopped]
    size, row = line.rows[-1]
    return [str(size), time_text(row.median_ns), *_rate_cells(row), stopped]
