"""Cores and memory, as control groups of both versions state them."""

import os
from pathlib import Path

import pytest

from service.core.host import cores, memory_bytes

HOST = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


def tree(root: Path, **files: str) -> Path:
    """A root with these files; `__` stands for `/` in a name, and `_dot_` for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_no_control_groups(tmp_path: Path, many_cores: None) -> None:
    """The host's own numbers."""
    assert cores(tmp_path) == 16
    assert memory_bytes(tmp_path) == HOST
    assert cores() >= 1
    assert 0 < memory_bytes() <= HOST


def test_version_2(tmp_path: Path, many_cores: None) -> None:
    """The least of the group's own limits and those around it."""
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
    """The path may be the host's: what can be seen is at the top."""
    root = tree(
        tmp_path,
        proc__self__cgroup="0::/system.slice/docker-1234.scope\n",
        sys__fs__cgroup__cpu_dot_max="50000 100000\n",
        sys__fs__cgroup__memory_dot_max="2000000\n",
    )
    assert cores(root) == 1
    assert memory_bytes(root) == 2_000_000


def test_version_1(tmp_path: Path, many_cores: None) -> None:
    """A folder for each controller; -1 is no quota, and an immense number no limit."""
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
