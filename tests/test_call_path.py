"""Upper bounds of the calls that a small request makes, so that its path stays short."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import pytest

from tests.rigs.paths import ROOT
from tests.rigs.servers import unmeasured

# By request and count. Measured when each was set; a longer path needs a reason.
BOUNDS: Final[Mapping[str, Mapping[str, int]]] = {
    "matmul 2 x 2": {"calls": 41, "files": 16, "file_switches": 25, "folder_switches": 15},
    "shape mismatch": {"calls": 49, "file_switches": 30},
    "plan": {"calls": 285, "file_switches": 144},
}


@pytest.fixture(scope="module")
def counts() -> dict[str, dict[str, int]]:
    """The counts of each request, by a process of its own, where no other profiler runs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.call_path", "--json"],
        cwd=ROOT,
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


def test_each_request_has_bounds(counts: dict[str, dict[str, int]]) -> None:
    """The script counts the requests that have bounds, and no others."""
    assert counts.keys() == BOUNDS.keys()
    assert all(each["calls"] > 10 for each in counts.values())


@pytest.mark.parametrize("name", BOUNDS)
def test_a_request_keeps_its_bounds(counts: dict[str, dict[str, int]], name: str) -> None:
    """`python -m tests.bench.call_path --trace` shows the calls that are too many."""
    over = {
        each: f"{counts[name][each]} of {bound}"
        for each, bound in BOUNDS[name].items()
        if counts[name][each] > bound
    }
    assert over == {}
