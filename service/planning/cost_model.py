"""Cost model: estimated time of each strategy on this host, from measurements.

The time of a strategy is taken as `steps * ns_per_step + flops * ns_per_flop`. Its Work has the
counts. The two rates come from timing the calibration samples of its operation, once for each
device and dtype.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from time import perf_counter_ns
from typing import Any, Final

import torch

from service.core.dask_cluster import Cluster
from service.core.devices import CPU, Device, check_here, synchronize
from service.core.dtypes import describe, parse_dtype
from service.registry import Inferred, Op, Strategy, Work

# Longer samples are skipped, so that all of them together take about a second.
MAX_SAMPLE_NS: Final = 20_000_000
REPEATS: Final = 3
# Operation, strategy, device, dtype, and the two numbers of a Rate.
Row = tuple[str, str, str, str, float, float]
# More than a century of work. Counts that follow from shapes alone may exceed any float.
UNBOUNDED: Final = 10**19
# The smallest call to a Dask scheduler on the same host takes 20 ms.
ROUND_TRIP_NS: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Nanoseconds of an interpreter step, and of a multiply-add in native code."""

    ns_per_step: float
    ns_per_flop: float


class CostModel:
    """Rates by strategy, device and dtype, each measured on first use."""

    def __init__(self, clock: Callable[[], int] = perf_counter_ns):
        """Begin without measurements; `clock` returns nanoseconds."""
        self._clock = clock
        self._rates: dict[tuple[str, str, str, torch.dtype], Rate] = {}
        self._lock = Lock()

    def estimate_ns(
        self, op: Op[Any], strategy: Strategy[Any], device: Device, inferred: Inferred
    ) -> int:
        """Return the estimated time of a strategy on a device, in nanoseconds."""
        dtype, work = inferred.specs[0].dtype, strategy.work(inferred)
        return self.times_ns(op, strategy, device, dtype, work)[0]

    def times_ns(
        self,
        op: Op[Any],
        strategy: Strategy[Any],
        device: Device,
        dtype: torch.dtype,
        work: Work,
    ) -> tuple[int, int]:
        """Return the estimated time of work in nanoseconds, and the part in interpreter steps.

        That part holds the GIL.
        """
        rate = self._rates.get((strategy.op, strategy.name, device.name, dtype))
        if rate is None:
            rate = self.rate(op, strategy, device, dtype)
        steps, flops = min(work.steps, UNBOUNDED), min(work.flops, UNBOUNDED)
        interpreter_ns = steps * rate.ns_per_step
        return round(interpreter_ns + flops * rate.ns_per_flop), round(interpreter_ns)

    def to_rows(self) -> list[Row]:
        """Return all measured rates as values that JSON can represent."""
        return [
            (op, strategy, device, describe(dtype).name, rate.ns_per_step, rate.ns_per_flop)
            for (op, strategy, device, dtype), rate in tuple(self._rates.items())
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[Row]) -> "CostModel":
        """Make a cost model from the rates of another process on this host."""
        model = cls()
        model.update(rows)
        return model

    def update(self, rows: Iterable[Row]) -> None:
        """Add the rates of another process on this host, which replace own measurements."""
        for op, strategy, device, dtype, step, flop in rows:
            self._rates[op, strategy, device, parse_dtype(dtype).torch] = Rate(step, flop)

    def rate(
        self, op: Op[Any], strategy: Strategy[Any], device: Device, dtype: torch.dtype
    ) -> Rate:
        """Return the measured rate; the first call for a key takes a few milliseconds."""
        if device.cluster is not None:
            return self._cluster_rate(op, device.cluster, dtype)
        key = (strategy.op, strategy.name, device.name, dtype)
        found = self._rates.get(key)
        if found is None:
            with self._lock:
                found = self._rates.get(key) or self._measure(op, strategy, device, dtype)
                self._rates[key] = found
        return found

    def _cluster_rate(self, op: Op[Any], cluster: Cluster, dtype: torch.dtype) -> Rate:
        """Return the rate of a cluster, assuming that its threads are as fast as this host's.

        Blocks are computed by numpy, so the rate of strategy `numpy` applies.
        """
        here = self.rate(op, op.strategies["numpy"], CPU, dtype)
        share = torch.get_num_threads() / cluster.threads
        return Rate(ROUND_TRIP_NS, here.ns_per_flop * share)

    def _measure(
        self, op: Op[Any], strategy: Strategy[Any], device: Device, dtype: torch.dtype
    ) -> Rate:
        """Time the calibration samples, from small to large, as long as they stay short.

        The smallest gives the cost of a step, since it has next to nothing to compute. The largest
        gives the cost of a flop, or a better cost of a step where there are no flops.
        """
        check_here(device)
        rate = Rate(0.0, 0.0)
        for sample in op.calibration_samples:
            inferred = op.infer_sample(sample, dtype)
            work = strategy.work(inferred)
            expected = work.steps * rate.ns_per_step + work.flops * rate.ns_per_flop
            if expected > MAX_SAMPLE_NS:
                break
            elapsed = min(self._times(strategy, device, inferred))
            if not work.flops or not rate.ns_per_step:
                rate = Rate(elapsed / max(1, work.steps), rate.ns_per_flop)
            else:
                spent = elapsed - work.steps * rate.ns_per_step
                rate = Rate(rate.ns_per_step, max(0.0, spent / work.flops))
        return rate

    def _times(self, strategy: Strategy[Any], device: Device, inferred: Inferred) -> Iterator[int]:
        place = device.torch_device
        operands = [torch.ones(s.shape, dtype=s.dtype, device=place) for s in inferred.specs]
        strategy.run(inferred, operands)
        for _ in range(REPEATS):
            synchronize(device)
            started = self._clock()
            strategy.run(inferred, operands)
            synchronize(device)
            yield self._clock() - started
