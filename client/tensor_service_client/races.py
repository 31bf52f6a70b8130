"""Races of strategies, row by row, and their reports; docs/compare.md explains the fields."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tensor_service_client.documents import Document
from tensor_service_client.tables import NO_VALUE, Block, Table, Tabular, grouped
from tensor_service_client.units import (
    count_text,
    error_text,
    ratio_text,
    shape_text,
    share_text,
    time_text,
    ulp_text,
)

if TYPE_CHECKING:
    import altair as alt

Rows = TypeVar("Rows")
TIMES = ("median", "iqr", "speed-up")
COPIES = ("upload", "download")
ERRORS = ("of peak", "error", "ulp")


class Row(Document):
    """Speed and agreement of one strategy on one device, or `skipped` with the reason.

    The measurements of a skipped row are None.
    """

    strategy: str
    device: str
    precision: str | None
    deterministic: bool | None
    estimated_ms: float | None
    runs: int | None
    median_ms: float | None
    min_ms: float | None
    iqr_ms: float | None
    compile_ms: float | None
    upload_ms: float | None
    download_ms: float | None
    speedup: float | None
    max_abs_error: float | str | None
    median_abs_error: float | str | None
    max_rel_error: float | str | None
    median_rel_error: float | str | None
    max_ulp_error: float | str | None
    median_ulp_error: float | str | None
    agrees: bool | None
    disagreeing: int | None
    worst: list[int] | None
    worst_result: str | None
    gflops: float | None
    gb_per_s: float | None
    peak_share: float | None
    skipped: str | None


class Report(Tabular, Document, rows=Row):
    """Report of a race of strategies on the same inputs, slowest first."""

    op: str
    params: dict[str, Any]
    shapes: list[list[int]]
    dtype: str
    multiply_adds: int
    baseline: str | None
    reference: dict[str, Any] | None
    host: dict[str, Any]
    rows: list[Row]

    @property
    def title(self) -> str:
        """Operation with its fields, shapes and dtype of the race."""
        fields = [
            str(value) if name == "equation" else f"{name}={value}"
            for name, value in (self.params or {}).items()
            if name != "steps"  # of a chain, which a line has no room for
        ]
        shapes = " and ".join(map(shape_text, self.shapes))
        return f"race of {' '.join([self.op, *fields])}: {shapes}, {self.dtype}"

    @property
    def fastest(self) -> Row | None:
        """The row with the least median among those that agree."""
        return fastest(self.rows)

    def plot(self) -> "alt.LayerChart | alt.FacetChart":
        """Return a chart of the times; ModuleNotFoundError without the package altair."""
        from tensor_service_client.plots import race_chart

        return race_chart(self)

    def _blocks(self) -> Iterator[Block]:
        yield self.title
        yield race_table(self.rows, self.baseline)
        yield from race_notes(self.rows)
        if self.reference:
            checked, elements = (count_text(self.reference[k]) for k in ("checked", "elements"))
            yield f"{checked} of {elements} elements checked by {self.reference['method']}"
        versions = ", ".join(f"{name} {text}" for name, text in self.host["versions"].items())
        threads = self.host["threads"]
        yield f"{self.host['cpu']}, {threads} thread{'s' * (threads != 1)}, {versions}"


def fastest(rows: Sequence[Row]) -> Row | None:
    """Return the row with the least median among those that agree."""
    agreeing = [row for row in rows if row.agrees]
    return min(agreeing, key=lambda row: row.median_ms or 0.0, default=None)


def labels(rows: Sequence[Row]) -> list[str]:
    """Return the name of each row: its strategy, then device and precision where rows differ."""
    several = {name for name in ("device", "precision") if len({row.get(name) for row in rows}) > 1}
    return [label(row, several) for row in rows]


def label(row: Row, names: Collection[str] = ("device", "precision")) -> str:
    """Return the strategy of a row, with those of device and precision that `names` has."""
    device = f" on {row.device}" if "device" in names else ""
    precision = f" in {row.precision}" if "precision" in names and row.precision else ""
    return f"{row.strategy}{device}{precision}"


def race_table(rows: Sequence[Row], baseline: str | None = None) -> Table:
    """Return a line for each row that ran; copies have columns if a row has any."""
    best = fastest(rows)
    has_copies = any(row.upload_ms or row.download_ms for row in rows)
    numbers = (*TIMES, *(COPIES if has_copies else ()), *ERRORS)
    ran = [(name, row) for name, row in zip(labels(rows), rows, strict=True) if not row.skipped]
    return Table(
        ("strategy", *numbers, "agrees"),
        [(name, *_cells(row, best, baseline, has_copies=has_copies)) for name, row in ran],
        frozenset(numbers),
        strong=next((n for n, (_, row) in enumerate(ran) if row is best), None),
    )


def race_notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what was skipped and what disagrees."""
    named = list(zip(labels(rows), rows, strict=True))
    skipped = grouped((name, row.skipped) for name, row in named if row.skipped)
    yield from (f"skipped {', '.join(names)}: {reason}" for reason, names in skipped.items())
    for name, row in named:
        if row.agrees is False:
            worst = f", most at {row.worst}" if row.worst else ""
            worst += f" in {row.worst_result}" if row.worst_result else ""
            yield f"{name} disagrees in {count_text(row.disagreeing or 0)} elements{worst}"


def _cells(
    row: Row, best: Row | None, baseline: str | None, *, has_copies: bool
) -> tuple[str, ...]:
    copies = (row.upload_ms, row.download_ms) if has_copies else ()
    speedup = NO_VALUE if row.speedup is None else ratio_text(row.speedup)
    return (
        time_text(row.median_ms or 0.0),
        time_text(row.iqr_ms or 0.0) if (row.runs or 0) > 1 else NO_VALUE,
        "baseline" if row.strategy == baseline and row.speedup == 1 else speedup,
        *(time_text(ms) if ms else NO_VALUE for ms in copies),
        share_text(row.peak_share) if row.peak_share else NO_VALUE,
        error_text(float(row.max_abs_error or 0)),
        ulp_text(float(row.max_ulp_error or 0)),
        "fastest" if row is best else "yes" if row.agrees else "NO",
    )


class _Race(Tabular, Generic[Rows]):
    """A race that begins when an iteration over its rows begins."""

    def __init__(self, receive: Callable[[Callable[[Report], None]], Rows]):
        """`receive` returns the rows of one race, and passes on its report after the last one."""
        self._receive = receive
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """The report of the last race; RuntimeError before its last row has arrived."""
        if self._report is None:
            raise RuntimeError("the race has no report yet: it comes after the last of the rows")
        return self._report

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary."""
        return self.report.to_dict()

    def _run(self) -> Rows:
        """Begin a race."""
        self._report = None
        return self._receive(self._set_report)

    def _set_report(self, report: Report) -> None:
        self._report = report

    def _blocks(self) -> Iterator[Block]:
        if self._report is None:
            yield "race without a report yet: it comes after the last of the rows"
        else:
            yield from self._report.blocks()


class Race(_Race[Iterator[Row]]):
    """An iteration over the rows of a race, each when its strategy finishes; then the `report`.

    Speed-ups are in the report alone, because the baseline may run last. To leave the loop ends the
    race, and another loop is another race.
    """

    def __iter__(self) -> Iterator[Row]:
        """Race, and yield each row as it arrives."""
        return self._run()


class AsyncRace(_Race[AsyncIterator[Row]]):
    """A `Race` for `async for`."""

    def __aiter__(self) -> AsyncIterator[Row]:
        """Race, and yield each row as it arrives."""
        return self._run()
