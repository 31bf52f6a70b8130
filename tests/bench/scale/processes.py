"""Processor time of processes, as Linux counts it for each thread."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS: Final = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process, its children, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*/stat"):
        try:
            # What follows the name, which may have spaces: the state, and the parent.
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def cpu_ns(pids: Iterable[int]) -> int:
    """Nanoseconds that all threads of the processes have run for; those that ended are not in it.

    Linux charges a process with the network's work for what it sends on loopback.
    """
    total = 0
    for pid in pids:
        for path in PROC.glob(f"{pid}/task/*/schedstat"):
            total += int(path.read_text(encoding="ascii").split()[0])
    return total


def busy_s() -> float:
    """Seconds that all cores together have not idled for, in steps of 10 ms."""
    line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, system, _, _, irq, softirq = (int(each) for each in line.split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS
