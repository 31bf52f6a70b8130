"""Result of a race: a row for each strategy on each device, and the report of all rows."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import torch

from service.compare.agreement import Agreement
from service.compare.rates import Rates
from service.compare.reference import Basis
from service.core.arithmetic import Arithmetic, precision_of
from service.core.call import Spec
from service.core.devices import Devices
from service.core.dtypes import describe
from service.core.units import count_text, rate_text
from service.planning.cost_model import CostModel, Peak
from service.planning.plan import Plan, Sizes
from service.registry import Inferred

# What tells the rows of races apart: strategy, device, precision, and whether it is deterministic.
RowKey = tuple[str, str, str, bool]


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy on one device: its times in nanoseconds, or the reason why it was skipped.

    `compile_ns` is the time of compiling it before its runs, of which it is no part; nor are
    `upload_ns` and `download_ns`, the medians of the copies of operands and result. Where
    `is_available` is False, this host lacks what the strategy needs for any call.
    """

    strategy: str
    device: str
    estimated_ns: int | None
    times_ns: tuple[int, ...] = ()
    agreement: Agreement | None = None
    skipped: str | None = None
    rates: Rates | None = None
    compile_ns: int = 0
    upload_ns: float = 0
    download_ns: float = 0
    is_available: bool = True
    arithmetic: Arithmetic | None = None

    @property
    def precision(self) -> str | None:
        """Precision that the request asked for."""
        return None if self.arithmetic is None else self.arithmetic.precision

    @property
    def deterministic(self) -> bool | None:
        """True if the request asked for the same bits each time."""
        return None if self.arithmetic is None else self.arithmetic.deterministic

    @property
    def key(self) -> RowKey:
        """The key of the row; without a precision in the request that is `ieee`."""
        precision = precision_of(self.arithmetic)
        return self.strategy, self.device, precision, bool(self.deterministic)

    @property
    def median_ns(self) -> float:
        """Median of the runs."""
        return median(self.times_ns)

    @property
    def iqr_ns(self) -> float:
        """Range of the middle half of the runs."""
        low, high = np.percentile(self.times_ns, [25, 75])
        return float(high - low)


def skipped_row(plan: Plan, reason: str) -> Row:
    """Return the row of a strategy that has a plan and does not run."""
    names = plan.strategy.name, plan.device.name
    return Row(*names, plan.run_ns, skipped=reason, arithmetic=plan.arithmetic)


@dataclass(frozen=True, slots=True)
class Host:
    """The host of a race; `peaks` are those of its devices for the call of the race."""

    cpu: str
    threads: int
    devices: tuple[str, ...]
    versions: Mapping[str, str]
    peaks: Mapping[str, Peak] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """All rows in the order of the registry, slowest first; speed-ups are over `baseline`.

    `params` are those of the call that differ from their defaults, as JSON has them.
    """

    op: str
    specs: tuple[Spec, ...]
    multiply_adds: int
    baseline: str | None
    host: Host
    rows: tuple[Row, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def available_rows(self) -> tuple[Row, ...]:
        """Rows without those of strategies that this host cannot run."""
        return tuple(row for row in self.rows if row.is_available)

    @property
    def basis(self) -> Basis | None:
        """Basis of the agreement of all rows; None if no strategy ran."""
        found = (row.agreement.basis for row in self.rows if row.agreement is not None)
        return next(found, None)

    def speedup(self, row: Row) -> float | None:
        """Return how many times faster than the baseline a row is, by medians of this race."""
        ran = (each for each in self.rows if each.times_ns)
        base = next((each for each in ran if each.strategy == self.baseline), None)
        if base is None or not row.times_ns:
            return None
        return base.median_ns / row.median_ns


def host(devices: Devices, costs: CostModel, inferred: Inferred) -> Host:
    """Describe this host for the report of a race of a call."""
    dtype, moved = inferred.specs[0].dtype, Sizes.of(inferred).outer_bytes
    return Host(
        cpu=cpu_name(),
        threads=torch.get_num_threads(),
        devices=tuple(device.name for device in devices.members),
        versions={
            "service": version("tensor-service"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        peaks={
            device.name: costs.peak(device.name, dtype, moved)
            for device in devices.members
            if device.cluster is None
        },
    )


@cache
def cpu_name(info: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name from /proc/cpuinfo, or else from Python's platform module."""
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Labelled(Protocol):
    """An item of a report: a strategy on a device."""

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        ...

    @property
    def device(self) -> str:
        """Name of the device."""
        ...


def strategy_labels(items: Iterable[Labelled]) -> list[str]:
    """Return the label of each item: its strategy, and its device if there are several devices."""
    listed = list(items)
    several = len({item.device for item in listed}) > 1
    return [f"{item.strategy} on {item.device}" if several else item.strategy for item in listed]


class LabelledRow(Labelled, Protocol):
    """An item of a report that may have a precision."""

    @property
    def precision(self) -> str | None:
        """Precision that the request asked for."""
        ...


def row_labels(rows: Iterable[LabelledRow]) -> list[str]:
    """Return labels as `strategy_labels` does, with the precision of each row if it has one."""
    listed = list(rows)
    labels = zip(strategy_labels(listed), listed, strict=True)
    return [f"{label} in {row.precision}" if row.precision else label for label, row in labels]


class ComparableRow(LabelledRow, Protocol):
    """An item of a report that may be laid beside one of another report."""

    @property
    def deterministic(self) -> bool | None:
        """True if the request asked for the same bits each time."""
        ...


def row_label(row: ComparableRow) -> str:
    """Return the label of a row that stands alone, with its device and arithmetic."""
    precision = f" in {row.precision}" if row.precision else ""
    deterministic = " (deterministic)" if row.deterministic else ""
    return f"{row.strategy} on {row.device}{precision}{deterministic}"


def quickest(report: Report) -> Row | None:
    """Return the row with the least median among those that agree; None if none does."""
    ran = [row for row in report.rows if row.agreement is not None and row.agreement.agrees]
    return min(ran, key=lambda row: row.median_ns, default=None)


def basis_line(report: Report) -> str:
    """Describe what results were judged by: `50 of 50 elements checked by exact arithmetic`."""
    basis = report.basis
    if basis is None:
        return "no element checked"
    counts = f"{count_text(basis.checked)} of {count_text(basis.elements)}"
    return f"{counts} elements checked by {basis.method}"


def peak_lines(report: Report) -> list[str]:
    """Describe the measured peak rates of each device that ran a strategy."""
    dtype = describe(report.specs[0].dtype).name
    lines = []
    for device in dict.fromkeys(row.device for row in report.rows if row.times_ns):
        peak = report.host.peaks.get(device, Peak())
        texts = [
            f"{rate_text(rate)} {unit}"
            for rate, unit in (
                (peak.gflops, f"GFLOP/s by a product in {dtype}"),
                (peak.gb_per_s, "GB/s by a copy of this size"),
            )
            if rate is not None
        ]
        if texts:
            lines.append(f"peak of {device}: {', '.join(texts)}")
    return lines


def unavailable_lines(report: Report) -> list[str]:
    """Name the strategies that this host cannot run, a line for each reason."""
    names: dict[str | None, dict[str, None]] = {}
    for row in report.rows:
        if not row.is_available:  # a row for each device: the strategy is named once
            names.setdefault(row.skipped, {})[row.strategy] = None
    return [f"not on this server: {', '.join(found)} ({reason})" for reason, found in names.items()]


def host_line(host: Host) -> str:
    """Describe a host in one line: processor, threads, versions."""
    versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    threads = "1 thread" if host.threads == 1 else f"{host.threads} threads"
    return f"{host.cpu}, {threads}, {versions}"
