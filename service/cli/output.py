"""The terminal: tables on standard output, and a progress bar on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import IO, Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.compare import Row
from service.core.units import time_text

# A file or a pipe has no width; no row of a table is this wide.
WIDE: Final = 240


def print_table(table: RenderableType) -> None:
    """Print a table, as wide as the terminal, or as it needs to be where there is none."""
    _console(width=None if sys.stdout.isatty() else WIDE).print(table)


def as_text(table: RenderableType) -> str:
    """A table as plain text."""
    console = _console(file=StringIO(), width=WIDE)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


class Bar:
    """A progress bar that names the rung that has just finished."""

    def __init__(self, progress: Progress, total: int):
        """Draw an empty bar of `total` parts on `progress`."""
        self._progress = progress
        self._task = progress.add_task("measuring what each strategy costs", total=total)
        progress.refresh()

    def show(self, row: Row, *, done: int, at: str = "") -> None:
        """Name a finished rung, `at` a size; `done` parts are done."""
        result = "skipped" if row.skipped is not None else time_text(row.median_ns)
        text = f"{at}{row.strategy} on {row.device}: {result}"
        self._progress.update(self._task, completed=done, description=text, refresh=True)


@contextmanager
def progress_bar(total: int) -> Iterator[Bar]:
    """A progress bar of `total` parts, gone when it ends; none where there is no terminal.

    It is drawn between rungs only: a thread that draws would take time from those that run.
    """
    console = _console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        auto_refresh=False,
        transient=True,
    ) as progress:
        yield Bar(progress, total)


def _console(
    *, file: IO[str] | None = None, stderr: bool = False, width: int | None = None
) -> Console:
    """A console that prints brackets and colons as they are."""
    return Console(
        file=file, stderr=stderr, width=width, highlight=False, markup=False, emoji=False
    )
