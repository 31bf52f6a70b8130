"""`make bench-scale` on sizes that take no time, and the arithmetic behind its tables."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from tests.bench.client import Load
from tests.bench.measurements import Figure
from tests.bench.scale.__main__ import main
from tests.bench.scale.projection import Demand, demand, gflops, product, sums, tasks
from tests.bench.scale.report import (
    Cell,
    ExchangeBytes,
    Graph,
    Layout,
    Plan,
    Products,
    Round,
    read_products,
    read_requests,
)
from tests.bench.scale.time_slices import time_sliced
from tests.rigs.paths import ROOT
from tests.rigs.requirements import needs
from tests.rigs.servers import unmeasured

PNG = b"\x89PNG\r\n\x1a\n"


def bench(folder: Path, *options: str) -> str:
    """The printed report; its files are in `folder`."""
    command = [sys.executable, "-m", "tests.bench.scale", *options]
    return subprocess.run(
        [*command, "--rounds", "1", "--files", str(folder)],
        cwd=ROOT,
        env=unmeasured(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@needs("nginx")
def test_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each part has cost something, and the file gives the same tables again, and pictures."""
    short = ("--seconds", "0.05", "--instances", "1", "--work", "16")
    printed = bench(tmp_path, "requests", *short)
    # Four of rates, two of costs, one of growth and one of what is reckoned.
    assert printed.count("| 16 x 16, stored") == 4 + 2 + 1 + 1
    report = read_requests(tmp_path / "requests.json")
    for cell in report.cells:
        (found,) = cell.rounds
        assert found.rate > 0
        assert found.server_us > 0
        assert (found.proxy_us > 0) == cell.layout.proxied
        assert 0 < found.p50_ms <= found.p99_ms
    assert main(["requests", "--read", "--files", str(tmp_path), "--plot", str(tmp_path)]) == 0
    assert capsys.readouterr().out == printed
    for name in ("rate", "cost", "growth"):
        assert (tmp_path / f"scale-{name}.png").read_bytes().startswith(PNG)


@needs("dask")
def test_products(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways are timed, and the file gives the same tables again, and a picture."""
    printed = bench(tmp_path, "products", "--sizes", "2", "64", "--graph", "3")
    report = read_products(tmp_path / "products.json")
    assert [size.n for size in report.sizes] == [2, 64]
    assert all(size.dask_ms and size.torch_ms and size.alone_ms for size in report.sizes)
    assert report.graph.tasks == tasks(3, stored=False)
    assert f"{tasks(report.plan.blocks, stored=True):,} tasks" in printed
    assert main(["products", "--read", "--files", str(tmp_path), "--plot", str(tmp_path)]) == 0
    assert capsys.readouterr().out == printed
    assert (tmp_path / "scale-products.png").read_bytes().startswith(PNG)


@needs("dask")
@pytest.mark.parametrize("blocks", [2, 4, 5, 9])
def test_tasks_are_those_of_dask(blocks: int) -> None:
    """As many as Dask makes of a product in so many blocks, but for the one that gathers them."""
    import dask
    from dask.array import ones

    square = ones((blocks, blocks), chunks=1)
    (optimized,) = dask.optimize(np.matmul(square, square))
    assert len(dict(optimized.dask)) == tasks(blocks, stored=False) - 1


def test_sums() -> None:
    """Four at a time, level by level."""
    assert (sums(1), sums(4), sums(25)) == ([], [1], [7, 2, 1])
    assert tasks(4, stored=True) == 64 + 16 * 2 + 1


def test_demand() -> None:
    """By the dearest layout, in cores and Gbit/s."""
    rounds = [Round(1.0, 1.0, 1.0, us, us / 2, 0.0, 2.0) for us in (40.0, 50.0, 90.0)]
    cells = [
        Cell("tiny", Layout(1, True, 16), rounds),
        Cell("tiny", Layout(2, True, 16), rounds[:1]),
    ]
    assert demand(100_000, cells, ExchangeBytes(1_000, 500)) == Demand(5.0, 2.5, 0.8, 0.4)


def test_product() -> None:
    """Two cores of 1 GFLOP/s, 4000 x 4000 in 4 x 4 blocks of 8 MB."""
    graph = Graph(2, 100, [1.0], [0.1], [0.1])
    report = Products("", 2, 2**29, [], graph, Plan(4000, 4, 1.0, accepted=True, reason=None))
    found = product(report, 1.0, 2)
    assert (found.seconds, found.core_hours) == (64.0, 128 / 3600)
    assert found.memory_bytes == 2 * 16 * 8_000_000
    assert found.tasks == 97
    assert found.scheduler_s == pytest.approx(0.097)
    assert (found.read_bytes, found.moved_bytes) == (8 * 128_000_000, 4 * 128_000_000)
    assert gflops(4000, 64_000, 2) == 1.0


def test_steady_rate() -> None:
    """Answers while the load runs out do not count, unless they are nearly all."""
    second = 1_000_000_000
    found = Load(9 * second, [second] * 4, [second, 2 * second, 3 * second, 9 * second])
    assert found.steady_rate(4 * second) == 1.0
    assert found.steady_rate(second) == found.rate == pytest.approx(4 / 9)


def test_spread_of_one_round() -> None:
    """There is none."""
    assert str(Figure((2.0,))) == "2 ± 0 %"


def test_processes_run_in_time_slices() -> None:
    """Each is stopped most of the time, and runs again at the end."""
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    try:
        with time_sliced([each.pid for each in sleepers]):
            for each in sleepers:
                until_state(each.pid, "T")
        for each in sleepers:
            until_state(each.pid, "S")
        with pytest.raises(ValueError, match="too many"), time_sliced(range(5)):
            pass
    finally:
        for each in sleepers:
            os.kill(each.pid, signal.SIGKILL)
            each.wait()


def until_state(pid: int, state: str) -> None:
    """Wait until a process is in a state, as Linux names it."""
    until = monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != state:
        assert monotonic() < until, f"{pid} is never in state {state}"
        sleep(0.001)
