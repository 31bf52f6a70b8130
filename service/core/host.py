"""Resources of the host that this process may use: cores and memory, and how it uses its heap.

A container sees all cores and the memory of its host, but may be limited to the time of two cores
and to less memory, beyond which the kernel kills it. Limits are read from the CPU affinity and from
control groups of both versions. The heap is tuned by glibc's `mallopt`; with another C library,
which has no such function, it stays as it is.
"""

import ctypes
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path("/")


def cores(root: Path = ROOT) -> int:
    """Return the number of cores that this process may keep busy, by affinity and quota."""
    allowed = float(len(os.sched_getaffinity(0)))
    for group in _groups(root, "cpu"):
        words = _words(group / "cpu.max") or [
            *_words(group / "cpu.cfs_quota_us"),
            *_words(group / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0].isdigit():  # -1 and max mean no quota
            allowed = min(allowed, int(words[0]) / int(words[1]))
    return max(1, int(allowed))


def memory_bytes(root: Path = ROOT) -> int:
    """Return the bytes of memory that this process may use: the host's, or a lower limit."""
    allowed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _groups(root, "memory"):
        for word in (*_words(group / "memory.max"), *_words(group / "memory.limit_in_bytes")):
            if word.isdigit():
                allowed = min(allowed, int(word))
    return allowed


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of its ancestors."""
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top = mount
        elif controller in controllers.split(","):
            top = mount / controller
        else:
            continue
        # In a container the path may be the host's, while the group is mounted as the top folder.
        folder = top / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(top))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


# Constants of glibc's malloc.h.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_MAX: Final = -4
M_ARENA_MAX: Final = -8
# Free memory at the end of the heap that malloc keeps, until `trim_memory`.
KEPT_HEAP_BYTES: Final = 2**28


@cache
def _glibc(name: str) -> Any:
    """Return a function of glibc, or one that does nothing if the C library lacks it."""
    return getattr(ctypes.CDLL(None), name, lambda *_: 0)


def share_heap() -> None:
    """Use one heap for all threads that start from now on, and for blocks of any size.

    With a heap for each thread, memory that a thread has freed is available to that thread only:
    8 MB when the service is idle, 70 MB after large calls. Allocations are few, since tensors are
    large: threads do not wait for each other. Blocks above 32 MB would be mapped anew each time,
    and the kernel would clear their pages: 40 of the 240 ms of a product of 1024 x 1024 in JSON.
    """
    tune = _glibc("mallopt")
    tune(M_ARENA_MAX, 1)
    tune(M_MMAP_MAX, 0)
    tune(M_TRIM_THRESHOLD, KEPT_HEAP_BYTES)


# How often a thread of GNU's OpenMP looks for work before it sleeps: for 0.1 ms. The
# default keeps a core busy for 3 ms after each product of torch, while its result is written.
SPINS: Final = {"GOMP_SPINCOUNT": "10000"}


def limit_spins() -> None:
    """Have idle threads of torch sleep soon, unless the environment says how long they wait.

    OpenMP reads the environment when torch is imported; later it has no effect. Processes that are
    started from this one inherit it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in SPINS.items():
            os.environ.setdefault(name, value)


def trim_memory() -> None:
    """Return free heap memory to the system; takes some milliseconds after large tensors."""
    _glibc("malloc_trim")(0)
