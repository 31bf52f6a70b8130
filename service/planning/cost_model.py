"""What each strategy costs on this host: measured, never assumed.

A strategy's time is taken as `steps * ns_per_step + flops * ns_per_flop`; its Work gives the
counts, and timing its probes gives the rates, once for each device and dtype.
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
from service.registry import Inferred, Op, Strategy

# A probe that would take longer is left out, so that all of them take about a second.
MAX_PROBE_NS: Final = 20_000_000
REPEATS: Final = 3
# Operation, strategy, device, dtype, and the two numbers of a rate.
Row = tuple[str, str, str, str, float, float]
# More than a century of work; a float would not hold the counts that shapes alone can ask for.
UNBOUNDED: Final = 10**19
# What the smallest call takes to a Dask scheduler on the same host and back: 20 ms.
ROUND_TRIP_NS: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Nanoseconds for a step of the interpreter, and for a multiply-add in native code."""

    ns_per_step: float
    ns_per_flop: float


class CostModel:
    """Rates by strategy, device and dtype, each measured when it is first asked for."""

    def __init__(self, clock: Callable[[], int] = perf_counter_ns):
        """Measure with `clock`, which gives nanoseconds."""
        self._clock = clock
        self._rates: dict[tuple[str, str, str, torch.dtype], Rate] = {}
        self._lock = Lock()

    def estimate_ns(
        self, op: Op[Any], strategy: Strategy[Any], device: Device, meaning: Inferred
    ) -> int:
        """How long `strategy` would take for `meaning` on `device`, in nanoseconds."""
        work = strategy.work(meaning)
        rate = self.rate(op, strategy, device, meaning.specs[0].dtype)
        steps, flops = min(work.steps, UNBOUNDED), min(work.flops, UNBOUNDED)
        return round(steps * rate.ns_per_step + flops * rate.ns_per_flop)

    def interpreter_ns(
        self, op: Op[Any], strategy: Strategy[Any], device: Device, meaning: Inferred
    ) -> int:
        """The part of `estimate_ns` that goes into steps of the interpreter, which hold the GIL."""
        rate = self.rate(op, strategy, device, meaning.specs[0].dtype)
        return round(min(strategy.work(meaning).steps, UNBOUNDED) * rate.ns_per_step)

    def rows(self) -> list[Row]:
        """All that has been measured, as values that JSON has."""
        return [
            (op, strategy, device, describe(dtype).name, rate.ns_per_step, rate.ns_per_flop)
            for (op, strategy, device, dtype), rate in tuple(self._rates.items())
        ]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "CostModel":
        """Rates that were measured elsewhere on this host."""
        rates = cls()
        rates.take(rows)
        return rates

    def take(self, rows: Iterable[Row]) -> None:
        """Go by what was measured elsewhere on this host, whatever was measured here."""
        for op, strategy, device, dtype, step, flop in rows:
            self._rates[op, strategy, device, parse_dtype(dtype).torch] = Rate(step, flop)

    def rate(
        self, op: Op[Any], strategy: Strategy[Any], device: Device, dtype: torch.dtype
    ) -> Rate:
        """The measured rate; the first call for a key takes a few milliseconds."""
        if device.cluster is not None:
            return self._on_cluster(op, device.cluster, dtype)
        key = (strategy.op, strategy.name, device.name, dtype)
        found = self._rates.get(key)
        if found is None:
            with self._lock:
                found = self._rates.get(key) or self._measure(op, strategy, device, dtype)
                self._rates[key] = found
        return found

    def _on_cluster(self, op: Op[Any], cluster: Cluster, dtype: torch.dtype) -> Rate:
        """The rate of a cluster whose threads are as quick as this host's.

        A block is computed as `numpy` computes a whole.
        """
        here = self.rate(op, op.strategies["numpy"], CPU, dtype)
        share = torch.get_num_threads() / cluster.threads
        return Rate(ROUND_TRIP_NS, here.ns_per_flop * share)

    def _measure(
        self, op: Op[Any], strategy: Strategy[Any], device: Device, dtype: torch.dtype
    ) -> Rate:
        """Time the probes, from small to large, as far as they stay short.

        The smallest gives the cost of a step, which has next to nothing to compute; the largest
        gives the cost of a flop, or a better cost of a step where there are no flops.
        """
        check_here(device)
        rate = Rate(0.0, 0.0)
        for probe in op.calibration_samples:
            meaning = op.infer_sample(probe, dtype)
            work = strategy.work(meaning)
            expected = work.steps * rate.ns_per_step + work.flops * rate.ns_per_flop
            if expected > MAX_PROBE_NS:
                break
            elapsed = min(self._times(strategy, device, meaning))
            if not work.flops or not rate.ns_per_step:
                rate = Rate(elapsed / max(1, work.steps), rate.ns_per_flop)
            else:
                spent = elapsed - work.steps * rate.ns_per_step
                rate = Rate(rate.ns_per_step, max(0.0, spent / work.flops))
        return rate

    def _times(self, strategy: Strategy[Any], device: Device, meaning: Inferred) -> Iterator[int]:
        place = device.torch_device
        operands = [torch.ones(s.shape, dtype=s.dtype, device=place) for s in meaning.specs]
        strategy.run(meaning, operands)
        for _ in range(REPEATS):
            synchronize(device)
            started = self._clock()
            strategy.run(meaning, operands)
            synchronize(device)
            yield self._clock() - started
