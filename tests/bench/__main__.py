"""`make bench`: the service against two other apps of the same job, in one interleaved run.

Server and client have a core each. Latency is measured on one connection, the rate on eight; the
figures are medians over rounds, with the range of their middle half.
"""

import argparse
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median, quantiles

import numpy as np
import numpy.typing as npt
import orjson
from rich.console import Console
from rich.table import Table

from service.compare.report import cpu_name
from tests.bench.client import connections, rate, request
from tests.bench.servers import Server, running

JSON = {"Content-Type": "application/json"}
ROUNDS = 9
APPS = ("service", "tuned", "usual")
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table: what is sent to each app."""

    name: str
    n: int
    messages: dict[str, bytes]

    @property
    def exchanges(self) -> int:
        """How many exchanges one round has: about a tenth of a second's worth."""
        return max(3, min(400, 60_000 // self.n**2))


def workloads(sizes: list[int]) -> list[Workload]:
    """JSON float64 and float32 text, and bytes, at each size."""
    return [make(n) for n in sizes for make in (_float64, _float32, _bytes)]


def _float64(n: int) -> Workload:
    body = _json(np.random.default_rng(n).standard_normal((2, n, n)))
    ours = request("/matmul", _with_dtype(body), JSON)
    other = request("/matmul", body, JSON)
    return Workload("JSON float64", n, {"service": ours, "usual": other, "tuned": other})


def _float32(n: int) -> Workload:
    body = _json(np.random.default_rng(n).standard_normal((2, n, n)).astype(np.float32))
    message = request("/matmul", body, JSON)
    return Workload("JSON float32", n, dict.fromkeys(("service", "usual", "tuned"), message))


def _bytes(n: int) -> Workload:
    a, b = np.random.default_rng(n).standard_normal((2, n, n))
    ours = request(
        "/matmul",
        _safetensors(a, b),
        {"Content-Type": "application/x-safetensors", "Accept": "application/octet-stream"},
    )
    return Workload(
        "bytes float64",
        n,
        {"service": ours, "tuned": request("/raw", a.tobytes() + b.tobytes(), {})},
    )


def _json(pair: Array) -> bytes:
    return orjson.dumps({"a": pair[0], "b": pair[1]}, option=orjson.OPT_SERIALIZE_NUMPY)


def _with_dtype(body: bytes) -> bytes:
    return body[:-1] + b',"dtype":"float64"}'


def _safetensors(a: Array, b: Array) -> bytes:
    size = a.nbytes
    spans = {"a": [0, size], "b": [size, 2 * size]}
    header = orjson.dumps(
        {
            name: {"dtype": "F64", "shape": list(a.shape), "data_offsets": span}
            for name, span in spans.items()
        }
    )
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + a.tobytes() + b.tobytes()


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of rounds, and the range of their middle half relative to it."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median round."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        low, _, high = quantiles(self.values, n=4)
        return (high - low) / self.median


Figures = dict[str, Figure]


def measure(workload: Workload, servers: dict[str, Server]) -> tuple[Figures, Figures]:
    """Latency in microseconds on one connection, and requests a second on eight, by app."""
    latencies: dict[str, list[float]] = {name: [] for name in workload.messages}
    rates: dict[str, list[float]] = {name: [] for name in workload.messages}
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(connections(servers[name].port, 8))
            for name in workload.messages
        }
        for turn in range(ROUNDS + 1):
            for name, message in workload.messages.items():
                first = opened[name][0]
                times = [first.exchange(message) for _ in range(workload.exchanges)]
                found = rate(opened[name], message, max(8, workload.exchanges))
                if turn:  # the first round warms up
                    latencies[name].append(median(times) / 1e3)
                    rates[name].append(found)
    return (
        {name: Figure(tuple(values)) for name, values in latencies.items()},
        {name: Figure(tuple(values)) for name, values in rates.items()},
    )


def table(title: str, unit: str) -> Table:
    """An empty table of one kind of figure."""
    found = Table(title=title, caption=f"median of {ROUNDS} rounds, {unit}, ± half the IQR")
    for column in ("body", "n", *APPS, "over tuned", "over usual"):
        found.add_column(column, justify="left" if column == "body" else "right")
    return found


def row(workload: Workload, figures: Figures, *, higher_is_better: bool) -> list[str]:
    """One row: each app, and how many times better the service is."""
    cells = [
        f"{each.median:.4g} ± {50 * each.spread:.0f} %" if each else ""
        for each in (figures.get(name) for name in APPS)
    ]
    for other in ("tuned", "usual"):
        if other not in figures:
            cells.append("")
            continue
        ratio = figures["service"].median / figures[other].median
        cells.append(f"{ratio if higher_is_better else 1 / ratio:.2f}")
    return [workload.name, str(workload.n), *cells]


def machine() -> str:
    """Processor, cores and versions."""
    versions = [f"{name} {version(name)}" for name in ("torch", "numpy", "fastapi", "uvicorn")]
    return ", ".join(
        [f"{os.cpu_count()} x {cpu_name()}", f"Python {platform.python_version()}", *versions]
    )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2, 32, 128, 512, 1024])
    parser.add_argument("--only", nargs="*", help="such as: JSON bytes")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("the bench needs two cores, one for the client")
    os.sched_setaffinity(0, {cores[1]})
    console = Console(width=120)
    console.print(machine())
    latency, rates = table("Latency, one connection", "us"), table("Rate, eight connections", "1/s")
    with running(list(APPS), cores[0]) as servers:
        idle = servers["service"].memory_bytes()
        for workload in workloads(options.sizes):
            if options.only and not any(word in workload.name for word in options.only):
                continue
            times, found = measure(workload, servers)
            latency.add_row(*row(workload, times, higher_is_better=False))
            rates.add_row(*row(workload, found, higher_is_better=True))
            console.print(f"measured {workload.name}, n = {workload.n}", style="dim")
        peak = servers["service"].memory_bytes("VmHWM")
        after = servers["service"].memory_bytes()
    console.print(latency, rates)
    console.print(
        f"service memory: idle {idle / 1e6:.0f} MB, peak {peak / 1e6:.0f}, after {after / 1e6:.0f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
