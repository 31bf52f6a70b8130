"""Display of the rows of a race as they arrive."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from tensor_service_client.races import Row, label, race_notes, race_table
from tensor_service_client.tables import Block, Tabular
from tensor_service_client.units import time_text

# None: in a notebook alone. True, False: in any case, or not. A function: it gets each row.
Progress: TypeAlias = bool | Callable[[Row], object] | None


class LiveRows(Tabular):
    """The rows of a race that have arrived."""

    def __init__(self, title: str):
        """Begin without rows."""
        self._title = title
        self.rows: list[Row] = []

    def _blocks(self) -> Iterator[Block]:
        yield f"{self._title}: {len(self.rows)} strategies finished"
        yield race_table(self.rows)
        yield from race_notes(self.rows)


@contextmanager
def shown(title: str, progress: Progress) -> Iterator[Callable[[Row], object]]:
    """Give the function that shows a row."""
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not _in_notebook()):
        yield lambda _: None
    elif _in_notebook():
        from IPython.display import HTML, display

        live = LiveRows(title)
        handle: Any = display(live, display_id=True)

        def show(row: Row) -> None:
            live.rows.append(row)
            handle.update(live)

        yield show
        # The report has all rows, and is shown in their place. After an error they stay.
        handle.update(HTML(""))
    else:
        yield _print


def _print(row: Row) -> None:
    """Write a line for a row, to stderr."""
    found = f"skipped: {row.skipped}" if row.skipped else time_text(row.median_ms or 0.0)
    print(f"{label(row)}: {found}", file=sys.stderr)  # noqa: T201  # asked for


def _in_notebook() -> bool:
    """Return whether this is a kernel of a notebook; nothing is imported to find that out."""
    ipython = sys.modules.get("IPython")
    found: Any = ipython and ipython.get_ipython()
    return hasattr(found, "kernel")
