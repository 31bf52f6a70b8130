"""Calibration, with a clock that the strategies themselves advance."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from service.core.call import Spec, Tensor
from service.core.devices import CPU
from service.core.dtypes import DTYPES, FLOATS
from service.errors import UnsupportedDtypeError
from service.operations import REGISTRY
from service.planning.calibration import (
    MAX_SAMPLE_NS,
    MOST_RUNS,
    SHORT_NS,
    Timing,
    calibrate,
    fit,
)
from service.planning.cost_model import COMPILING, Curve
from service.registry import Inferred, Op, Sample, Work


class Bench:
    """Operation with one strategy, whose time depends on the numbers of rows and columns.

    Rows are steps, and columns are the multiply-adds of a step. The kind of its work is the name
    of the sample.
    """

    def __init__(self, *shapes: tuple[int, int], call_ns: int, step_ns: int, flop_ns: int) -> None:
        self.now = 0
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
            calibration_samples=tuple(Sample("sample", (shape,)) for shape in shapes),
        )

        def toy(x: Tensor) -> Tensor:
            """Takes time."""
            rows, columns = x.shape
            self.ran.append((rows, columns))
            self.now += call_ns + rows * (step_ns + columns * flop_ns)
            return x

        self.op.strategy("toy", adapt=_call, work=self._work, dtypes=FLOATS)(toy)

    @staticmethod
    def _infer(specs: tuple[Spec, ...]) -> Inferred:
        if specs[0].dtype == torch.float16:
            raise UnsupportedDtypeError("not of float16")
        return Inferred(specs=specs, shape=specs[0].shape, dtype=specs[0].dtype, multiply_adds=1)

    @staticmethod
    def _work(inferred: Inferred) -> Work:
        rows, columns = inferred.shape
        return Work(rows, rows * columns, kind="wide" if columns > 999 else "")

    def curves(self, dtype: torch.dtype = torch.float32) -> dict[str, Curve]:
        """Return what is measured."""
        return calibrate(self.op, self.op.strategies["toy"], CPU, dtype, lambda: self.now)


def _call(compute: Any, inferred: Inferred, operands: Sequence[Tensor]) -> Tensor:
    result: Tensor = compute(*operands)
    return result


def test_a_call_a_step_and_a_multiply_add() -> None:
    """Samples with steps of one size tell a call from a step; others tell their multiply-adds."""
    bench = Bench((1, 1), (4, 1), (1, 100), (2, 900), call_ns=50, step_ns=7, flop_ns=3)
    (curve,) = bench.curves().values()
    assert curve == Curve(50, [1, 100, 900], [10, 307, 2707])
    assert curve.times_ns(Work(3, 3 * 500))[0] == 50 + 3 * (7 + 500 * 3)
    assert bench.ran.count((1, 1)) == 1 + MOST_RUNS


def test_compiling() -> None:
    """What is compiled has a curve of its own; its runs do not have that time."""
    bench = Bench((1, 1), call_ns=50, step_ns=7, flop_ns=3)
    toy = bench.op.strategies["toy"]

    def compile_toy(inferred: Inferred, operands: Sequence[Tensor]) -> bool:
        assert operands[0].shape == inferred.shape
        if not bench.ran:
            bench.now += 1_000_000
        return not bench.ran

    compiled = replace(toy, compile=compile_toy)
    curves = calibrate(bench.op, compiled, CPU, torch.float32, lambda: bench.now)
    assert curves == {COMPILING: Curve(1_000_000, (0.0,), (0.0,)), "": Curve(0, [1], [60])}
    again = calibrate(bench.op, compiled, CPU, torch.float32, lambda: bench.now)
    assert again.keys() == {""}, "to look up what is compiled is no measurement"
    assert calibrate(bench.op, compiled, CPU, torch.float16, lambda: bench.now) == {}


def test_kinds_of_work() -> None:
    """Each kind has a curve of its own."""
    bench = Bench((1, 1), (1, 1000), call_ns=50, step_ns=7, flop_ns=3)
    assert bench.curves() == {"": Curve(0, [1], [60]), "wide": Curve(0, [1000], [3057])}


def test_long_samples_are_left_out() -> None:
    """A sample that would take too long by those before it is not run; shorter ones are."""
    step = MAX_SAMPLE_NS // 4
    bench = Bench((1, 0), (4, 0), (5, 0), (2, 0), (1, 1), call_ns=0, step_ns=step, flop_ns=1)
    assert bench.curves() == {"": Curve(0, [0, 1], [step, step + 1])}
    assert set(bench.ran) == {(1, 0), (4, 0), (1, 1)}, "(2, 0) lies between two that were run"


@pytest.mark.parametrize(
    ("ns", "runs"),
    [(1, 1 + MOST_RUNS), (SHORT_NS, 3), (SHORT_NS // 5, 6), (MAX_SAMPLE_NS + 1, 2)],
)
def test_runs_of_a_sample(ns: int, runs: int) -> None:
    """It is repeated twice, unless it is long, and then as long as all runs are short."""
    bench = Bench((1, 0), call_ns=0, step_ns=ns, flop_ns=0)
    assert bench.curves() == {"": Curve(0, [0], [ns])}
    assert len(bench.ran) == runs


def test_what_a_strategy_does_not_take() -> None:
    """Samples without meaning in a dtype are left out, and those that the strategy refuses."""
    assert Bench((1, 1), call_ns=0, step_ns=1, flop_ns=1).curves(torch.float16) == {}
    assert Bench((1, 1), call_ns=0, step_ns=1, flop_ns=1).curves(torch.int8) == {}


def test_no_measurement_for_another_process() -> None:
    """A device that has a process of its own is measured there."""
    bench = Bench((1, 1), call_ns=0, step_ns=1, flop_ns=1)
    with pytest.raises(LookupError):
        calibrate(
            bench.op, bench.op.strategies["toy"], replace(CPU, has_process=True), torch.float32
        )


def test_noise_does_not_make_times_negative() -> None:
    """More steps may be timed as quicker than fewer, and a step as quicker than a call."""
    assert fit([Timing(1, 1, 50), Timing(4, 1, 20)]) == Curve(50, [1], [0])
    assert fit([Timing(1, 1, 50), Timing(4, 1, 50), Timing(1, 2, 40)]) == Curve(50, [1, 2], [0, 0])


@pytest.mark.parametrize("op", REGISTRY.values(), ids=REGISTRY)
def test_samples_of_all_operations(op: Op[Any]) -> None:
    """In every dtype, each strategy has curves, and those of its kinds are of the same work."""
    for strategy in op.strategies.values():
        for dtype in strategy.dtypes:
            works = [
                strategy.work(op.infer_sample(each, torch.float32))
                for each in op.calibration_samples
            ]
            kinds = {work.kind for work in works}
            assert kinds, (strategy.name, dtype)
            for kind in kinds:
                flops = [w.flops / max(1, w.steps * w.repeats) for w in works if w.kind == kind]
                assert flops, kind
    assert len(DTYPES) == 12
