"""What comes of a race: a row for each rung, and the report of all of them."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
import torch

from service.compare.agreement import Agreement
from service.core.call import Spec
from service.core.devices import Devices


@dataclass(frozen=True, slots=True)
class Row:
    """One rung: its times in nanoseconds, or `skipped` with the reason."""

    strategy: str
    device: str
    estimated_ns: int | None
    times_ns: tuple[int, ...] = ()
    agreement: Agreement | None = None
    skipped: str | None = None

    @property
    def median_ns(self) -> float:
        """Median of the runs."""
        return median(self.times_ns)

    @property
    def iqr_ns(self) -> float:
        """Range of the middle half of the runs."""
        low, high = np.percentile(self.times_ns, [25, 75])
        return float(high - low)


@dataclass(frozen=True, slots=True)
class Host:
    """Where a race was run."""

    cpu: str
    threads: int
    devices: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """All rungs, slowest first as the registry has them; speed-ups are over `baseline`."""

    op: str
    specs: tuple[Spec, ...]
    multiply_adds: int
    baseline: str | None
    host: Host
    rows: tuple[Row, ...]

    def speedup(self, row: Row) -> float | None:
        """How many times faster than the baseline, by medians of this run."""
        ran = (each for each in self.rows if each.times_ns)
        base = next((each for each in ran if each.strategy == self.baseline), None)
        if base is None or not row.times_ns:
            return None
        return base.median_ns / row.median_ns


def host(devices: Devices) -> Host:
    """This host, as a report names it."""
    return Host(
        cpu=cpu_name(),
        threads=torch.get_num_threads(),
        devices=tuple(device.name for device in devices.members),
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    )


@cache
def cpu_name(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as Linux gives it, or what Python knows elsewhere."""
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Named(Protocol):
    """A strategy on a device."""

    @property
    def strategy(self) -> str:
        """Its strategy."""
        ...

    @property
    def device(self) -> str:
        """Its device."""
        ...


def rung_names(rungs: Iterable[Named]) -> list[str]:
    """What each is called: its strategy, and its device where there are several."""
    named = list(rungs)
    several = len({rung.device for rung in named}) > 1
    return [f"{rung.strategy} on {rung.device}" if several else rung.strategy for rung in named]


def quickest(report: Report) -> Row | None:
    """The rung with the least median among those that agree with float64; None if none does."""
    ran = [row for row in report.rows if row.agreement is not None and row.agreement.agrees]
    return min(ran, key=lambda row: row.median_ns, default=None)


def host_line(report: Report) -> str:
    """Where it was run: processor, threads, versions."""
    host = report.host
    versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    threads = "1 thread" if host.threads == 1 else f"{host.threads} threads"
    return f"{host.cpu}, {threads}, {versions}"
