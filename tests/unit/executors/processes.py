"""Worker processes as seen from a test: their ids, their state, and files that they write."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from service.executors import DeviceProcess, ProcessPool

ROOT = Path(__file__).parents[3]
LONG_MS = 60_000


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has exited and is not reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not come")


def text_of(file: Path) -> str:
    """Return the content of a file; an empty string if there is none."""
    return file.read_text(encoding="ascii") if file.exists() else ""


async def pid_in(file: Path) -> int:
    """Return the process id that a spinning worker has written."""
    await until(lambda: text_of(file))
    return int(text_of(file))


async def pid_of(executor: ProcessPool | DeviceProcess) -> int:
    """Return the id of the process that handles the next request."""
    answer, _ = await executor.run(b"pid", b"", deadline_ms=LONG_MS)
    return int(answer)
