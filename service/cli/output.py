"""Output of the commands: tables or JSON on standard output, progress on standard error, files."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli.exports import csv_text, markdown_text
from service.cli.parser import Parser
from service.compare import Report, Row
from service.compare.report import row_label
from service.core.units import time_text
from service.errors import InvalidFieldError, quote

if TYPE_CHECKING:
    from service.cli.charts import Chart

# A file or a pipe has no width; every row of a table is narrower than this.
PIPE_WIDTH: Final = 240
CHART_PACKAGES: Final = ("altair", "vl_convert")


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Options of the output: JSON in place of the table, and files of tables and charts."""

    json: bool
    html: Path | None
    png: Path | None
    csv: Path | None
    md: Path | None

    def show(
        self,
        table: Group,
        reports: Sequence[Report],
        to_json: Callable[[], str],
        to_page: Callable[[str], str],
        draw: Callable[[], "Chart"],
    ) -> None:
        """Print the table or the JSON, and write the files; `to_page` takes the table as text."""
        if self.json:
            print(to_json())
        else:
            print_table(table)
        if self.csv is not None:
            self.csv.write_text(csv_text(reports), encoding="utf-8", newline="")
        if self.md is not None:
            self.md.write_text(markdown_text(table), encoding="utf-8")
        if self.html is not None:
            self.html.write_text(to_page(table_text(table)), encoding="utf-8")
        if self.png is not None:
            from service.cli.charts import write_png

            write_png(draw(), self.png)


def add_output_options(parser: Parser) -> argparse._ArgumentGroup:
    """Add the options of the output to a parser, and return their group."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print JSON alone, as HTTP answers it")
    group.add_argument("--csv", metavar="FILE", help="write a row for each strategy")
    group.add_argument("--md", metavar="FILE", help="write the table in Markdown")
    group.add_argument(
        "--html", metavar="FILE", help="write a page that draws the results and needs no network"
    )
    group.add_argument(
        "--png", metavar="FILE", help="draw the results as an image, by the extra `charts`"
    )
    return group


def parse_output_options(options: argparse.Namespace) -> OutputOptions:
    """Return the options of the output.

    Raises InvalidFieldError if a file cannot be drawn or written, so that this error comes before
    the race and not after it.
    """
    files = (_writable(each) for each in (options.html, options.png, options.csv, options.md))
    output = OutputOptions(options.json, *files)
    missing = [name for name in CHART_PACKAGES if find_spec(name) is None]
    if missing and output.png is not None:
        raise InvalidFieldError(
            f"--png draws with {' and '.join(missing)}, which is not installed",
            hint="--html needs nothing more; or install the extra `charts`: "
            "pip install -c constraints.txt '.[charts]'",
        )
    return output


def _writable(text: str | None) -> Path | None:
    """Return the path of a file; raise InvalidFieldError if no file can be written there."""
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


def print_table(table: RenderableType, *, most: int = PIPE_WIDTH) -> None:
    """Print a table, as wide as the terminal and up to `most` columns."""
    console = _console()
    is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None if it was closed at start
    console.width = min(console.width, most) if is_terminal else most
    console.print(table)


def table_text(table: RenderableType) -> str:
    """Return a table as plain text."""
    console = _console(file=StringIO(), width=PIPE_WIDTH)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


class ProgressBar:
    """Progress bar that names the strategy that finished last."""

    def __init__(self, progress: Progress, total: int):
        """Draw an empty bar of `total` parts on `progress`."""
        self._progress = progress
        self._task = progress.add_task("measuring what each strategy costs", total=total)
        progress.refresh()

    def show(self, row: Row, *, done: int, at: str = "") -> None:
        """Show a finished strategy, `at` a size in a sweep; `done` parts are finished."""
        result = "skipped" if row.skipped is not None else time_text(row.median_ns)
        text = f"{at}{row_label(row)}: {result}"
        self._progress.update(self._task, completed=done, description=text, refresh=True)


@contextmanager
def progress_bar(total: int) -> Iterator[ProgressBar]:
    """Show a progress bar of `total` parts until the block ends; none without a terminal.

    It is drawn only between strategies, because a thread that draws takes time from those measured.
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
        yield ProgressBar(progress, total)


class _Console(Console):
    """Console that leaves a broken pipe to the caller, where rich would exit with status 1."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError."""
        raise BrokenPipeError


def _console(
    *, file: IO[str] | None = None, stderr: bool = False, width: int | None = None
) -> Console:
    """Return a console that prints brackets and colons unchanged."""
    return _Console(
        file=file, stderr=stderr, width=width, highlight=False, markup=False, emoji=False
    )
