"""The terminal: tables on standard output, and a progress bar on standard error."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli.parser import Parser
from service.compare import Row
from service.core.units import time_text
from service.errors import InvalidFieldError, quote

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


if TYPE_CHECKING:
    from service.cli.charts import Chart

DRAWN_BY: Final = ("altair", "vl_convert")


@dataclass(frozen=True, slots=True)
class Results:
    """What was asked for: JSON in place of the table, and files of pictures."""

    json: bool
    html: Path | None
    png: Path | None

    def show(
        self,
        title: str,
        table: RenderableType,
        answer: Callable[[], str],
        draw: Callable[[], "Chart"],
    ) -> None:
        """Print the table or the answer, and write the files."""
        if self.json:
            print(answer())
        else:
            print_table(table)
        if self.html is None and self.png is None:
            return
        from service.cli.charts import write_html, write_png

        chart = draw()
        if self.html is not None:
            write_html(chart, self.html, title, as_text(table))
        if self.png is not None:
            write_png(chart, self.png)


def add_results(parser: Parser) -> None:
    """Add the options that say where results go."""
    parser.add_argument("--json", action="store_true", help="print JSON alone, as HTTP answers it")
    parser.add_argument("--html", metavar="FILE", help="draw the results on a page of its own")
    parser.add_argument("--png", metavar="FILE", help="draw the results as an image")


def asked_results(options: argparse.Namespace) -> Results:
    """Where results go; refused now, and not after the race, if they cannot be written."""
    results = Results(options.json, _writable(options.html), _writable(options.png))
    missing = [name for name in DRAWN_BY if find_spec(name) is None]
    if missing and (results.html is not None or results.png is not None):
        raise InvalidFieldError(
            f"--html and --png draw with {' and '.join(missing)}, which is not installed",
            hint="install the extra `charts`: pip install -c constraints.txt '.[charts]'",
        )
    return results


def _writable(text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        folder = f"there is no folder {quote(str(path.parent))}"
        raise InvalidFieldError(
            f"no file can be written at {quote(text)}",
            hint="it is a folder" if path.is_dir() else folder,
        )
    return path
