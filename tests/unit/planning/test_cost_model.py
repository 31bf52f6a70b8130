"""What strategies cost, measured here with a clock that the strategies themselves move."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from service.core.call import Spec, Tensor
from service.core.devices import Device
from service.core.dtypes import FLOATS
from service.planning.cost_model import MAX_PROBE_NS, REPEATS, UNBOUNDED, CostModel, Rate
from service.registry import Inferred, Op, Sample, Work

CPU = Device("cpu", "cpu", "", None)
RUNS = REPEATS + 1  # the first is not timed


class Clock:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """The time, in nanoseconds."""
        return self.now


class Bench:
    """An operation whose one strategy takes time by its number of rows and columns."""

    def __init__(
        self, *calibration_samples: tuple[int, int], ns_per_step: int, ns_per_flop: int
    ) -> None:
        self.clock = Clock()
        self.rates = CostModel(self.clock)
        self.ran: list[tuple[int, ...]] = []
        self.op: Op[Inferred] = Op(
            name="toy",
            summary="Takes time.",
            operands=("x",),
            params=(),
            infer=self._understand,
            check_overflow=lambda meaning, operands: None,
            auto=("toy",),
            samples=(),
            error_samples=(),
            calibration_samples=tuple(Sample("probe", (shape,)) for shape in calibration_samples),
        )

        def toy(x: Tensor) -> Tensor:
            """Takes time."""
            rows, columns = x.shape
            self.ran.append((rows, columns))
            self.clock.now += rows * ns_per_step + columns * ns_per_flop
            return x

        self.op.strategy("toy", adapt=_call, work=self._work, dtypes=FLOATS)(toy)
        self.strategy = self.op.strategies["toy"]

    @staticmethod
    def _understand(specs: tuple[Spec, ...]) -> Inferred:
        return Inferred(specs=specs, shape=specs[0].shape, dtype=specs[0].dtype, multiply_adds=1)

    @staticmethod
    def _work(meaning: Inferred) -> Work:
        steps, flops = meaning.shape
        return Work(steps=steps, flops=flops)

    def rate(self, dtype: torch.dtype = torch.float32) -> Rate:
        """The measured rate."""
        return self.rates.rate(self.op, self.strategy, CPU, dtype)

    def estimate_ns(self, steps: int, flops: int) -> int:
        """The estimate for an operand of that shape."""
        meaning = self._understand((Spec((steps, flops), torch.float32),))
        return self.rates.estimate_ns(self.op, self.strategy, CPU, meaning)


def _call(compute: Any, meaning: Inferred, operands: Sequence[Tensor]) -> Tensor:
    result: Tensor = compute(*operands)
    return result


def test_steps_and_flops() -> None:
    """The smallest probe gives the cost of a step, the largest that of a flop."""
    bench = Bench((10, 0), (10, 1000), ns_per_step=7, ns_per_flop=3)
    assert bench.rate() == Rate(7, 3)
    assert bench.ran == [(10, 0)] * RUNS + [(10, 1000)] * RUNS
    assert bench.estimate_ns(100, 10) == 730


def test_steps_alone() -> None:
    """Without flops, each probe gives a better cost of a step."""
    bench = Bench((1, 0), (100, 0), ns_per_step=7, ns_per_flop=3)
    assert bench.rate() == Rate(7, 0)


def test_flops_within_the_first_probe() -> None:
    """What the smallest probe computes counts as its step."""
    bench = Bench((1, 4), (1, 1004), ns_per_step=8, ns_per_flop=2)
    step, spent = 8 + 2 * 4, 2 * 1004 - 2 * 4
    assert bench.rate() == Rate(step, spent / 1004)


def test_no_negative_rate() -> None:
    """A larger probe that is faster than the smallest leaves flops free of cost."""
    bench = Bench((2, 8), (1, 1), ns_per_step=4, ns_per_flop=1)
    assert bench.rate() == Rate(8, 0)


def test_no_steps() -> None:
    """A probe of no steps counts as one."""
    assert Bench((0, 5), ns_per_step=1, ns_per_flop=2).rate() == Rate(10, 0)


def test_long_probes_are_left_out() -> None:
    """A probe that would take too long, by the rates so far, is not run, nor any after it."""
    bench = Bench((1, 0), (4, 0), (5, 0), (2, 0), ns_per_step=MAX_PROBE_NS // 4, ns_per_flop=0)
    assert bench.rate() == Rate(MAX_PROBE_NS // 4, 0)
    assert set(bench.ran) == {(1, 0), (4, 0)}


def test_measured_once() -> None:
    """A strategy is measured once for each dtype."""
    bench = Bench((1, 0), ns_per_step=7, ns_per_flop=0)
    assert bench.rate() is bench.rate()
    assert len(bench.ran) == RUNS
    bench.rate(torch.float64)
    assert len(bench.ran) == 2 * RUNS


@pytest.mark.parametrize(
    ("steps", "flops"),
    [pytest.param(10**4000, 1, id="steps"), pytest.param(1, 10**4000, id="flops")],
)
def test_counts_beyond_any_float(steps: int, flops: int) -> None:
    """Counts that shapes alone can ask for, and no float holds, are just very long."""
    bench = Bench((10, 0), (10, 1000), ns_per_step=7, ns_per_flop=3)
    assert bench.estimate_ns(steps, flops) >= UNBOUNDED
