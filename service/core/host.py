"""What this process may use of the host: cores and memory, by its affinity and its control groups.

A container sees all cores of its host and may be allowed the time of two; its memory ends where
the kernel kills, not where the host's does. Both versions of control groups are read.
"""

import ctypes
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path("/")


def cores(root: Path = ROOT) -> int:
    """How many cores this process may keep busy: those of its affinity, within its quota."""
    allowed = float(len(os.sched_getaffinity(0)))
    for group in _groups(root, "cpu"):
        words = _words(group / "cpu.max") or [
            *_words(group / "cpu.cfs_quota_us"),
            *_words(group / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0].isdigit():  # -1 and max are no quota
            allowed = min(allowed, int(words[0]) / int(words[1]))
    return max(1, int(allowed))


def memory_bytes(root: Path = ROOT) -> int:
    """How much memory this process may use: the host's, within its control groups' limits."""
    allowed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _groups(root, "memory"):
        for word in (*_words(group / "memory.max"), *_words(group / "memory.limit_in_bytes")):
            if word.isdigit():
                allowed = min(allowed, int(word))
    return allowed


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the group that this process is in, and of all groups around that one."""
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top = mount
        elif controller in controllers.split(","):
            top = mount / controller
        else:
            continue
        # Inside a container the path may be that of the host, and the folders begin at the top.
        folder = top / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(top))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


# Of glibc's malloc.h.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_MAX: Final = -4
M_ARENA_MAX: Final = -8
# What is free at the end of the heap may grow to this before `release`.
KEPT_BYTES: Final = 2**28


@cache
def _glibc(name: str) -> Any:
    """A function of glibc, or one that does nothing where the C library is another one."""
    return getattr(ctypes.CDLL(None), name, lambda *_: 0)


def share_heap() -> None:
    """Have one heap for the threads that start from now on, and for blocks of any size.

    With one for each thread, what a thread has freed is free for that thread alone: 8 MB when the
    service is idle, 70 MB after large calls. Tensors are few: threads do not wait for each other.
    Blocks above 32 MB would be mapped anew each time, and the kernel would clear their pages: 40 of
    the 240 ms of a product of 1024 x 1024 in JSON.
    """
    tune = _glibc("mallopt")
    tune(M_ARENA_MAX, 1)
    tune(M_MMAP_MAX, 0)
    tune(M_TRIM_THRESHOLD, KEPT_BYTES)


def release() -> None:
    """Return free memory of this process to the system; some milliseconds after large tensors."""
    _glibc("malloc_trim")(0)
