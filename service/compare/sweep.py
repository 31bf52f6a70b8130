"""Sweeps: races of all strategies at one size after another.

A strategy takes part as long as the estimate of a run stays within a limit. At each size the
strategies race together, as in any comparison.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.compare import CompareOptions, Race, Report, Row, prepare_race
from service.compare.report import RowKey, skipped_row
from service.core.call import Call
from service.core.units import time_text
from service.engine import Engine
from service.errors import LimitExceededError
from service.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Point:
    """The race at one size."""

    size: int
    report: Report


@dataclass(frozen=True, slots=True)
class SweepLine:
    """Rows of a strategy on a device, in a precision, by size.

    `stopped` is the reason why it ended early.
    """

    strategy: str
    device: str
    precision: str | None
    rows: tuple[tuple[int, Row], ...]
    stopped: str | None

    def row(self, size: int) -> Row | None:
        """Return its row of a size; None if the race of that size has none."""
        return dict(self.rows).get(size)

    @property
    def last(self) -> int | None:
        """The largest size at which it ran; None if it never ran."""
        return self.rows[-1][0] if self.rows else None


@dataclass(frozen=True, slots=True)
class Sweep:
    """All races of a sweep; `ended` is the reason why the last sizes were left out, if any were."""

    points: tuple[Point, ...]
    ended: str | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that were raced."""
        return tuple(point.size for point in self.points)

    @property
    def lines(self) -> tuple[SweepLine, ...]:
        """One for each key of rows that this host can run, in the order of the registry."""
        first: dict[RowKey, Row] = {}
        for point in self.points:
            for row in point.report.available_rows:
                first.setdefault(row.key, row)
        return tuple(self._line(row) for row in first.values())

    def _line(self, first: Row) -> SweepLine:
        rows = [
            (point.size, row)
            for point in self.points
            for row in point.report.rows
            if row.key == first.key
        ]
        skipped = [(size, row.skipped) for size, row in rows if row.skipped is not None]
        ran = tuple((size, row) for size, row in rows if row.times_ns)
        last = ran[-1][0] if ran else 0
        stopped = next((f"at {size}: {reason}" for size, reason in skipped if size > last), None)
        return SweepLine(first.strategy, first.device, first.precision, ran, stopped)


def sizes_between(first: int, last: int) -> tuple[int, ...]:
    """Return `first`, its double, and so on up to `last`."""
    sizes = [first]
    while sizes[-1] * 2 <= last:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes)


def sweep(
    engine: Engine,
    sizes: Sequence[int],
    call_at: Callable[[int], Call],
    limit_ns: int,
    show: Callable[[int, Row], None],
) -> Sweep:
    """Race at each of `sizes`, and call `show` with the size and row of each finished strategy.

    The sweep ends early if no strategy stays within `limit_ns`, or operands exceed their limits.
    """
    points: list[Point] = []
    ended = None
    for size in sizes:
        try:
            race = _limited(engine, call_at(size), limit_ns)
        except LimitExceededError as error:
            if not points:
                raise
            ended = f"at {size}: {error.detail}"
            break
        rows = []
        for row in race.run():
            show(size, row)
            rows.append(row)
        points.append(Point(size, race.report(rows)))
        if not any(row.times_ns for row in rows):
            ended = f"at {size}: no strategy stays within its limits"
            break
    return Sweep(tuple(points), ended)


def _limited(engine: Engine, call: Call, limit_ns: int) -> Race:
    """Prepare a race in which strategies whose run would exceed the limit are skipped."""
    race = prepare_race(engine, call, CompareOptions.of(call.options))
    return replace(race, entries=tuple(_within(entry, limit_ns) for entry in race.entries))


def _within(entry: Plan | Row, limit_ns: int) -> Plan | Row:
    """Return the entry, or a skipped row if its run would take longer than the limit."""
    if isinstance(entry, Row) or entry.run_ns <= limit_ns:
        return entry
    reason = (
        f"a run would take about {time_text(entry.run_ns)}, over the limit of {time_text(limit_ns)}"
    )
    return skipped_row(entry, reason)
