"""Calibration of the cost model: timed runs of the calibration samples of an operation.

Each kind of work of a strategy has samples of its own, from small to large. They are run as long
as they stay short.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from time import perf_counter_ns
from typing import Any, Final, NamedTuple

import torch

from service.core.call import Spec, Tensor
from service.core.devices import Device, check_here, synchronize
from service.core.dtypes import INTEGERS
from service.errors import ServiceError
from service.planning.cost_model import COMPILING, Curve
from service.registry import Inferred, Op, Strategy, Work

Clock = Callable[[], int]
# Samples that take longer are left out: their time follows from that of smaller ones.
MAX_SAMPLE_NS: Final = 3_000_000
# A sample is repeated up to so often, as long as all runs together are short.
MOST_RUNS: Final = 8
SHORT_NS: Final = 300_000
# A prime, so that rows of a matrix do not repeat each other.
PERIOD: Final = 65_521


class Timing(NamedTuple):
    """Work of a sample, and its time in nanoseconds."""

    parts: int
    flops: float
    ns: int


def calibrate(
    op: Op[Any],
    strategy: Strategy[Any],
    device: Device,
    dtype: torch.dtype,
    clock: Clock = perf_counter_ns,
) -> dict[str, Curve]:
    """Return the curves of a strategy by kind of work: up to 0.2 s.

    A kind whose samples the strategy does not take with `dtype` is absent. A strategy that has to
    be compiled is so before its runs, and has a curve for that, too, unless it was compiled before.
    """
    check_here(device)
    kinds: dict[str, list[tuple[Inferred, Work]]] = {}
    for sample in op.calibration_samples:
        try:
            inferred = op.infer_sample(sample, dtype)
        except ServiceError:  # such as sums of bool
            continue
        if strategy.unsuitable(inferred, device.kind) is None:
            work = strategy.work(inferred)
            kinds.setdefault(work.kind, []).append((inferred, work))
    curves: dict[str, Curve] = {}
    if strategy.compile is not None and kinds:
        (inferred, _), *_ = next(iter(kinds.values()))
        started = clock()
        if strategy.compile(inferred, _operands(inferred, device)):
            curves[COMPILING] = Curve(clock() - started, (0.0,), (0.0,))
    for kind, samples in kinds.items():
        curves[kind] = fit(_timings(strategy, device, samples, clock))
    return curves


def is_measured_ahead(strategy: Strategy[Any], device: Device) -> bool:
    """Return whether a strategy is measured before a call asks for it.

    To compile everything for a CPU takes minutes, in which races would wait: what is compiled there
    keeps its priors. Kernels of a GPU take seconds, and may not be refused by the prior of a CPU.
    """
    return strategy.compile is None or device.kind != "cpu"


def _operands(inferred: Inferred, device: Device) -> list[Tensor]:
    """Return operands of a sample on a device."""
    return [operand(spec).to(device.torch_device) for spec in inferred.specs]


def _timings(
    strategy: Strategy[Any],
    device: Device,
    samples: Sequence[tuple[Inferred, Work]],
    clock: Clock,
) -> list[Timing]:
    """Time samples from small to large, without those that take too long by the ones before."""
    found: list[Timing] = []
    for inferred, work in samples:
        if found and fit(found).times_ns(work)[0] > MAX_SAMPLE_NS:
            continue
        parts = max(1, work.steps * work.repeats)
        flops = work.flops / parts
        same = [timing.parts for timing in found if timing.flops == flops]
        if same and min(same) <= parts <= max(same):
            continue  # a number of parts between two that are known adds nothing
        found.append(Timing(parts, flops, _time(strategy, device, inferred, clock)))
    return found


def _time(strategy: Strategy[Any], device: Device, inferred: Inferred, clock: Clock) -> int:
    """Return the least time of a strategy on random operands."""
    operands = _operands(inferred, device)
    return least_ns(lambda: strategy.run(inferred, operands), device, clock)


def least_ns(compute: Callable[[], object], device: Device, clock: Clock) -> int:
    """Return the least time of some runs on a device, without the first one.

    A run that is long is not repeated any more.
    """

    def run() -> int:
        synchronize(device)
        started = clock()
        compute()
        synchronize(device)
        return clock() - started

    first = run()  # it may load a library, compile a kernel, or take memory
    times = [run()]
    if times[0] > MAX_SAMPLE_NS:
        return min(first, times[0])
    times.append(run())
    while len(times) < MOST_RUNS and sum(times) < SHORT_NS:
        times.append(run())
    return min(times)


def operand(spec: Spec) -> Tensor:
    """Return numbers from 1 to 2, or integers from 1 to 3, which repeat after a while.

    Random matrices are of full rank, on which the time of singular values depends. To repeat
    numbers is faster than to draw them.
    """
    count = prod(spec.shape)
    numbers = _numbers()[:count]
    if spec.dtype in INTEGERS:
        numbers = (2 * numbers).floor() - 1
    numbers = numbers.to(spec.dtype)
    return numbers.repeat(-(-count // PERIOD))[:count].reshape(spec.shape)


@cache
def _numbers() -> Tensor:
    return 1 + torch.rand(PERIOD, generator=torch.Generator().manual_seed(0))


def fit(timings: Sequence[Timing]) -> Curve:
    """Return the curve through timings.

    Samples with steps of the same size and different numbers of them tell the time of a call from
    that of a step; those of the smallest steps do so best. Without such samples the call is a part
    of its only step.
    """
    sizes = sorted({timing.flops for timing in timings})
    groups = [[timing for timing in timings if timing.flops == flops] for flops in sizes]
    call_ns = 0.0
    for few, many in ((min(group), max(group)) for group in groups):
        if many.parts > few.parts:
            step_ns = max(0.0, many.ns - few.ns) / (many.parts - few.parts)
            call_ns = max(0.0, few.ns - few.parts * step_ns)
            break
    largest = [max(group) for group in groups]
    return Curve(call_ns, sizes, [max(0.0, each.ns - call_ns) / each.parts for each in largest])
