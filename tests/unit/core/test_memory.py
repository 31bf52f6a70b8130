"""Memory goes back to the system where the C library can give it back."""

import ctypes
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from service.core import host as memory


def test_release_changes_nothing_that_is_in_use() -> None:
    """What is allocated stays as it is."""
    x = torch.arange(1_000_000)
    memory.release()
    assert int(x.sum()) == 499_999_500_000


def test_a_c_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only glibc has `malloc_trim` and `mallopt`."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    memory._glibc.cache_clear()
    memory.release()
    memory.share_heap()
    monkeypatch.undo()
    memory._glibc.cache_clear()


HEAPS = """
import ctypes, sys, threading
from service.core import host as memory

if "share" in sys.argv:
    memory.share_heap()
threads = [threading.Thread(target=lambda: b" " * 4000) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
large = bytearray(2**26)
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc alone tells heaps")
@pytest.mark.parametrize(("how", "shared"), [("share", True), ("apart", False)])
def test_threads_share_a_heap(how: str, *, shared: bool) -> None:
    """One heap for all of them, large blocks included; glibc would map these, and make more."""
    command = [sys.executable, "-c", HEAPS, how]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert (told.count("<heap nr=") == 1) is shared, told
    mapped = re.search(r'type="mmap" count="\d+" size="(\d+)"', told)
    assert mapped is not None
    assert (int(mapped[1]) < 2**26) is shared, told
