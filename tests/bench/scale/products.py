"""Products of stored matrices by the strategy `dask`, on a cluster of this host, and by torch here.

Each worker of the cluster has one thread, and torch has as many threads as there are workers. Both
read their operands from npy files and write the product to one, over whatever is there.
"""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

import httpx
import numpy as np
from dask.array import PerformanceWarning, ones
from dask.array.core import normalize_chunks
from distributed import Client

from service.core.dask_cluster import GREATEST_BLOCK, Cluster
from tests.bench.measurements import machine
from tests.bench.scale.processes import cpu_ns, family
from tests.bench.scale.report import Graph, Plan, Products, Size
from tests.bench.servers import started
from tests.rigs.dask_clusters import Local, local_cluster

# Half of what a container with a small share of a host has: a block is a sixteenth, 32 MiB.
MEMORY: Final = 2**29
DEADLINE_S: Final = 300
HUGE: Final = 100_000
# The largest size that is worth more than three rounds, and a warm-up.
QUICK: Final = 2048


@dataclass(frozen=True, slots=True)
class Bench:
    """A service with a cluster, the folder of both, and a client of the cluster."""

    http: httpx.Client
    folder: Path
    cluster: Client

    def product(self, n: int, strategy: str) -> tuple[float, dict[str, Any]]:
        """Milliseconds that one product took, and the answer."""
        body = {
            "a": {"ref": f"a{n}.npy"},
            "b": {"ref": f"b{n}.npy"},
            "strategy": strategy,
            "output": {"store": "product.npy", "overwrite": True},
        }
        sent = perf_counter_ns()
        answer = self.http.post("/matmul", json=body)
        return (perf_counter_ns() - sent) / 1e6, answer.json()

    def done(self) -> tuple[int, int]:
        """Tasks that all workers have run so far, and bytes that they sent each other."""
        found = self.cluster.run(
            lambda dask_worker: (
                dask_worker.state.executed_count,
                dask_worker.transfer_outgoing_bytes_total,
            )
        )
        tasks, moved = zip(*found.values(), strict=True)
        return sum(tasks), sum(moved)

    def check(self, n: int) -> None:
        """Compare a row of the stored product with numpy's."""
        row = n // 2
        a, b, product = (
            np.load(self.folder / f"{name}.npy", mmap_mode="r")
            for name in (f"a{n}", f"b{n}", "product")
        )
        np.testing.assert_allclose(product[row], a[row] @ b, rtol=1e-9, atol=1e-9)
        (self.folder / "product.npy").unlink()


def refusal(answer: dict[str, Any]) -> str | None:
    """Return the service's reason for refusing a call, None if it was computed."""
    return None if "result" in answer else str(answer["detail"])


def measure_size(bench: Bench, n: int, rounds: int) -> Size:
    """Measure both alternately, after a call of each; the cluster alone where torch refuses."""
    random = np.random.default_rng(n)
    for name in "ab":
        np.save(bench.folder / f"{name}{n}.npy", random.standard_normal((n, n)))
    dask, torch, alone = [], [], []
    tasks = moved = 0
    _, answer = bench.product(n, "torch")
    refused = refusal(answer)
    if n <= QUICK:
        bench.product(n, "dask")
    for _ in range(rounds):
        if refused is None:
            elapsed, answer = bench.product(n, "torch")
            torch.append(elapsed)
            alone.append(float(answer["timing"]["compute_ms"]))
            bench.check(n)
        before = bench.done()
        elapsed, answer = bench.product(n, "dask")
        if (why := refusal(answer)) is not None:
            raise RuntimeError(f"the cluster refused n = {n}: {why}")
        dask.append(elapsed)
        bench.check(n)
        tasks, moved = (b - a for a, b in zip(before, bench.done(), strict=True))
    for name in "ab":
        (bench.folder / f"{name}{n}.npy").unlink()
    return Size(n, dask, torch, alone, tasks, moved, refused)


def measure_graph(bench: Bench, local: Local, side: int, rounds: int) -> Graph:
    """A product in blocks of one element each, by the service's own connection to a cluster."""
    assert local.scheduler is not None
    scheduler = family(local.scheduler.pid)
    workers = [pid for each in local.workers for pid in family(each.pid)]
    cluster = Cluster(local.address)
    cluster.to_blocks([])  # connects
    blocks = ones((side, side), chunks=1)
    seconds, by_scheduler, by_workers = [], [], []
    tasks = 0
    for _ in range(rounds):
        before = cpu_ns(scheduler), cpu_ns(workers), perf_counter_ns(), bench.done()[0]
        with warnings.catch_warnings():
            # There are to be many blocks.
            warnings.simplefilter("ignore", PerformanceWarning)
            product = np.matmul(blocks, blocks)
        found = cluster.fetch(product, DEADLINE_S)
        after = cpu_ns(scheduler), cpu_ns(workers), perf_counter_ns(), bench.done()[0]
        assert (found == side).all()
        own, theirs, elapsed, tasks = (b - a for a, b in zip(before, after, strict=True))
        by_scheduler.append(own / 1e9)
        by_workers.append(theirs / 1e9)
        seconds.append(elapsed / 1e9)
    cluster.close()
    return Graph(side, tasks, seconds, by_scheduler, by_workers)


def huge_plan(http: httpx.Client) -> Plan:
    """Return the service's plan of the product that docs/notes/scale.md is about."""
    shape = {"shape": [HUGE, HUGE], "dtype": "float64"}
    output = {"store": "product.npy"}
    body = {"a": shape, "b": shape, "strategy": "dask", "output": output}
    answer = http.post("/matmul/plan", json=body).json()
    (ours,) = (each for each in answer["strategies"] if each["device"] == "cluster")
    # As the service cuts them for workers with memory enough.
    rows, _ = normalize_chunks("auto", (HUGE, HUGE), limit=GREATEST_BLOCK, dtype=np.float64)
    return Plan(HUGE, len(rows), ours["estimated_ms"] / 1e3, ours["accepted"], ours["reason"])


def measure(
    folder: Path, *, workers: int, sizes: Sequence[int], rounds: int, side: int
) -> Products:
    """Every size, then the costs of a task, on a cluster of this host."""
    data = folder / "data"
    data.mkdir()
    with ExitStack() as stack:
        # What `dask worker` sets by itself where it watches over its worker, which these lack.
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        local = stack.enter_context(
            local_cluster(folder / "workers", workers, memory=MEMORY, variables=alone)
        )
        # One call at a time, by as many threads as the cluster has.
        settings = {
            "SERVICE_DATA": str(data),
            "SERVICE_DASK_SCHEDULER": local.address,
            "SERVICE_DEADLINE_MS": str(DEADLINE_S * 1000),
            "SERVICE_SLOTS": "1",
            "SERVICE_THREADS": str(workers),
        }
        server = stack.enter_context(started("service", None, None, **settings))
        url = f"http://127.0.0.1:{server.port}"
        http = stack.enter_context(httpx.Client(base_url=url, timeout=2 * DEADLINE_S))
        cluster = stack.enter_context(Client(local.address, set_as_default=False))
        cluster.wait_for_workers(workers, timeout=60)
        bench = Bench(http, data, cluster)
        found = [measure_size(bench, n, rounds if n <= QUICK else 3) for n in sizes]
        graph = measure_graph(bench, local, side, rounds)
        plan = huge_plan(http)
    return Products(machine("dask"), workers, MEMORY, found, graph, plan)
