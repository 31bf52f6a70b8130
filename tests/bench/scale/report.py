"""Records of the measurements, written to JSON files and read back from them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tests.bench.measurements import Figure


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one layout: answers a second, their latencies, and CPU time of each part."""

    rate: float
    p50_ms: float
    p99_ms: float
    server_us: float
    proxy_us: float
    client_us: float
    busy_cores: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Number of instances, with or without a proxy before them, and number of clients.

    Time-sliced, each instance runs for a fifth of the time, and no two at once.
    """

    instances: int
    proxied: bool
    connections: int
    time_sliced: bool = False

    @property
    def is_alone(self) -> bool:
        """True if there is one client."""
        return self.connections == 1

    def __str__(self) -> str:
        """Return the layout in words."""
        return f"proxy, {self.instances}" if self.proxied else "one, no proxy"


@dataclass(frozen=True, slots=True)
class Cell:
    """A workload on a layout."""

    workload: str
    layout: Layout
    rounds: list[Round]

    def figure(self, of: Callable[[Round], float]) -> Figure:
        """One number of each round."""
        return Figure(tuple(of(each) for each in self.rounds))


@dataclass(frozen=True, slots=True)
class ExchangeBytes:
    """Bytes of a request and of its answer, heads included."""

    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Requests:
    """Instances behind the proxy."""

    machine: str
    cores: int
    exchanges: dict[str, ExchangeBytes]
    cells: list[Cell]

    @property
    def loaded(self) -> list[Cell]:
        """The cells of many clients, all instances running at once."""
        return [
            each for each in self.cells if not (each.layout.is_alone or each.layout.time_sliced)
        ]

    @property
    def time_sliced(self) -> list[Cell]:
        """The cells whose instances run in time slices."""
        return [each for each in self.cells if each.layout.time_sliced]


@dataclass(frozen=True, slots=True)
class Size:
    """The product of two stored n x n matrices, stored again: by the cluster, and here.

    Milliseconds of whole requests, by rounds; `alone_ms` is the product without files or HTTP. A
    size that this host refuses has its reason instead.
    """

    n: int
    dask_ms: list[float]
    torch_ms: list[float]
    alone_ms: list[float]
    tasks: int
    moved_bytes: int
    refused: str | None


@dataclass(frozen=True, slots=True)
class Graph:
    """A product in blocks of one element, which costs nothing but tasks."""

    side: int
    tasks: int
    seconds: list[float]
    scheduler_s: list[float]
    worker_s: list[float]

    @property
    def per_task_us(self) -> Figure:
        """Microseconds of the scheduler's processor time for a task."""
        return Figure(tuple(each / self.tasks * 1e6 for each in self.scheduler_s))


@dataclass(frozen=True, slots=True)
class Plan:
    """The service's own plan of a product that is not computed, in `blocks` each way."""

    n: int
    blocks: int
    estimated_s: float
    accepted: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Products:
    """The strategy `dask` against torch here."""

    machine: str
    workers: int
    memory_bytes: int
    sizes: list[Size]
    graph: Graph
    plan: Plan


Report = Requests | Products


def write(report: Report, path: Path) -> None:
    """Write it as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TypeAdapter(type(report)).dump_json(report, indent=1) + b"\n")


def read_requests(path: Path) -> Requests:
    """Read a report that `write` wrote."""
    return TypeAdapter(Requests).validate_json(path.read_bytes())


def read_products(path: Path) -> Products:
    """Read a report that `write` wrote."""
    return TypeAdapter(Products).validate_json(path.read_bytes())
