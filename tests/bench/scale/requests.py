"""Requests a second of 1, 2, 4 instances behind deploy/nginx.conf, and what each part costs.

Instances, proxy and client share the cores of one machine, so the rate ends where the cores do.
What each part takes of a core for one request is counted too: more machines are reckoned by that.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time_ns
from typing import Final

import numpy as np
import orjson

from tests.bench.client import connections, load, request
from tests.bench.measurements import machine
from tests.bench.scale.processes import busy_s, cpu_ns, family
from tests.bench.scale.report import Cell, ExchangeBytes, Layout, Requests, Round
from tests.bench.scale.time_slices import time_sliced
from tests.bench.servers import Server, started, wait_until_ready
from tests.bench.workloads import BYTES, JSON, json_pair, safetensors_pair
from tests.rigs.proxies import configured, nginx
from tests.rigs.servers import free_port

IN_FLIGHT: Final = 16


@dataclass(frozen=True, slots=True)
class Fleet:
    """Instances, and proxies before the first 1, 2, ... of them: ports and processes, by count."""

    instances: tuple[Server, ...]
    proxies: dict[int, tuple[int, int]]

    def port(self, layout: Layout) -> int:
        """Return the port that requests are sent to."""
        return self.proxies[layout.instances][0] if layout.proxied else self.instances[0].port

    def parts(self, layout: Layout) -> tuple[list[int], list[int]]:
        """The processes of the instances, and those of the proxy."""
        servers = [pid for each in self.instances[: layout.instances] for pid in family(each.pid)]
        return servers, family(self.proxies[layout.instances][1]) if layout.proxied else []


@contextmanager
def fleet(counts: Sequence[int], folder: Path) -> Iterator[Fleet]:
    """As many instances as the greatest of `counts`, and a proxy for each of them."""
    with ExitStack() as stack:
        instances = tuple(
            stack.enter_context(started("service", None, SERVICE_DATA=str(folder)))
            for _ in range(max(counts))
        )
        proxies = {}
        for count in counts:
            port = free_port()
            configuration = folder / f"proxy-{count}" / "nginx.conf"
            configuration.parent.mkdir()
            ports = [each.port for each in instances[:count]]
            configuration.write_text(configured(port, ports, {}), encoding="utf-8")
            process = stack.enter_context(nginx(configuration))
            wait_until_ready(port, process)
            proxies[count] = (port, process.pid)
        yield Fleet(instances, proxies)


def messages(folder: Path, side: int) -> dict[str, bytes]:
    """A request of each workload, by its name; stored matrices are put into `folder`."""
    random = np.random.default_rng(0)
    tiny = json_pair(*random.standard_normal((2, 2, 2)))
    medium = safetensors_pair(*random.standard_normal((2, 128, 128)))
    np.save(folder / "a.npy", random.standard_normal((side, side)))
    work = orjson.dumps({"a": {"ref": "a.npy"}, "b": {"ref": "a.npy"}, "output": "none"})
    return {
        "2 x 2, JSON": request("/matmul", tiny, JSON),
        "128 x 128, bytes": request("/matmul", medium, BYTES),
        f"{side} x {side}, stored": request("/matmul", work, JSON),
    }


def layouts(counts: Sequence[int]) -> list[Layout]:
    """One instance alone and each count behind the proxy; one client; instances in time slices."""
    loaded = [Layout(1, False, IN_FLIGHT), *(Layout(n, True, IN_FLIGHT) for n in counts)]
    alone = [Layout(1, False, 1), Layout(1, True, 1)]
    # Each instance has as much to do in its slice.
    sliced = [Layout(n, True, n * IN_FLIGHT, time_sliced=True) for n in counts]
    return [*loaded, *alone, *sliced]


def one_round(fleet: Fleet, layout: Layout, message: bytes, seconds: float) -> Round:
    """Send one kind of request to one layout for a while."""
    servers, proxy = fleet.parts(layout)
    # Anew in each round: the proxy and the servers close connections that idle.
    with ExitStack() as stack:
        opened = stack.enter_context(connections(fleet.port(layout), layout.connections))
        for connection in opened:
            connection.exchange(message)
        if layout.time_sliced:
            pids = [each.pid for each in fleet.instances[: layout.instances]]
            stack.enter_context(time_sliced(pids))
        before = cpu_ns(servers), cpu_ns(proxy), process_time_ns(), busy_s()
        until = monotonic() + seconds
        found = load(opened, message, lambda _: monotonic() < until)
        after = cpu_ns(servers), cpu_ns(proxy), process_time_ns(), busy_s()
    count = len(found.latencies_ns)
    server, proxied, client, busy = (b - a for a, b in zip(before, after, strict=True))
    p50, p99 = (float(each) for each in np.percentile(found.latencies_ns, [50, 99]))
    return Round(
        found.steady_rate(round(seconds * 1e9)),
        p50 / 1e6,
        p99 / 1e6,
        server / count / 1e3,
        proxied / count / 1e3,
        client / count / 1e3,
        busy / found.elapsed_ns * 1e9,
    )


def exchange(port: int, message: bytes) -> ExchangeBytes:
    """Return the bytes of one request and of its response."""
    with connections(port, 1) as (connection,):
        connection.exchange(message)
        return ExchangeBytes(len(message), connection.answer_bytes)


def measure(
    folder: Path, *, counts: Sequence[int], rounds: int, seconds: float, side: int
) -> Requests:
    """Every workload on every layout, which alternate within each round."""
    asked = messages(folder, side)
    ways = layouts(counts)
    with fleet(counts, folder) as there:
        found: dict[tuple[str, Layout], list[Round]] = {}
        for number in range(rounds + 1):
            for name, message in asked.items():
                for layout in ways:
                    # The first round warms up; in time slices, a round needs longer.
                    share = (2 if layout.time_sliced else 1) * (1 if number else 0.2)
                    each = one_round(there, layout, message, share * seconds)
                    if number:
                        found.setdefault((name, layout), []).append(each)
        port = there.instances[0].port
        exchanges = {name: exchange(port, message) for name, message in asked.items()}
    cells = [Cell(name, layout, each) for (name, layout), each in found.items()]
    return Requests(machine(), os.cpu_count() or 1, exchanges, cells)
