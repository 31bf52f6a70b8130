"""Cost model: estimated time of each strategy on this host, from measurements.

The time of a strategy is that of a call and of its steps. How long a step takes depends on its
multiply-adds: between measured points it is interpolated, beyond the last one extrapolated. A
strategy has one such curve for each kind of its work, on each device and for each dtype.

`service.planning.calibration` measures the curves, outside of any call. Until then an estimate is
a prior: the curve of float32 on the same device, slowed down by a factor for the dtype.

Peak rates of the devices, from `service.planning.peaks`, and times of the way to a device, from
`service.planning.transfers` and its executor, are kept and passed on as curves too.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from service.core.devices import CPU, Device
from service.core.dtypes import COMPLEX, INTEGERS, describe, parse_dtype
from service.registry import Inferred, Strategy, Work

# Operation, strategy, device, dtype, kind of work, and the fields of a Curve.
CurveRow = tuple[str, str, str, str, str, float, Sequence[float], Sequence[float]]
# More than a century of work. Counts that follow from shapes alone may exceed any float.
UNBOUNDED: Final = 10**19
# Of a multiply-add in native code, as long as it is not known.
NS_PER_FLOP: Final = 1.0
# Kind of work of a curve that has the time of compiling as its `call_ns`.
COMPILING: Final = "compile"
# In place of a kind of work: the strategy has failed when it was measured.
FAILED: Final = "failed"
# The smallest call to a Dask scheduler on the same host takes 20 ms.
ROUND_TRIP_NS: Final = 20_000_000
# In place of the operation and of the strategy, in the keys of peak rates. A copy is of bytes.
PEAK: Final = "peak"
PRODUCT: Final = "product"
COPY: Final = "copy"
COPIED: Final = torch.uint8
# The same of the way to a GPU and back, by bytes: copies, and the hop to the process of the device.
TRANSFER: Final = "transfer"
UPLOAD: Final = "upload"
DOWNLOAD: Final = "download"
HOP: Final = "hop"


# Operation, strategy, device, dtype, and kind of work.
Key = tuple[str, str, str, torch.dtype, str]


# Estimated nanoseconds of a call, and those of them that hold the GIL; whether it is no prior.
Cost = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class Curve:
    """Nanoseconds of a call, and of one of its steps by the multiply-adds of the step.

    `step_ns` has one time for each of `flops`, which ascend.
    """

    call_ns: float
    flops: Sequence[float]
    step_ns: Sequence[float]

    def times_ns(self, work: Work) -> tuple[int, int]:
        """Return the time of work, and the part of it that holds the GIL.

        A step is interpolated between points, and extrapolated by the last two. The GIL is held in
        calls, and in each step in the interpreter for as long as a smallest step takes.
        """
        steps = min(work.steps, UNBOUNDED)
        parts = max(1, steps * min(work.repeats, UNBOUNDED))
        flops = min(work.flops, UNBOUNDED) / parts
        above = min(bisect_left(self.flops, flops), len(self.flops) - 1)
        x, ns = self.flops[above], self.step_ns[above]
        if above == 0:
            ns += max(0.0, flops - x) * NS_PER_FLOP
        else:
            slope = (ns - self.step_ns[above - 1]) / (x - self.flops[above - 1])
            ns += (max(0.0, slope) if flops > x else slope) * (flops - x)
        call_ns = min(work.calls, UNBOUNDED) * self.call_ns
        total = call_ns + parts * ns
        return round(total), round(min(total, call_ns + steps * self.step_ns[0]))

    def slower(self, factor: float) -> "Curve":
        """Return the curve of calls whose multiply-adds take longer by a factor."""
        smallest = self.step_ns[0]
        step_ns = [smallest + max(0.0, ns - smallest) * factor for ns in self.step_ns]
        return Curve(self.call_ns, self.flops, step_ns)


@dataclass(frozen=True, slots=True)
class Peak:
    """Peak rates of a device: operations of a product in a dtype, and bytes of a copy.

    None for what has not been measured, or is not possible, such as products of bool.
    """

    gflops: float | None = None
    gb_per_s: float | None = None


# Of a host that has not been measured: an interpreted step takes about a microsecond.
UNMEASURED: Final = Curve(10_000.0, (0.0,), (1_000.0,))

# How many times as long multiply-adds of a dtype take as those of float32, until it is measured.
PRIOR_FACTORS: Final[Mapping[torch.dtype, float]] = {
    torch.float64: 2.0,
    torch.bool: 1.0,
    **dict.fromkeys(COMPLEX, 8.0),
    **dict.fromkeys((torch.float16, torch.bfloat16), 8.0),
    **dict.fromkeys(INTEGERS, 32.0),
}


# How long a compiler takes in a new process, its import included, until that is measured.
PRIOR_COMPILE_NS: Final[Mapping[str, int]] = {"numba": 1_000_000_000, "compile": 15_000_000_000}
UNKNOWN_COMPILE_NS: Final = 2_000_000_000


class CostModel:
    """Curves by operation, strategy, device, dtype and kind of work."""

    def __init__(self) -> None:
        """Begin without measurements; `changes` counts those that follow.

        `failures` has operation, strategy, device and dtype of what failed when it was measured.
        """
        self._curves: dict[Key, Curve] = {}
        self._compile_ns: dict[tuple[str, str, str], int] = {}
        self.failures: set[tuple[str, str, str, torch.dtype]] = set()
        self.changes = 0

    def estimate_ns(self, strategy: Strategy[Any], device: Device, inferred: Inferred) -> int:
        """Return the estimated time of a strategy on a device, in nanoseconds."""
        dtype, work = inferred.specs[0].dtype, strategy.work(inferred)
        return self.cost(strategy, device, dtype, work)[0]

    def cost(self, strategy: Strategy[Any], device: Device, dtype: torch.dtype, work: Work) -> Cost:
        """Return the estimated cost of work."""
        curve = self._curves.get((strategy.op, strategy.name, device.name, dtype, work.kind))
        if curve is not None:
            return *curve.times_ns(work), True
        prior = self._prior(strategy, device, dtype, work.kind)
        return *prior.times_ns(work), False

    def compile_ns(self, strategy: Strategy[Any], device: Device) -> int:
        """Return the time of compiling a strategy in a new process.

        It is the longest that has been measured: the first dtype that a process compiles loads the
        compiler. Before, it is a prior.
        """
        if strategy.compile is None:
            return 0
        key = (strategy.op, strategy.name, device.name)
        return self._compile_ns.get(key, PRIOR_COMPILE_NS.get(strategy.name, UNKNOWN_COMPILE_NS))

    def learn_compiling(self, op: str, strategy: str, device: str, ns: int) -> None:
        """Take over how long a strategy took to compile."""
        key = (op, strategy, device)
        self._compile_ns[key] = max(ns, self._compile_ns.get(key, 0))

    def _prior(
        self, strategy: Strategy[Any], device: Device, dtype: torch.dtype, kind: str
    ) -> Curve:
        """Return the curve that applies to work that has not been measured.

        Threads of a cluster are taken to be as fast as those of this host. Its blocks are computed
        by numpy, so the curve of strategy `numpy` applies.
        """
        if device.cluster is not None:
            here = self._here(strategy.op, "numpy", CPU.name, dtype, kind)
            share = torch.get_num_threads() / device.cluster.threads
            return Curve(ROUND_TRIP_NS, here.flops, [ns * share for ns in here.step_ns])
        return self._here(strategy.op, strategy.name, device.name, dtype, kind)

    def _here(self, op: str, strategy: str, device: str, dtype: torch.dtype, kind: str) -> Curve:
        """Return the measured curve, or that of float32 with the factor of the dtype."""
        found = self._curves.get((op, strategy, device, dtype, kind))
        if found is None:
            found = self._curves.get((op, strategy, device, torch.float32, kind), UNMEASURED)
            found = found.slower(PRIOR_FACTORS.get(dtype, 1.0))
        return found

    def measured(self) -> set[tuple[str, str, str, torch.dtype]]:
        """Return the operations, strategies, devices and dtypes that have curves."""
        return {key[:4] for key in tuple(self._curves) if key[0] not in {PEAK, TRANSFER}}

    def transfer_ns(self, device: Device, operand_bytes: int, result_bytes: int) -> int:
        """Return the time that moving operands to a GPU and the result back takes.

        Operands and result are copied, and sent to the process of the device and back. It is 0 for
        other devices, and for what has not been measured.
        """
        if device.kind == CPU.kind:
            return 0
        return sum(
            self._curves[key].times_ns(Work(1, size))[0]
            for what, size in (
                (UPLOAD, operand_bytes),
                (DOWNLOAD, result_bytes),
                (HOP, operand_bytes + result_bytes),
            )
            if (key := (TRANSFER, what, device.name, COPIED, "")) in self._curves
        )

    def has_transfers(self, device: str) -> bool:
        """Return whether the copies to a device have been measured."""
        return (TRANSFER, UPLOAD, device, COPIED, "") in self._curves

    def learn_hop(self, device: str, curve: Curve) -> None:
        """Take over the time of the way to the process of a device, unless it is known."""
        key = (TRANSFER, HOP, device, COPIED, "")
        if key not in self._curves:
            self.add(key, curve)

    def peak(self, device: str, dtype: torch.dtype, moved_bytes: int = UNBOUNDED) -> Peak:
        """Return the peak rates of a device with a dtype, for a call that moves so many bytes.

        Few bytes stay in caches, which are faster than memory.
        """
        copies = self._peak(COPY, device, COPIED, moved_bytes)
        return Peak(self._peak(PRODUCT, device, dtype, 0), copies)

    def _peak(self, what: str, device: str, dtype: torch.dtype, least: int) -> float | None:
        """Return the best rate of so much work or more, or else of the most that was measured.

        It is in 10^9 a second, which is the rate in a nanosecond.
        """
        curve = self._curves.get((PEAK, what, device, dtype, ""))
        if curve is None:
            return None
        points = list(zip(curve.flops, curve.step_ns, strict=True))
        return max(work / ns for work, ns in points if work >= least or work == curve.flops[-1])

    def add(self, key: Key, curve: Curve) -> None:
        """Add a measured curve; it replaces an earlier one."""
        self._curves[key] = curve
        self.changes += 1
        op, strategy, device, dtype, kind = key
        if kind == FAILED:
            self.failures.add((op, strategy, device, dtype))
        if kind == COMPILING:
            self.learn_compiling(op, strategy, device, round(curve.call_ns))

    def fail(self, op: str, strategy: str, device: str, dtype: torch.dtype) -> None:
        """Record that a strategy cannot be measured: it does not run there."""
        self.add((op, strategy, device, dtype, FAILED), UNMEASURED)

    def to_rows(self) -> list[CurveRow]:
        """Return all curves as values that JSON can represent."""
        return [
            (op, strategy, device, describe(dtype).name, kind, one.call_ns, one.flops, one.step_ns)
            for (op, strategy, device, dtype, kind), one in tuple(self._curves.items())
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[CurveRow]) -> "CostModel":
        """Make a cost model from the curves of another process on this host."""
        model = cls()
        model.update(rows)
        return model

    def update(self, rows: Iterable[CurveRow]) -> None:
        """Add the curves of another process on this host, which replace own measurements."""
        for op, strategy, device, dtype, kind, call_ns, flops, step_ns in rows:
            key = (op, strategy, device, parse_dtype(dtype).torch, kind)
            self.add(key, Curve(call_ns, flops, step_ns))
