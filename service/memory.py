"""How the process holds memory: allocators keep what is free, in case it is wanted again."""

import ctypes
from functools import cache
from typing import Any, Final

M_ARENA_MAX: Final = -8  # of glibc's malloc.h


@cache
def _glibc(name: str) -> Any:
    """A function of glibc, or one that does nothing where the C library is another one."""
    return getattr(ctypes.CDLL(None), name, lambda *_: 0)


def share_heap() -> None:
    """Have the threads that start from now on share one heap.

    With one for each, what a thread has freed is free for that thread alone: 8 MB when the service
    is idle, 70 MB after large calls. Tensors are mapped, or few; they do not wait for each other.
    """
    _glibc("mallopt")(M_ARENA_MAX, 1)


def release() -> None:
    """Return free memory of this process to the system; some milliseconds after large tensors."""
    _glibc("malloc_trim")(0)
