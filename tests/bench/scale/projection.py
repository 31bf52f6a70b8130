"""Projection of the measurements to sizes that this machine is too small for, by arithmetic alone.

Each assumption is one line in docs/notes/scale.md: that cores elsewhere are as quick as these, and
that what is not shared here is not shared there.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

from service.core.dask_cluster import BLOCKS_IN_MEMORY
from tests.bench.scale.report import Cell, ExchangeBytes, Products, Requests

FLOAT64_BYTES: Final = 8
# Dask adds up so many blocks in one task.
SPLIT_EVERY: Final = 4
HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Demand:
    """Cores, and Gbit/s at the clients' side, that a rate of one workload needs."""

    server_cores: float
    proxy_cores: float
    gbit_in: float
    gbit_out: float


def demand(rate: float, cells: list[Cell], exchange: ExchangeBytes) -> Demand:
    """Return the demand of a rate, by the costliest of the cells."""
    server_us = max(cell.figure(lambda each: each.server_us).median for cell in cells)
    proxy_us = max(cell.figure(lambda each: each.proxy_us).median for cell in cells)
    return Demand(
        rate * server_us / 1e6,
        rate * proxy_us / 1e6,
        rate * exchange.sent * 8 / 1e9,
        rate * exchange.received * 8 / 1e9,
    )


def demands(report: Requests, rate: float) -> dict[str, Demand]:
    """Return the demand of a rate by workload, with many clients and a proxy."""
    return {
        name: demand(
            rate,
            [each for each in report.loaded if each.workload == name and each.layout.proxied],
            exchange,
        )
        for name, exchange in report.exchanges.items()
    }


def sums(blocks: int) -> list[int]:
    """Return the tasks that add up the partial products of one block of the result, by level."""
    found = []
    while blocks > 1:
        blocks = ceil(blocks / SPLIT_EVERY)
        found.append(blocks)
    return found


def tasks(blocks: int, *, stored: bool) -> int:
    """Return the tasks of a product of two matrices in blocks x blocks parts, more than one."""
    return blocks**3 + blocks**2 * (sum(sums(blocks)) + stored) + 1


@dataclass(frozen=True, slots=True)
class Product:
    """A blocked product of two n x n float64 matrices by `cores` cores of workers."""

    seconds: float
    core_hours: float
    memory_bytes: int
    tasks: int
    scheduler_s: float
    read_bytes: int
    moved_bytes: int


def product(report: Products, gflops: float, cores: int) -> Product:
    """Return the costs of the huge product by the service's own plan, at so many GFLOP/s a core.

    Each partial product reads two blocks. Moved between workers are at most all partial products
    and all sums but the last: as if no two of them were ever on one worker.
    """
    n, blocks = report.plan.n, report.plan.blocks
    whole = n * n * FLOAT64_BYTES
    count = tasks(blocks, stored=True)
    core_seconds = 2 * n**3 / (gflops * 1e9)
    side = ceil(n / blocks)
    return Product(
        core_seconds / cores,
        core_seconds / HOUR_S,
        cores * BLOCKS_IN_MEMORY * side * side * FLOAT64_BYTES,
        count,
        count * report.graph.per_task_us.median / 1e6,
        2 * blocks * whole,
        (blocks + sum(sums(blocks)[:-1])) * whole,
    )


def gflops(n: int, milliseconds: float, cores: int) -> float:
    """Return the GFLOP/s of each core in a product of two n x n matrices."""
    return 2 * n**3 / (milliseconds * 1e6) / cores
