"""Rates of strategies, and their share of what a device could do."""

from typing import Any

import pytest
import torch

from service.compare.rates import Rates, curves_of
from service.core.call import Shape, Spec
from service.core.devices import CPU
from service.operations import REGISTRY
from service.planning.cost_model import Peak
from service.planning.plan import Plan, Sizes
from service.registry import Work, parse_params

SQUARE = (4, 4)
# Operations and bytes of each call in float32.
CALLS: dict[str, tuple[str, tuple[Shape, ...], dict[str, Any], int, int]] = {
    "product": ("matmul", (SQUARE, SQUARE), {}, 128, 192),
    "batch": ("matmul", ((3, *SQUARE), SQUARE), {}, 384, 448),
    "contraction": ("einsum", (SQUARE, SQUARE), {"equation": "ik,kj->ij"}, 128, 192),
    "sum": ("einsum", (SQUARE,), {"equation": "ij->"}, 16, 68),
    "transpose": ("einsum", (SQUARE,), {"equation": "ij->ji"}, 0, 128),
    "norm": ("norm", (SQUARE,), {}, 16, 68),
    "sum of two": ("broadcast", (SQUARE, (4,)), {"op": "add"}, 16, 144),
    "comparison": ("broadcast", (SQUARE, (4,)), {"op": "eq"}, 16, 96),
    "sum of three": ("broadcast", (SQUARE, (4,), (1,)), {"op": "add"}, 32, 148),
    "function of one": ("broadcast", (SQUARE,), {"op": "exp"}, 16, 128),
    "view": ("broadcast", ((4,),), {"to": [4, 4]}, 0, 80),
    "nothing": ("matmul", ((2, 0), (0, 2)), {}, 0, 16),
}


def plan_of(
    name: str,
    shapes: tuple[Shape, ...],
    params: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> Plan:
    """Return the plan of a call."""
    op = REGISTRY[name]
    specs = tuple(Spec(shape, dtype) for shape in shapes)
    inferred = op.infer(specs, **parse_params(op.params, params))
    return Plan(op, inferred, op.strategies["torch"], CPU, Work(1, 1), Sizes.of(inferred), 1)


@pytest.mark.parametrize(
    ("op", "shapes", "params", "operations", "moved"), CALLS.values(), ids=CALLS
)
def test_what_counts(
    op: str, shapes: tuple[Shape, ...], params: dict[str, Any], operations: int, moved: int
) -> None:
    """Two for a multiply-add of a product, else one an element; operands and result once."""
    plan = plan_of(op, shapes, params)
    assert (plan.inferred.operations, plan.sizes.outer_bytes) == (operations, moved)
    found = curves_of(plan, Peak(), 2.0)
    assert found == (Rates(operations / 2, moved / 2, None) if operations else None)


@pytest.mark.parametrize(
    ("peak", "share"),
    [
        (Peak(128, 960), 0.5),  # both: 1 ns for the operations, 0.2 ns for the bytes
        (Peak(1280, 96), 1.0),
        (Peak(128, None), None),
        (Peak(None, 192), None),
        (Peak(), None),
    ],
)
def test_the_share_is_that_of_the_tighter_bound(peak: Peak, share: float | None) -> None:
    """The device would need the longer of both times, so that both have to be known."""
    found = curves_of(plan_of(*CALLS["product"][:3]), peak, 2.0)
    assert found is not None
    assert found.peak_share == share


def test_bytes_alone_bound_what_has_no_product() -> None:
    """Torch has no product of bool, whose peak is never measured."""
    plan = plan_of("broadcast", (SQUARE, SQUARE), {"op": "eq"}, torch.bool)
    assert curves_of(plan, Peak(None, 48), 2.0) == Rates(8, 24, 0.5)


def test_a_run_without_time_has_no_rate() -> None:
    """A clock may be too coarse for a run."""
    assert curves_of(plan_of(*CALLS["product"][:3]), Peak(), 0.0) is None
