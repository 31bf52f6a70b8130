"""Races as they run: an iteration over the rows, and the report that follows them.

No transport is known here: a client hands in what receives the rows.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

from service.client.answers import Report, Row

Rows = TypeVar("Rows")


class _Race(Generic[Rows]):
    """A race that begins when its rows are asked for."""

    def __init__(self, receive: Callable[[Callable[[Report], None]], Rows]):
        """`receive` gives the rows of one race, and hands on its report after the last one."""
        self._receive = receive
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """The whole table, with the speed-ups; a RuntimeError before the last row has come."""
        if self._report is None:
            raise RuntimeError("the race has no report yet: it comes after the last of the rows")
        return self._report

    def _run(self) -> Rows:
        self._report = None
        return self._receive(self._keep)

    def _keep(self, report: Report) -> None:
        self._report = report


class Race(_Race[Iterator[Row]]):
    """The rows of a race, each when its strategy is finished; then there is the `report`.

    A row has no speed-up before the report: the baseline may not have run yet. To leave the loop
    ends the race; another loop is another race.
    """

    def __iter__(self) -> Iterator[Row]:
        """Race, and give each row as it comes."""
        return self._run()


class AsyncRace(_Race[AsyncIterator[Row]]):
    """The same for `async for`."""

    def __aiter__(self) -> AsyncIterator[Row]:
        """Race, and give each row as it comes."""
        return self._run()
