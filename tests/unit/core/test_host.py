"""Cores and memory as control groups of both versions limit them, and glibc's heap."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from service.core import host
from service.core.host import cores, memory_bytes

HOST = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the host appear to have 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


def tree(root: Path, **files: str) -> Path:
    """Write files below a root; `__` stands for `/` in a name, and `_dot_` for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_no_control_groups(tmp_path: Path, many_cores: None) -> None:
    """The numbers are those of the host."""
    assert cores(tmp_path) == 16
    assert memory_bytes(tmp_path) == HOST
    assert cores() >= 1
    assert 0 < memory_bytes() <= HOST


def test_version_2(tmp_path: Path, many_cores: None) -> None:
    """The lowest limit of the group and its ancestors counts."""
    root = tree(
        tmp_path,
        proc__self__cgroup="0::/outer/inner\n",
        sys__fs__cgroup__outer__inner__cpu_dot_max="max 100000\n",
        sys__fs__cgroup__outer__cpu_dot_max="350000 100000\n",
        sys__fs__cgroup__outer__inner__memory_dot_max="1000000\n",
        sys__fs__cgroup__outer__memory_dot_max="max\n",
    )
    assert cores(root) == 3
    assert memory_bytes(root) == 1_000_000


def test_version_2_inside_a_container(tmp_path: Path, many_cores: None) -> None:
    """The path may be the host's, while the group is mounted as the top folder."""
    root = tree(
        tmp_path,
        proc__self__cgroup="0::/system.slice/docker-1234.scope\n",
        sys__fs__cgroup__cpu_dot_max="50000 100000\n",
        sys__fs__cgroup__memory_dot_max="2000000\n",
    )
    assert cores(root) == 1
    assert memory_bytes(root) == 2_000_000


def test_version_1(tmp_path: Path, many_cores: None) -> None:
    """Each controller has a folder; -1 means no quota, and an immense number no limit."""
    root = tree(
        tmp_path,
        proc__self__cgroup="5:cpu,cpuacct:/a\n4:memory:/a\n3:pids:/a\n",
        sys__fs__cgroup__cpu__a__cpu_dot_cfs_quota_us="200000\n",
        sys__fs__cgroup__cpu__a__cpu_dot_cfs_period_us="100000\n",
        sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="-1\n",
        sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000\n",
        sys__fs__cgroup__memory__a__memory_dot_limit_in_bytes="3000000\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712\n",
    )
    assert cores(root) == 2
    assert memory_bytes(root) == 3_000_000


def test_trimming_changes_nothing_that_is_in_use() -> None:
    """Allocated memory keeps its content."""
    x = torch.arange(1_000_000)
    host.trim_memory()
    assert int(x.sum()) == 499_999_500_000


def test_a_c_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `malloc_trim` and `mallopt` nothing happens."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    host._glibc.cache_clear()
    host.trim_memory()
    host.share_heap()
    monkeypatch.undo()
    host._glibc.cache_clear()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {"GOMP_SPINCOUNT": "10000"}, id="by default"),
        pytest.param({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}, id="a stated count"),
        pytest.param({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}, id="a policy"),
    ],
)
def test_idle_threads_sleep_soon(
    given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator has set stays."""
    monkeypatch.setattr(os, "environ", given)
    host.limit_spins()
    assert given == expected


HEAPS = """
import ctypes, sys, threading
from service.core import host

if "share" in sys.argv:
    host.share_heap()
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


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="needs malloc_info of glibc"
)
@pytest.mark.parametrize(("how", "shared"), [("share", True), ("apart", False)])
def test_threads_share_a_heap(how: str, *, shared: bool) -> None:
    """One heap serves all of them, large blocks included; by default glibc has several."""
    command = [sys.executable, "-c", HEAPS, how]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert (text.count("<heap nr=") == 1) is shared, text
    mapped = re.search(r'type="mmap" count="\d+" size="(\d+)"', text)
    assert mapped is not None
    assert (int(mapped[1]) < 2**26) is shared, text
