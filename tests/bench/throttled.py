"""`make bench-throttled`: the wait for an answer after the last byte of a JSON body.

The client sends two n x n matrices of float64 at a bounded speed, as a network would: small pieces,
each at its exact time. What the service does while the body arrives costs no wait. With
`--before DIR` the service of another checkout is measured, too, and the two alternate.

`first` and `last` are the times of the first and the last byte of the answer, from the last byte
sent; `beyond` is what `first` has beyond the product itself.
"""

import argparse
import os
import socket
import sys
import time
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.client import Connection, connections, request
from tests.bench.measurements import Figure, machine
from tests.bench.servers import BEFORE, running
from tests.bench.workloads import JSON, json_pair

WARM_S = 5
EXCHANGES = 3  # of one round, on a connection of its own
PIECE_BYTES = 16_384  # 0.16 ms of 100 MB/s
PHASES = ("decode", "queue", "compute", "encode")
COLUMNS = ("sent", "first", "last", *PHASES, "beyond")

Times = dict[str, float]


def message(n: int) -> bytes:
    """Return the request of a product of n x n matrices."""
    body = json_pair(*np.random.default_rng(n).standard_normal((2, n, n)))
    return request("/matmul", body[:-1] + b',"dtype":"float64"}', JSON)


def send(connection: Connection, text: bytes, bytes_per_s: float | None) -> None:
    """Send a request, all at once or at this speed.

    A piece that the server takes late does not move the times of those after it.
    """
    connection.send(b"")
    if bytes_per_s is None:
        connection.send(text)
        return
    view = memoryview(text)
    started = perf_counter_ns()
    for end in range(PIECE_BYTES, len(text) + PIECE_BYTES, PIECE_BYTES):
        due = started + int(min(end, len(text)) / bytes_per_s * 1e9)
        while perf_counter_ns() < due:  # a sleep would be late by a tenth of a millisecond
            pass
        connection.socket.sendall(view[end - PIECE_BYTES : end])


def exchange(connection: Connection, text: bytes, bytes_per_s: float | None) -> Times:
    """Milliseconds of one exchange, by column."""
    started = perf_counter_ns()
    send(connection, text, bytes_per_s)
    sent = perf_counter_ns()
    connection.socket.recv(1, socket.MSG_PEEK)
    first = perf_counter_ns()
    while not connection.receive():
        pass
    last = perf_counter_ns()
    times = {"sent": sent - started, "first": first - sent, "last": last - sent}
    found = {name: each / 1e6 for name, each in times.items()}
    phases = connection.phases_us()
    # A phase that the head does not have ended after it.
    found |= {name: phases.get(name, float("nan")) / 1e3 for name in PHASES}
    found["beyond"] = found["first"] - found["compute"]
    return found


def round_of(port: int, text: bytes, bytes_per_s: float | None) -> Times:
    """Medians of a few exchanges on a new connection, the first of which warms it up."""
    with connections(port, 1) as (opened,):
        times = [exchange(opened, text, bytes_per_s) for _ in range(EXCHANGES + 1)][1:]
    return {name: median(each[name] for each in times) for name in COLUMNS}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.bench.throttled", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sizes", type=int, nargs="*", default=[512])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mb-per-s", type=float, default=100, help="speed of the client (100)")
    parser.add_argument("--unbounded", action="store_true", help="send as fast as it goes")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("the bench needs two cores, one for the client")
    bytes_per_s = None if options.unbounded else options.mb_per_s * 1e6
    speed = "unbounded" if bytes_per_s is None else f"{options.mb_per_s:g} MB/s"
    table = Table(
        title=f"Wait after the last byte, {speed}",
        caption=f"ms; median of {options.rounds} rounds ± half the IQR",
    )
    for column in ("n", "MB", "app", *COLUMNS):
        table.add_column(column, justify="left" if column == "app" else "right")
    apps = ["service"] if options.before is None else ["service", BEFORE]
    folders = {BEFORE: options.before} if options.before else {}
    with running(apps, None, folders) as servers:
        # They have both cores: the client needs none while it waits.
        os.sched_setaffinity(0, {cores[1]})
        time.sleep(WARM_S)
        for n in options.sizes:
            text = message(n)
            rounds: dict[str, list[Times]] = {app: [] for app in apps}
            for number in range(options.rounds + 1):
                for app in apps:
                    times = round_of(servers[app].port, text, bytes_per_s)
                    if number:  # the first round warms up
                        rounds[app].append(times)
            for app in apps:
                figures = [Figure(tuple(each[name] for each in rounds[app])) for name in COLUMNS]
                table.add_row(str(n), f"{len(text) / 1e6:.3g}", app, *map(str, figures))
    console = Console(width=160)
    console.print(machine())
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
