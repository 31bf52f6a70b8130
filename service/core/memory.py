"""How the process holds memory: allocators keep what is free, in case it is wanted again."""

import ctypes
from functools import cache
from typing import Any, Final

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
