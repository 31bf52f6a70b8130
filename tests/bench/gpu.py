"""Timings of a GPU behind the service, each beside the same work without the service.

- Products of bytes: upload, computing and download as the answer states them, over cuBLAS and the
  same copies from and to pinned memory, timed in this process between the rounds.
- A 2 x 2 product in JSON, by the device process and on the CPU of the server.
- One client, then eight: calls per second, and the share of the time, without the copies, in which
  the device computes.

With `--rehearsal` the device process computes on the CPU, and so does what stands beside. Under
load each call also sleeps there, as the server waits for a GPU without using a core.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save

from tests.bench.client import Connection, connections, request
from tests.bench.measurements import Figure, machine
from tests.bench.servers import started

SIZES: Final = (1024, 4096, 8192)
DTYPES: Final = (torch.float32, torch.float16)
CLIENTS: Final = (1, 8)
LOAD_S: Final = 4.0
CALLS: Final = 5  # of one round
# Request id that lets a device process of the rehearsal sleep for 10 ms.
SLEEPING: Final = {"X-Request-ID": "wait-10"}
COPIES: Final = ("upload", "download")
BYTES: Final = {
    "Content-Type": "application/x-safetensors",
    "Accept": "application/octet-stream",
}
# An 8192 x 8192 matrix, and two of them in one body.
LIMITS: Final = {
    "SERVICE_MAX_ELEMENTS": str(1 << 27),
    "SERVICE_MAX_BODY_BYTES": str(1 << 30),
    "SERVICE_MAX_BYTES": str(4 << 30),
}


def product(n: int, dtype: torch.dtype, headers: dict[str, str] | None = None) -> bytes:
    """Return the request of a product of two n x n matrices as bytes, on the GPU."""
    generator = torch.Generator().manual_seed(n)
    a, b = (torch.randn(n, n, generator=generator).to(dtype) for _ in range(2))
    return request(
        "/matmul?device=cuda&strategy=torch", save({"a": a, "b": b}), BYTES | (headers or {})
    )


def small(device: str) -> bytes:
    """Return the request of a 2 x 2 product in JSON."""
    body = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]], "strategy": "torch", "device": device}
    return request("/matmul", json.dumps(body).encode(), {"Content-Type": "application/json"})


def device_ms(connection: Connection, message: bytes) -> float:
    """Return the median time that calls take for copies and computing."""
    found = []
    for _ in range(CALLS):
        connection.exchange(message)
        phases = connection.phases_us()
        found.append(sum(phases[name] for name in (*COPIES, "compute")) / 1e3)
    return median(found)


def alone(n: int, dtype: torch.dtype, device: str) -> Callable[[], float]:
    """Return a function that times copies and product without the service, in milliseconds.

    The memory of the host is pinned, as the fastest copies need it.
    """
    is_cuda = device != "cpu"
    host = [torch.randn(n, n).to(dtype) for _ in range(2)]
    if is_cuda:
        host = [each.pin_memory() for each in host]
    back = torch.empty(n, n, dtype=dtype, pin_memory=is_cuda)

    def time_once() -> float:
        synchronize(device)
        began = perf_counter_ns()
        # `copy`, so that the rehearsal copies, too.
        a, b = (each.to(device, non_blocking=True, copy=True) for each in host)
        back.copy_(a @ b)
        synchronize(device)
        return (perf_counter_ns() - began) / 1e6

    return lambda: median(time_once() for _ in range(CALLS))


def synchronize(device: str) -> None:
    """Wait until the GPU has done all work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def products(port: int, sizes: Iterable[int], rounds: int, device: str) -> list[dict[str, object]]:
    """Time products of bytes by the service and without it, in alternating rounds."""
    rows: list[dict[str, object]] = []
    for n in sizes:
        for dtype in DTYPES:
            message, beside = product(n, dtype), alone(n, dtype, device)
            ours, theirs = [], []
            with connections(port, 1) as (connection,):
                for number in range(rounds + 1):
                    pair = device_ms(connection, message), beside()
                    if number:  # the first round warms up
                        ours.append(pair[0])
                        theirs.append(pair[1])
            ratios = Figure(tuple(a / b for a, b in zip(ours, theirs, strict=True)))
            rows.append(
                {
                    "n": n,
                    "dtype": str(dtype).removeprefix("torch."),
                    "service_ms": median(ours),
                    "alone_ms": median(theirs),
                    "ratio": ratios.median,
                    "spread": ratios.spread,
                }
            )
    return rows


def hop(port: int, rounds: int) -> dict[str, float]:
    """Time a 2 x 2 product on the GPU and on the CPU, in milliseconds at the client."""
    times: dict[str, list[float]] = {"cuda": [], "cpu": []}
    with connections(port, 1) as (connection,):
        for number in range(rounds + 1):
            for name, found in times.items():
                each = median(connection.exchange(small(name)) / 1e6 for _ in range(50))
                if number:
                    found.append(each)
    cuda_ms, cpu_ms = (median(times[name]) for name in ("cuda", "cpu"))
    return {"cuda_ms": cuda_ms, "cpu_ms": cpu_ms, "more_ms": cuda_ms - cpu_ms}


def load(port: int, message: bytes, clients: int, seconds: float) -> dict[str, float]:
    """Let so many clients call at a time; return the share in which the device computes."""
    with connections(port, clients) as opened, ThreadPoolExecutor(clients) as pool:
        for connection in opened:
            connection.exchange(message)
        began = perf_counter()
        found = list(pool.map(partial(_calls, message, began + seconds), opened))
        elapsed_ms = (perf_counter() - began) * 1e3
    phases = [each for calls in found for each in calls]
    compute = sum(each["compute"] for each in phases) / 1e3
    copies = sum(each[name] for each in phases for name in COPIES) / 1e3
    return {
        "clients": clients,
        "calls": len(phases),
        "calls_per_s": len(phases) / elapsed_ms * 1e3,
        "elapsed_ms": elapsed_ms,
        "compute_ms": compute,
        "copies_ms": copies,
        "busy": compute / max(elapsed_ms - copies, compute),
    }


def _calls(message: bytes, until: float, connection: Connection) -> list[dict[str, float]]:
    found = []
    while perf_counter() < until:
        connection.exchange(message)
        found.append(connection.phases_us())
    return found


def table(rows: Iterable[dict[str, Any]]) -> Table:
    """Return the table of the products."""
    caption = "ms, upload + compute + download; median, and ± half the IQR of the ratio"
    found = Table(title="Products of bytes", caption=caption)
    for column in ("n", "dtype", "service", "alone", "ratio"):
        found.add_column(column, justify="right")
    for each in rows:
        ratio = f"{each['ratio']:.2f} ± {50 * each['spread']:.0f} %"
        cells = (f"{each['service_ms']:.4g}", f"{each['alone_ms']:.4g}", ratio)
        found.add_row(str(each["n"]), each["dtype"], *cells)
    return found


def main() -> None:
    """Print the tables, and save the figures."""
    parser = argparse.ArgumentParser("python -m tests.bench.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rehearsal", action="store_true", help="compute on the CPU")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="*")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    rehearsal = options.rehearsal
    sizes = options.sizes or ((256, 512) if rehearsal else SIZES)
    console = Console(width=100)
    with started("rehearsal" if rehearsal else "service", None, None, **LIMITS) as server:
        rows = products(server.port, sizes, options.rounds, "cpu" if rehearsal else "cuda:0")
        small_calls = hop(server.port, options.rounds)
        n = min(1024, *sizes)
        message = product(n, torch.float32, SLEEPING if rehearsal else {})
        loads = [load(server.port, message, clients, LOAD_S) for clients in CLIENTS]
    console.print(machine())
    console.print(table(rows))
    console.print(
        f"2 x 2 in JSON: {small_calls['cuda_ms']:.3g} ms by the device process, "
        f"{small_calls['cpu_ms']:.3g} ms on the CPU"
    )
    for each in loads:
        console.print(
            f"{each['clients']} clients, n = {n}: {each['calls_per_s']:.0f} calls/s; the device "
            f"computes in {each['busy']:.0%} of the time that the copies leave"
        )
    if options.json is not None:
        figures = {"products": rows, "small": small_calls, "load": loads}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
