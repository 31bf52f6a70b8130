"""Gives memory that is free back to the system: allocators keep it, in case it is wanted again."""

import ctypes
from functools import cache
from typing import Any


@cache
def _trim() -> Any:
    """glibc's `malloc_trim`, or None where the C library is another one."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def release() -> None:
    """Return free memory of this process to the system; some milliseconds after large tensors."""
    trim = _trim()
    if trim is not None:
        trim(0)
