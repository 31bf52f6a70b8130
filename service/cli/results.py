"""Where the results of a race or a sweep go: a table, JSON, a page, an image."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import RenderableType

from service.cli.output import as_text, print_table
from service.cli.parser import Parser
from service.errors import InvalidFieldError, quote

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
