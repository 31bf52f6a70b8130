"""This host as a command uses it: the parts that compute, without a server, and the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.devices import host_devices
from service.dtypes import parse_dtype
from service.engine import Engine
from service.plan import Planner
from service.rates import Rates
from service.settings import Settings, from_environment
from service.strategies import REGISTRY
from service.wire import Reading

# A file or a pipe has no width; no row of a table is this wide.
WIDE: Final = 200


@dataclass(frozen=True, slots=True)
class Host:
    """What plans and computes here, and the limits that requests are read within."""

    settings: Settings
    engine: Engine
    reading: Reading


def this_host() -> Host:
    """The parts, by the SERVICE_* variables of the environment. Sets torch's threads."""
    settings = from_environment()
    torch.set_grad_enabled(False)
    torch.set_num_threads(settings.threads)
    planner = Planner(host_devices(settings.device), Rates(), settings.limits)
    reading = Reading(
        max_elements=settings.max_elements,
        dtype=parse_dtype(settings.dtype),
        max_deadline_ms=settings.deadline_ms,
        max_rank=settings.max_rank,
        max_nesting=settings.max_nesting,
    )
    return Host(settings, Engine(REGISTRY, planner), reading)


def output() -> Console:
    """Standard output: as wide as the terminal, and wide enough for a table where it is none."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


class Rungs:
    """A progress bar on standard error, which names the rung that has just finished."""

    def __init__(self, progress: Progress, total: int):
        """Count `total` rungs on `progress`."""
        self._progress = progress
        self._task = progress.add_task("measuring", total=total)
        progress.refresh()

    def finished(self, text: str) -> None:
        """One more rung has finished; `text` names it."""
        self._progress.update(self._task, advance=1, description=text, refresh=True)


@contextmanager
def progress_bar(total: int) -> Iterator[Rungs]:
    """A progress bar for `total` rungs.

    It is drawn between rungs only: a thread that draws would take time from those that run.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, auto_refresh=False, transient=True
    ) as progress:
        yield Rungs(progress, total)
