"""The processes of a server, found from outside: by a mark in their environment, which all inherit.

A worker whose template has died is nobody's descendant any more; its environment stays.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from uuid import uuid4

MARK: Final = "CHAOS_MARK"
TEMPLATE: Final = b"service.executors"


def new_mark() -> dict[str, str]:
    """A variable for the environment of one server, and of no other."""
    return {MARK: uuid4().hex}


def family(mark: dict[str, str]) -> set[int]:
    """All processes that run with a mark; none that have ended and wait to be reaped."""
    told = f"{MARK}={mark[MARK]}".encode()
    return {
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and told in _read(int(name), "environ").split(b"\0")
    }


def lane_processes(mark: dict[str, str]) -> set[int]:
    """Of these the templates and the workers, which are forked from them."""
    return {pid for pid in family(mark) if TEMPLATE in _read(pid, "cmdline").split(b"\0")}


def is_template(pid: int) -> bool:
    """Whether a process of a lane is what workers are forked from: these have a thread more."""
    return len(_tasks(pid)) < 2


def children(pid: int) -> set[int]:
    """The children of a process, those that have ended included until it has noticed."""
    return {
        int(word) for task in _tasks(pid) for word in _read(pid, f"task/{task}/children").split()
    }


def private_bytes(pid: int) -> int:
    """Memory that a process shares with no other; 0 if it has ended."""
    lines = _read(pid, "smaps_rollup").splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(b"Private_"))


def until(condition: Callable[[], object], seconds: float = 20) -> float:
    """Wait until something is so: the seconds that took. AssertionError if it does not come."""
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
