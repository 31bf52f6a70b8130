"""Measured costs of strategies, with a clock that the strategies themselves advance."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
import torch

from service.core.call import Spec, Tensor
from service.core.devices import Device
from service.core.dtypes import FLOATS
from service.operations import REGISTRY
from service.planning.cost_model import MAX_SAMPLE_NS, REPEATS, UNBOUNDED, CostModel, Rate
from service.registry import Inferred, Op, Sample, Work

CPU = Device("cpu", "cpu", "", None)
RUNS = REPEATS + 1  # the first is not timed


class Clock:
    """Clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """Return the time in nanoseconds."""
        return self.now


class Bench:
    """Operation with one strategy, whose time depends on the numbers of rows and columns."""

    def __init__(
        self, *calibration_samples: tuple[int, int], ns_per_step: int, ns_per_flop: int
    ) -> None:
        self.clock = Clock()
        self.cost_model = CostModel(self.clock)
        self.ran: list[tuple[int, ...]] = []
        self.op: Op[Inferred] = Op(
            name="toy",
            summary="Takes time.",
            operands=("x",),
            params=(),
            infer=self._infer,
            check_overflow=lambda inferred, operands: None,
            auto=("toy",),
            samples=(),
            error_samples=(),
            calibration_samples=tuple(Sample("sample", (shape,)) for shape in calibration_samples),
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
    def _infer(specs: tuple[Spec, ...]) -> Inferred:
        return Inferred(specs=specs, shape=specs[0].shape, dtype=specs[0].dtype, multiply_adds=1)

    @staticmethod
    def _work(inferred: Inferred) -> Work:
        steps, flops = inferred.shape
        return Work(steps=steps, flops=flops)

    def rate(self, dtype: torch.dtype = torch.float32) -> Rate:
        """Return the measured rate."""
        return self.cost_model.rate(self.op, self.strategy, CPU, dtype)

    def estimate_ns(self, steps: int, flops: int) -> int:
        """Return the estimate for an operand of that shape."""
        inferred = self._infer((Spec((steps, flops), torch.float32),))
        return self.cost_model.estimate_ns(self.op, self.strategy, CPU, inferred)


def _call(compute: Any, inferred: Inferred, operands: Sequence[Tensor]) -> Tensor:
    result: Tensor = compute(*operands)
    return result


def test_steps_and_flops() -> None:
    """The smallest sample gives the cost of a step, the largest that of a flop."""
    bench = Bench((10, 0), (10, 1000), ns_per_step=7, ns_per_flop=3)
    assert bench.rate() == Rate(7, 3)
    assert bench.ran == [(10, 0)] * RUNS + [(10, 1000)] * RUNS
    assert bench.estimate_ns(100, 10) == 730


def test_steps_alone() -> None:
    """Without flops, each sample gives a better cost of a step."""
    bench = Bench((1, 0), (100, 0), ns_per_step=7, ns_per_flop=3)
    assert bench.rate() == Rate(7, 0)


def test_flops_within_the_first_sample() -> None:
    """The flops of the smallest sample count as part of its step."""
    bench = Bench((1, 4), (1, 1004), ns_per_step=8, ns_per_flop=2)
    step, spent = 8 + 2 * 4, 2 * 1004 - 2 * 4
    assert bench.rate() == Rate(step, spent / 1004)


def test_no_negative_rate() -> None:
    """If a larger sample is faster than the smallest, a flop costs nothing."""
    bench = Bench((2, 8), (1, 1), ns_per_step=4, ns_per_flop=1)
    assert bench.rate() == Rate(8, 0)


def test_no_steps() -> None:
    """A sample without steps counts as one step."""
    assert Bench((0, 5), ns_per_step=1, ns_per_flop=2).rate() == Rate(10, 0)


def test_long_samples_are_skipped() -> None:
    """A sample that would take too long by the rates so far is not run, nor any after it."""
    bench = Bench((1, 0), (4, 0), (5, 0), (2, 0), ns_per_step=MAX_SAMPLE_NS // 4, ns_per_flop=0)
    assert bench.rate() == Rate(MAX_SAMPLE_NS // 4, 0)
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
    """Counts that follow from shapes alone may exceed any float; the estimate is just large."""
    bench = Bench((10, 0), (10, 1000), ns_per_step=7, ns_per_flop=3)
    assert bench.estimate_ns(steps, flops) >= UNBOUNDED


def test_costs_are_read_as_they_were_written() -> None:
    """Processes exchange them as JSON, bit for bit."""
    op, model = REGISTRY["matmul"], CostModel()
    for strategy in op.strategies.values():
        if torch.float32 in strategy.dtypes:
            model.rate(op, strategy, CPU, torch.float32)
    rows = model.to_rows()
    assert rows
    assert CostModel.from_rows(orjson.loads(orjson.dumps(rows))).to_rows() == rows
