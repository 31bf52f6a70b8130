"""Tasks that nothing awaits: what ends one is logged, and not kept until the task is deleted."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

log: Final = logging.getLogger("service")


def run_in_background(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Return a task of that name, whose fault is logged."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_fault)
    return task


def _log_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s has ended by a fault", task.get_name(), exc_info=error)
