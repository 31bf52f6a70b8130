"""`make bench`: the service against two other apps of the same job, in one interleaved run.

With `--before DIR` against the service of another checkout instead, by the same interpreter.
Server and client have a core each. Latency is measured on one connection, the rate on eight; the
figures are medians over rounds, with the range of their middle half.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench.client import Connection, connections, rate
from tests.bench.codecs import part_table
from tests.bench.measurements import Figure, machine
from tests.bench.servers import BEFORE, Server, running
from tests.bench.workloads import Workload, workloads

ROUNDS = 9
# The service returns memory to the system half a second after large calls.
SETTLE_S = 2
# When it is ready, it starts the process that its workers are forked from, which imports torch.
WARM_S = 5
OTHERS = ("tuned", "usual")
# Nothing is uploaded or downloaded on a CPU.
SPLIT = ("decode", "queue", "compute", "encode", "outside")


Figures = dict[str, Figure]


def split(connection: Connection, workload: Workload) -> dict[str, float]:
    """Microseconds of each phase of the service, and of all that is outside of them."""
    found: dict[str, list[float]] = {}
    for _ in range(workload.exchanges):
        whole = connection.exchange(workload.messages["service"]) / 1e3
        phases = connection.phases_us()
        phases["outside"] = whole - phases.pop("total")
        for name, each in phases.items():
            found.setdefault(name, []).append(each)
    return {name: median(times) for name, times in found.items()}


def split_table() -> Table:
    """An empty table of phases."""
    found = Table(title="Time of the service by phase, one connection", caption="medians, us")
    for column in ("body", "n", *SPLIT):
        found.add_column(column, justify="left" if column == "body" else "right")
    return found


def measure(workload: Workload, servers: dict[str, Server]) -> tuple[Figures, Figures]:
    """Latency in microseconds on one connection, and requests a second on eight, by app."""
    messages = workload.messages | {BEFORE: workload.messages["service"]}
    messages = {name: message for name, message in messages.items() if name in servers}
    latencies: dict[str, list[float]] = {name: [] for name in messages}
    rates: dict[str, list[float]] = {name: [] for name in messages}
    for number in range(ROUNDS + 1):
        for name, message in messages.items():
            # Anew in each round: servers close connections that idle while the others have theirs.
            with connections(servers[name].port, 8) as opened:
                first = opened[0]
                first.exchange(message)
                times = [first.exchange(message) for _ in range(workload.exchanges)]
                found = rate(opened, message, max(8, workload.exchanges))
            if number:  # the first round warms up
                latencies[name].append(median(times) / 1e3)
                rates[name].append(found)
    return (
        {name: Figure(tuple(values)) for name, values in latencies.items()},
        {name: Figure(tuple(values)) for name, values in rates.items()},
    )


def table(title: str, unit: str, others: Sequence[str]) -> Table:
    """Return an empty table of one kind of figure."""
    found = Table(title=title, caption=f"median of {ROUNDS} rounds, {unit}, ± half the IQR")
    for column in ("body", "n", "service", *others, *(f"over {name}" for name in others)):
        found.add_column(column, justify="left" if column == "body" else "right")
    return found


def row(
    workload: Workload, figures: Figures, others: Sequence[str], *, higher_is_better: bool
) -> list[str]:
    """Return one row: each app, and how many times better the service is."""
    cells = [str(figures[name]) if name in figures else "" for name in ("service", *others)]
    for other in others:
        if other not in figures:
            cells.append("")
            continue
        ratio = figures["service"].median / figures[other].median
        cells.append(f"{ratio if higher_is_better else 1 / ratio:.2f}")
    return [workload.name, str(workload.n), *cells]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2, 32, 128, 512, 1024])
    parser.add_argument("--only", nargs="*", help="such as: JSON bytes")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("the bench needs two cores, one for the client")
    os.sched_setaffinity(0, {cores[1]})
    console = Console(width=120)
    console.print(machine())
    others = OTHERS if options.before is None else (BEFORE,)
    latency = table("Latency, one connection", "us", others)
    rates = table("Rate, eight connections", "1/s", others)
    phases = split_table()
    folders = {BEFORE: options.before} if options.before else {}
    with running(["service", *others], cores[0], folders) as servers:
        time.sleep(WARM_S)
        idle = servers["service"].memory_bytes()
        for workload in workloads(options.sizes):
            if options.only and not any(word in workload.name for word in options.only):
                continue
            times, found = measure(workload, servers)
            latency.add_row(*row(workload, times, others, higher_is_better=False))
            rates.add_row(*row(workload, found, others, higher_is_better=True))
            with connections(servers["service"].port, 1) as (alone,):
                times_us = split(alone, workload)
            cells = [f"{times_us[name]:.4g}" for name in SPLIT]
            phases.add_row(workload.name, str(workload.n), *cells)
            console.print(f"measured {workload.name}, n = {workload.n}", style="dim")
        peak = servers["service"].memory_bytes("VmHWM")
        time.sleep(SETTLE_S)
        after = servers["service"].memory_bytes()
    console.print(latency, rates, phases, part_table(options.sizes))
    console.print(
        f"service memory: idle {idle / 1e6:.0f} MB, peak {peak / 1e6:.0f}, after {after / 1e6:.0f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
