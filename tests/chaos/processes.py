"""Processes of a server, found by a variable in their environment, which all of them inherit.

A worker whose fork server has died is no descendant of the server any more; its environment stays.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from uuid import uuid4

MARK: Final = "CHAOS_MARK"
EXECUTORS: Final = b"service.executors"


def new_mark() -> dict[str, str]:
    """Return an environment variable that is unique to one server."""
    return {MARK: uuid4().hex}


def family(mark: dict[str, str]) -> set[int]:
    """Return all processes that run with a mark, without those that ended and wait to be reaped."""
    marked = f"{MARK}={mark[MARK]}".encode()
    return {
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and marked in _read(int(name), "environ").split(b"\0")
    }


def executor_processes(mark: dict[str, str]) -> set[int]:
    """Return the fork servers of a server, and the workers forked from them."""
    return {pid for pid in family(mark) if EXECUTORS in _read(pid, "cmdline").split(b"\0")}


def is_fork_server(pid: int) -> bool:
    """Return whether an executor process is a fork server: workers have one more thread."""
    return len(_tasks(pid)) < 2


def children(pid: int) -> set[int]:
    """Return the children of a process, those included that ended and were not reaped yet."""
    return {
        int(word) for task in _tasks(pid) for word in _read(pid, f"task/{task}/children").split()
    }


def private_bytes(pid: int) -> int:
    """Return the memory that a process shares with no other; 0 if it has ended."""
    lines = _read(pid, "smaps_rollup").splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(b"Private_"))


def until(condition: Callable[[], object], seconds: float = 20) -> float:
    """Wait until `condition()` is true and return the seconds; AssertionError after `seconds`."""
    began = monotonic()
    while not condition():
        assert monotonic() - began < seconds, f"not within {seconds} s"
        sleep(0.02)
    return monotonic() - began


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
