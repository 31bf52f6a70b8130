"""Times by curves: interpolation, extrapolation, priors, and exchange with other processes."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
import torch

from service.core.devices import CPU
from service.operations import REGISTRY
from service.planning.cost_model import (
    COMPILING,
    NS_PER_FLOP,
    PRIOR_COMPILE_NS,
    PRIOR_FACTORS,
    ROUND_TRIP_NS,
    UNBOUNDED,
    UNKNOWN_COMPILE_NS,
    UNMEASURED,
    CostModel,
    Curve,
)
from service.registry import Work

OP = REGISTRY["matmul"]
TORCH = OP.strategies["torch"]
CURVE = Curve(100.0, (1.0, 11.0, 21.0), (10.0, 30.0, 130.0))


def test_the_time_of_compiling() -> None:
    """It is the longest that was measured, or a prior; 0 if nothing is compiled."""
    compiled = replace(TORCH, compile=lambda inferred, operands: True)
    model = CostModel()
    assert model.compile_ns(TORCH, CPU) == 0
    assert model.compile_ns(compiled, CPU) == UNKNOWN_COMPILE_NS
    assert model.compile_ns(replace(compiled, name="numba"), CPU) == PRIOR_COMPILE_NS["numba"]
    for dtype, ns in ((torch.float64, 700.0), (torch.float32, 900.0), (torch.int8, 20.0)):
        model.add(("matmul", "torch", "cpu", dtype, COMPILING), Curve(ns, (0.0,), (0.0,)))
        model.add(("matmul", "torch", "cpu", dtype, ""), Curve(10_000.0, (0.0,), (0.0,)))
    for each in (model, CostModel.from_rows(model.to_rows())):
        assert each.compile_ns(compiled, CPU) == 900
        assert each.compile_ns(compiled, replace(CPU, name="cuda:0")) == UNKNOWN_COMPILE_NS
        assert each.compile_ns(TORCH, CPU) == 0
    for ns in (950, 20):
        model.learn_compiling("matmul", "torch", "cpu", ns)
    assert model.compile_ns(compiled, CPU) == 950


@pytest.mark.parametrize(
    ("flops", "ns"),
    [(0, 10), (1, 10), (6, 20), (11, 30), (16, 80), (21, 130), (31, 230)],
    ids=str,
)
def test_a_step_between_and_beyond_points(flops: int, ns: int) -> None:
    """Times lie on lines between points, on the last line beyond them, and not below the first."""
    assert CURVE.times_ns(Work(1, flops))[0] == 100 + ns


def test_a_larger_step_is_not_quicker() -> None:
    """Points may fall, as where a library splits a product; the line beyond them may not."""
    curve = Curve(0.0, (1.0, 11.0), (30.0, 10.0))
    assert [curve.times_ns(Work(1, flops))[0] for flops in (6, 100)] == [20, 10]


def test_one_point() -> None:
    """Without a second point, a multiply-add takes a nanosecond."""
    curve = Curve(0.0, (4.0,), (10.0,))
    assert [curve.times_ns(Work(1, flops))[0] for flops in (4, 14)] == [10, 10 + 10 * NS_PER_FLOP]


def test_calls_steps_and_parts() -> None:
    """A call takes its time, and each part of each step; the GIL is held in calls and steps."""
    assert CURVE.times_ns(Work(1, 11)) == (130, 110)
    assert CURVE.times_ns(Work(4, 44)) == (100 + 4 * 30, 100 + 4 * 10)
    assert CURVE.times_ns(Work(4, 44, calls=2)) == (200 + 4 * 30, 200 + 4 * 10)
    assert CURVE.times_ns(Work(1, 44, repeats=4)) == (100 + 4 * 30, 110)
    assert CURVE.times_ns(Work(0, 0)) == (110, 100)


@pytest.mark.parametrize(
    "work",
    [Work(10**4000, 1), Work(1, 10**4000), Work(1, 1, repeats=10**4000)],
    ids=["steps", "flops", "repeats"],
)
def test_counts_beyond_any_float(work: Work) -> None:
    """Counts that follow from shapes alone may exceed any float; the estimate is just large."""
    assert CURVE.times_ns(work)[0] >= UNBOUNDED


def estimate_ns(
    model: CostModel, dtype: torch.dtype, device: Any = CPU, name: str = "torch"
) -> int:
    """Return the estimate of a product of 2 x 2."""
    return model.cost(OP.strategies[name], device, dtype, Work(1, 11, kind="matrix"))[0]


def test_priors() -> None:
    """Multiply-adds of another dtype take longer by a factor, and a call as long as in float32."""
    model = CostModel()
    assert estimate_ns(model, torch.float32) == UNMEASURED.times_ns(Work(1, 11))[0]
    model.add(("matmul", "torch", "cpu", torch.float32, "matrix"), CURVE)
    assert estimate_ns(model, torch.float32) == 130
    for dtype, factor in PRIOR_FACTORS.items():
        assert estimate_ns(model, dtype) == 110 + 20 * factor
    for dtype, kind, is_measured in (
        (torch.float32, "matrix", True),
        (torch.float64, "matrix", False),
        (torch.float32, "vector", False),
    ):
        assert model.cost(TORCH, CPU, dtype, Work(1, 1, kind=kind))[2] == is_measured
    assert model.measured() == {("matmul", "torch", "cpu", torch.float32)}


def test_a_cluster() -> None:
    """Each of its threads is taken to be as fast as one of this host, after a round trip."""

    class Cluster:
        threads = 4 * torch.get_num_threads()

    model, there = CostModel(), replace(CPU, name="dask", cluster=Cluster())  # type: ignore[arg-type]
    model.add(("matmul", "numpy", "cpu", torch.float64, "matrix"), CURVE)
    assert estimate_ns(model, torch.float64, there, "dask") == ROUND_TRIP_NS + round(30 / 4)
    model.add(("matmul", "numpy", "cpu", torch.float32, "matrix"), CURVE)
    slower = 10 + 20 * PRIOR_FACTORS[torch.int64]
    assert estimate_ns(model, torch.int64, there, "dask") == ROUND_TRIP_NS + round(slower / 4)


def test_costs_are_read_as_they_were_written() -> None:
    """Processes exchange them as JSON, bit for bit."""
    model = CostModel()
    model.add(("matmul", "torch", "cpu", torch.float32, "matrix"), CURVE)
    model.add(("matmul", "torch", "cpu", torch.int8, "vector"), replace(CURVE, call_ns=1 / 3))
    text = orjson.dumps(model.to_rows())
    assert len(model.to_rows()) == 2
    assert orjson.dumps(CostModel.from_rows(orjson.loads(text)).to_rows()) == text
