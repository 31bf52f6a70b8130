"""Timings of a GPU behind the service, each beside the same work without the service, and its goal.

- A 2 x 2 product in JSON, by the device process and on the CPU of the server.
- One client, then eight: calls per second, and the share of the time, without the copies, in which
  the device computes.
- Products of bytes: upload, computing and download as the answer states them, over cuBLAS and the
  same copies from and to pinned memory. These are timed by events of the GPU in this process,
  between the rounds.

With `--rehearsal` the device process computes on the CPU, and so does what stands beside; the goals
are those of a GPU. Under load each call also sleeps there, as the server waits for a GPU without
using a core.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns, sleep
from typing import Any, Final

import httpx
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save

from service.core.devices import host_devices
from tests.bench.client import Connection, connections, request
from tests.bench.measurements import Figure, machine
from tests.bench.servers import started

SIZES: Final = (1024, 4096, 8192)
DTYPES: Final = (torch.float32, torch.float16)
CLIENTS: Final = (1, 8)
LOAD_S: Final = 4.0
# Of all timings. The products get what the others leave.
SECONDS: Final = 150.0
# The last round of the largest product may take so long, and the server to end.
RESERVE_S: Final = 30.0
# The device process loads CUDA, and measures its strategies.
START_S: Final = 120.0
# Upload, product and download, over the same without the service.
MOST_RATIO: Final = 1.2
# A 2 x 2 product by the device process, over one in the server.
MOST_HOP_MS: Final = 0.3
# The share of the time without copies in which the device computes for CLIENTS[-1] clients.
LEAST_BUSY: Final = 0.6
CALLS: Final = 5  # of one round
# Request id that lets a device process of the rehearsal sleep for 10 ms.
SLEEPING: Final = {"X-Request-ID": "wait-10"}
COPIES: Final = ("upload", "download")
BYTES: Final = {
    "Content-Type": "application/x-safetensors",
    "Accept": "application/octet-stream",
}
# An 8192 x 8192 matrix, and two of them in one body. Strategies and devices are named: to measure
# the other dtypes, and to compile for them, would only take the device's time.
SETTINGS: Final = {
    "SERVICE_CALIBRATE": "false",
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


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds that a product takes for its copies, and for computing."""

    copies: float
    compute: float

    @property
    def total(self) -> float:
        """Return both together."""
        return self.copies + self.compute

    @classmethod
    def median(cls, found: Iterable["Times"]) -> "Times":
        """Return the medians."""
        return cls(*map(median, zip(*((each.copies, each.compute) for each in found), strict=True)))


def by_service(connection: Connection, message: bytes) -> Times:
    """Return the median times of calls, as the service states them."""
    found = []
    for _ in range(CALLS):
        connection.exchange(message)
        phases = connection.phases_us()
        copies = sum(phases[name] for name in COPIES)
        found.append(Times(copies / 1e3, phases["compute"] / 1e3))
    return Times.median(found)


class HostEvent:
    """The clock of the host, with the methods of `torch.cuda.Event`."""

    def record(self) -> None:
        """Take the time."""
        self.ns = perf_counter_ns()

    def elapsed_time(self, end: "HostEvent") -> float:
        """Return the milliseconds until another event."""
        return (end.ns - self.ns) / 1e6


def alone(n: int, dtype: torch.dtype, device: str) -> Callable[[], Times]:
    """Return a function that times copies and product without the service.

    The memory of the host is pinned, as the fastest copies need it.
    """
    is_cuda = device != "cpu"
    host = [torch.randn(n, n).to(dtype) for _ in range(2)]
    if is_cuda:
        host = [each.pin_memory() for each in host]
    back = torch.empty(n, n, dtype=dtype, pin_memory=is_cuda)
    make: Any = partial(torch.cuda.Event, enable_timing=True) if is_cuda else HostEvent
    events = [make() for _ in range(4)]
    begin, uploaded, computed, end = events

    def time_once() -> Times:
        synchronize(device)
        begin.record()
        # `copy`, so that the rehearsal copies, too.
        a, b = (each.to(device, non_blocking=True, copy=True) for each in host)
        uploaded.record()
        c = a @ b
        computed.record()
        back.copy_(c, non_blocking=True)
        end.record()
        synchronize(device)
        up, compute, down = (one.elapsed_time(other) for one, other in pairwise(events))
        return Times(up + down, compute)

    return lambda: Times.median(time_once() for _ in range(CALLS))


def synchronize(device: str) -> None:
    """Wait until the GPU has done all work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def products(
    port: int, sizes: Iterable[int], rounds: int, device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """Time products of bytes by the service and without it, in alternating rounds.

    Each product has one round at least. More end when its share of the time is over, to which what
    the ones before have left is added.
    """
    pairs = [(n, dtype) for n in sizes for dtype in DTYPES]
    began = perf_counter()
    for count, (n, dtype) in enumerate(pairs, 1):
        message, beside = product(n, dtype), alone(n, dtype, device)
        ours: list[Times] = []
        theirs: list[Times] = []
        with connections(port, 1) as (connection,):
            by_service(connection, message), beside()  # to warm up
            while not ours or (
                len(ours) < rounds and perf_counter() - began < seconds * count / len(pairs)
            ):
                ours.append(by_service(connection, message))
                theirs.append(beside())
        ratios = Figure(tuple(a.total / b.total for a, b in zip(ours, theirs, strict=True)))
        copied = 3 * n * n * dtype.itemsize
        found, reference = Times.median(ours), Times.median(theirs)
        yield {
            "n": n,
            "dtype": str(dtype).removeprefix("torch."),
            "rounds": len(ours),
            "service_ms": asdict(found),
            "alone_ms": asdict(reference),
            "alone_gb_per_s": copied / reference.copies / 1e6,
            "ratio": ratios.median,
            "spread": ratios.spread,
            "most_ratio": MOST_RATIO,
            "is_met": ratios.median <= MOST_RATIO,
        }


def hop(port: int, rounds: int) -> dict[str, Any]:
    """Time a 2 x 2 product on the GPU and on the CPU, in milliseconds at the client."""
    times: dict[str, list[float]] = {"cuda": [], "cpu": []}
    with connections(port, 1) as (connection,):
        for number in range(rounds + 1):
            for name, found in times.items():
                each = median(connection.exchange(small(name)) / 1e6 for _ in range(50))
                if number:
                    found.append(each)
    cuda_ms, cpu_ms = (median(times[name]) for name in ("cuda", "cpu"))
    more_ms = cuda_ms - cpu_ms
    return {
        "cuda_ms": cuda_ms,
        "cpu_ms": cpu_ms,
        "more_ms": more_ms,
        "most_ms": MOST_HOP_MS,
        "is_met": more_ms <= MOST_HOP_MS,
    }


def load(port: int, message: bytes, clients: int, seconds: float) -> dict[str, Any]:
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
    busy = compute / max(elapsed_ms - copies, compute)
    return {
        "clients": clients,
        "calls": len(phases),
        "calls_per_s": len(phases) / elapsed_ms * 1e3,
        "elapsed_ms": elapsed_ms,
        "compute_ms": compute,
        "copies_ms": copies,
        "busy": busy,
        "least_busy": LEAST_BUSY,
        "is_met": busy >= LEAST_BUSY,
    }


def _calls(message: bytes, until: float, connection: Connection) -> list[dict[str, float]]:
    found = []
    while perf_counter() < until:
        connection.exchange(message)
        found.append(connection.phases_us())
    return found


def table(rows: Iterable[dict[str, Any]]) -> Table:
    """Return the table of the products."""
    caption = "ms by the service / without it; median ratio of the sums, ± half its IQR"
    found = Table(title="Products of bytes", caption=caption)
    for column in ("n", "dtype", "copies", "GB/s", "compute", "ratio", ""):
        found.add_column(column, justify="right")
    for each in rows:
        pairs = [
            f"{each['service_ms'][phase]:.3g} / {each['alone_ms'][phase]:.3g}"
            for phase in ("copies", "compute")
        ]
        ratio = f"{each['ratio']:.2f} ± {50 * each['spread']:.0f} %"
        cells = pairs[0], f"{each['alone_gb_per_s']:.3g}", pairs[1], ratio
        found.add_row(str(each["n"]), each["dtype"], *cells, goal(each, f"≤ {each['most_ratio']}"))
    return found


def goal(figure: dict[str, Any], words: str) -> str:
    """Return a goal in words, and whether a figure meets it."""
    return f"goal {words}: {'met' if figure['is_met'] else 'not met'}"


def show(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures, each beside its goal."""
    small = figures["small"]
    most = goal(small, f"≤ {small['most_ms']} ms")
    console.print(machine())
    console.print(
        f"2 x 2 in JSON: {small['cuda_ms']:.3g} ms by the device process, {small['cpu_ms']:.3g} ms "
        f"on the CPU: {small['more_ms']:.3g} ms more ({most})"
    )
    for each in figures["load"]:
        line = f"n = {each['n']}, clients: {each['clients']}, {each['calls_per_s']:.0f} calls/s"
        told = f"the device computes in {each['busy']:.0%} of the time that the copies leave"
        if each["clients"] == CLIENTS[-1]:
            least = goal(each, f"≥ {each['least_busy']:.0%}")
            told += f" ({least})"
        console.print(f"{line}; {told}")
    console.print(table(figures["products"]))


def wait_for_devices(port: int) -> None:
    """Wait until all devices of a server are ready; RuntimeError with the reason if one is not."""
    deadline = perf_counter() + START_S
    while True:
        devices = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=START_S).json()
        reasons = [reason for reason in devices["devices"].values() if reason is not None]
        if not reasons:
            return
        if perf_counter() > deadline:
            raise RuntimeError(f"not ready after {START_S:.0f} s: {reasons[0]}")
        sleep(0.1)


def main() -> None:
    """Print the tables, and save the figures, each as soon as it is known."""
    began = perf_counter()
    parser = argparse.ArgumentParser("python -m tests.bench.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rehearsal", action="store_true", help="compute on the CPU")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="*")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for everything")
    options = parser.parse_args()
    rehearsal = options.rehearsal
    sizes = options.sizes or ((256, 512) if rehearsal else SIZES)
    host_devices(gpus=())  # products here have the precision that those of the service have
    figures: dict[str, Any] = {}

    def save() -> None:
        if options.json is not None:
            options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")

    with started("rehearsal" if rehearsal else "service", None, None, **SETTINGS) as server:
        wait_for_devices(server.port)
        figures["small"] = hop(server.port, options.rounds)
        n = min(1024, *sizes)
        message = product(n, torch.float32, SLEEPING if rehearsal else {})
        figures["load"] = [
            {"n": n, **load(server.port, message, clients, LOAD_S)} for clients in CLIENTS
        ]
        figures["products"] = []
        save()
        left = options.seconds - (perf_counter() - began) - RESERVE_S
        device = "cpu" if rehearsal else "cuda:0"
        for row in products(server.port, sizes, options.rounds, device, left):
            figures["products"].append(row)
            save()
    if rehearsal:
        print("A rehearsal: the goals are those of a GPU.")
    show(Console(width=100), figures)


if __name__ == "__main__":
    main()
