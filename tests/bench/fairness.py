"""`make bench-fairness`: latency of a 2 x 2 product beside expensive calls.

Server and clients share the cores as they come. Each load is one call after another on each of its
connections, by a process of its own; the small products come one at a time, with pauses.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import quantiles

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.client import Connection, connections, load, request
from tests.bench.measurements import machine
from tests.bench.servers import started
from tests.bench.workloads import BYTES, JSON, json_pair, safetensors_pair

WARM_S = 5
PAUSE_S = 0.002
SMALL = request("/matmul", b'{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}', JSON)


@dataclass(frozen=True, slots=True)
class Load:
    """A call that is repeated beside the small products."""

    name: str
    message: bytes
    connections: int = 1


def loads() -> Iterator[Load]:
    """Yield loops that hold the interpreter, a body of text, and one of bytes."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 30, 30))
    loops = json_pair(a, b)[:-1] + b',"strategy":"loops"}'
    yield Load("two calls of loops", request("/matmul", loops, JSON), connections=2)
    a, b = rng.standard_normal((2, 640, 640))
    yield Load("JSON", request("/matmul", json_pair(a, b), JSON))
    a, b = rng.standard_normal((2, 2048, 2048))
    yield Load("bytes", request("/matmul", safetensors_pair(a, b), BYTES))


def generate(port: int, message: bytes, count: int) -> None:
    """Generate a load in this process until it is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with connections(port, count) as opened:
        load(opened, message, lambda _: True)


@contextmanager
def beside(port: int, what: Load) -> Iterator[None]:
    """Run a load in another process until the end of the block."""
    process = get_context("spawn").Process(
        target=generate, args=(port, what.message, what.connections)
    )
    process.start()
    time.sleep(WARM_S)
    try:
        yield
        if not process.is_alive():
            raise RuntimeError(f"the load has ended: {what.name}")
    finally:
        process.terminate()
        process.join()


def small_ms(port: int, seconds: float) -> list[float]:
    """Milliseconds of each of the small products."""
    connection, found = Connection(port), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found.append(connection.exchange(SMALL) / 1e6)
        time.sleep(PAUSE_S)
    connection.socket.close()
    return found


def row(name: str, times: list[float]) -> list[str]:
    """Median, 99th percentile and maximum."""
    centiles = quantiles(times, n=100)
    return [
        name,
        str(len(times)),
        *(f"{ms:.2f}" for ms in (centiles[49], centiles[98], max(times))),
    ]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.bench.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="beside each load (20)")
    seconds = parser.parse_args().seconds
    found = Table(title="2 x 2, one at a time", caption="milliseconds")
    for column in ("beside", "products", "p50", "p99", "slowest"):
        found.add_column(column, justify="left" if column == "beside" else "right")
    with started("service", None) as server:
        time.sleep(WARM_S)
        found.add_row(*row("nothing", small_ms(server.port, seconds)))
        for what in loads():
            with beside(server.port, what):
                name = f"{what.name}, {len(what.message) / 1e6:.3g} MB"
                found.add_row(*row(name, small_ms(server.port, seconds)))
    console = Console(width=120)
    console.print(machine())
    console.print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
