"""Admission: which strategy runs a call, where, and which calls are refused before they run."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch

from service.core.call import Shape, Spec
from service.core.devices import Device, Devices
from service.errors import (
    DeviceUnavailableError,
    InvalidEquationError,
    LimitExceededError,
    RequestError,
    ShapeMismatchError,
    UnknownStrategyError,
    UnsuitableStrategyError,
    WorkExceededError,
)
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.planning.planner import CallSpec, Explanation, Planner
from service.registry import Sample, parse_params

CPU = Device("cpu", "cpu", "", None)
GPU = Device("cuda:0", "cuda", "", None)
LIMITS = Limits(max_elements=1000, max_bytes=100_000, max_rank=4, deadline_ms=1000)
MS = 1_000_000


def planner(*devices: Device, **limits: int) -> Planner:
    """A planner for which each probe of a strategy takes a millisecond, whatever it computes.

    A step of `loops` is then an eighth of that: its smallest probe has eight multiply-adds.
    """
    ticks = count(0, MS)
    rates = CostModel(lambda: next(ticks))
    return Planner(Devices(devices or (CPU,)), rates, replace(LIMITS, **limits))


def request(
    op: str,
    *shapes: Shape,
    dtype: torch.dtype = torch.float32,
    raw: Mapping[str, object] | None = None,
    **more: Any,
) -> CallSpec:
    """What is asked of a planner."""
    params = parse_params(REGISTRY[op].params, raw or {})
    return CallSpec(REGISTRY[op], tuple(Spec(shape, dtype) for shape in shapes), params, **more)


MATMUL = request("matmul", (2, 3), (3, 4))


@pytest.mark.parametrize(
    ("asked", "strategy"),
    [
        pytest.param(MATMUL, "torch", id="auto"),
        pytest.param(replace(MATMUL, strategy="loops"), "loops", id="named"),
        pytest.param(
            request("broadcast", (2,), (2,), raw={"op": "add"}, dtype=torch.int8),
            "torch",
            id="int8",
        ),
    ],
)
def test_strategy(asked: CallSpec, strategy: str) -> None:
    """`auto` takes the first of its list, a name what is named."""
    plan = planner().plan(asked)
    assert plan.strategy.name == strategy
    assert plan.device is CPU
    assert plan.op is asked.op
    assert plan.meaning.specs == asked.specs


@pytest.mark.parametrize(
    ("asked", "ns_per_flop", "strategy"),
    [
        pytest.param({}, 0.5, "numpy", id="quicker"),
        pytest.param({}, 0.95, "torch", id="hardly quicker"),
        pytest.param({}, 2.0, "torch", id="slower"),
        pytest.param({"strategy": "torch"}, 0.5, "torch", id="named"),
        pytest.param({"shape": (127, 128)}, 0.5, "torch", id="too small for that"),
    ],
)
def test_large_products_go_to_the_quickest(
    asked: Mapping[str, Any], ns_per_flop: float, strategy: str
) -> None:
    """Of those that `auto` lists, on the first device, as far as it is clear which that is."""
    shape = asked.get("shape", (128, 128))
    named = {"strategy": asked["strategy"]} if "strategy" in asked else {}
    product = request("matmul", shape, (128, 128), **named)
    costs = {"torch": 1.0, "numpy": ns_per_flop, "broadcast": 9.0}
    rows = [("matmul", name, "cpu", "float32", 0.0, cost) for name, cost in costs.items()]
    limits = replace(LIMITS, max_elements=10**7, max_bytes=10**8)
    plan = Planner(Devices((CPU,)), CostModel.of(rows), limits).plan(product)
    assert plan.strategy.name == strategy


def test_numpy_stays_on_the_cpu() -> None:
    """Of several devices, a strategy gets the best that it runs on."""
    plan = planner(GPU, CPU).plan(replace(MATMUL, strategy="numpy"))
    assert plan.device is CPU


def test_cost() -> None:
    """A plan counts work, bytes and time."""
    plan = planner().plan(replace(MATMUL, strategy="broadcast"))
    assert (plan.work.steps, plan.work.flops, plan.work.peak_elements) == (2, 24, 12)
    assert plan.peak_bytes == 4 * (6 + 12 + 8 + 12)
    assert plan.elements == 8
    assert plan.estimated_ns >= MS


def test_bytes_of_a_comparison() -> None:
    """A comparison's result takes a byte an element."""
    plan = planner().plan(request("broadcast", (2, 3), (3,), raw={"op": "lt"}))
    assert plan.peak_bytes == 4 * 6 + 4 * 3 + 6 + 4 * 6


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        pytest.param(replace(MATMUL, strategy="fastest"), UnknownStrategyError, id="strategy"),
        pytest.param(replace(MATMUL, device="cuda:5"), DeviceUnavailableError, id="device"),
        pytest.param(request("matmul", (2, 3), (2, 3)), ShapeMismatchError, id="shapes"),
        pytest.param(
            request("einsum", (2,), raw={"equation": "i>i"}), InvalidEquationError, id="equation"
        ),
    ],
)
def test_no_meaning(asked: CallSpec, error: type[RequestError]) -> None:
    """What has no meaning is refused, run or explained."""
    with pytest.raises(error):
        planner().plan(asked)
    with pytest.raises(error):
        planner().explain(asked)


def test_unsuitable() -> None:
    """A strategy that does not take the call is refused with those that do."""
    asked = request("norm", (2, 2), raw={"ord": 1}, strategy="elementwise")
    with pytest.raises(UnsuitableStrategyError, match="'elementwise' does not take ord 1") as why:
        planner().plan(asked)
    assert why.value.hint == "these take it: torch, numpy"


@pytest.mark.parametrize(
    ("asked", "limits", "detail", "hint"),
    [
        pytest.param(
            request("matmul", (2, 1, 1, 1, 3), (3, 4)),
            {},
            "rank of the result: 5, over the limit of 4 (SERVICE_MAX_RANK)",
            None,
            id="rank",
        ),
        pytest.param(
            request("broadcast", (1,), raw={"to": [10, 101]}),
            {},
            "elements of the result [10, 101]: 1010, over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            None,
            id="result",
        ),
        pytest.param(
            request("norm", (7, 143)),
            {},
            "elements of operand 0: 1001, over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            None,
            id="operand",
        ),
        pytest.param(
            request("matmul", (2, 30), (30, 34), strategy="broadcast"),
            {},
            "elements of operand 1: 1020, over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            None,
            id="second operand",
        ),
        pytest.param(
            request(
                "einsum", (20, 30), (30, 20), raw={"equation": "ij,jk->ik"}, strategy="broadcast"
            ),
            {},
            "elements of the largest intermediate of strategy 'broadcast': 12000, "
            "over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            "these are admitted: pairwise (1.00 ms), torch (1.00 ms), numpy (1.00 ms)",
            id="intermediate",
        ),
        pytest.param(
            request("matmul", (10, 30), (30, 30), strategy="torch"),
            {"max_bytes": 5999},
            "bytes of operands, largest intermediate and result: 6000, over the limit of 5999 "
            "(SERVICE_MAX_BYTES)",
            None,
            id="bytes",
        ),
    ],
)
def test_size(asked: CallSpec, limits: dict[str, int], detail: str, hint: str | None) -> None:
    """A size over its limit is refused: what it is, the limit, the setting, and what would work."""
    with pytest.raises(LimitExceededError) as caught:
        planner(**limits).plan(asked)
    assert (caught.value.detail, caught.value.hint) == (detail, hint)


def test_size_at_its_limit() -> None:
    """What is just within every limit is admitted."""
    asked = request("matmul", (10, 30), (30, 30), strategy="torch")
    planner(max_bytes=6000, max_elements=900, max_rank=2, deadline_ms=1).plan(asked)


def test_work() -> None:
    """Work that would take longer than the deadline is refused with the estimate."""
    asked = request("matmul", (30, 30), (30, 30), strategy="loops")
    with pytest.raises(WorkExceededError) as caught:
        planner().plan(asked)
    # 1 ms for the 8 multiply-adds of the smallest probe, and the next one would take too long.
    assert caught.value.detail == (
        "matmul strategy 'loops' would take about 3.38 s on cpu for 27000 multiply-adds; "
        "the deadline is 1000 ms (SERVICE_DEADLINE_MS)"
    )
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("these are admitted: ")
    assert "torch (" in caught.value.hint
    assert "loops (" not in caught.value.hint


@pytest.mark.parametrize(
    ("deadline_ms", "limit_ms"),
    [
        pytest.param(None, 1000, id="the server's"),
        pytest.param(5, 5, id="shorter"),
        pytest.param(60_000, 1000, id="no longer"),
    ],
)
def test_deadline(deadline_ms: int | None, limit_ms: int) -> None:
    """A request may shorten the deadline and cannot lengthen it."""
    asked = request("matmul", (30, 30), (30, 30), strategy="loops", deadline_ms=deadline_ms)
    with pytest.raises(WorkExceededError, match=f"the deadline is {limit_ms} ms"):
        planner().plan(asked)


def test_short_deadline_admits_little() -> None:
    """A call within the server's deadline may be over its own."""
    asked = replace(MATMUL, strategy="loops")
    plan = planner().plan(asked)
    assert plan.estimated_ns == 3 * MS
    planner().plan(replace(asked, deadline_ms=3))
    with pytest.raises(WorkExceededError):
        planner().plan(replace(asked, deadline_ms=2))


def test_giant_request_costs_nothing() -> None:
    """Sizes that no memory holds, and counts that no float holds, are refused at once."""
    outer = request("einsum", *[(100,)] * 5, raw={"equation": "a,b,c,d,e->abcde"})
    with pytest.raises(LimitExceededError, match="elements of the result"):
        planner(max_rank=16).plan(outer)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    many = request(
        "einsum", *[(2**24,)] * 52, raw={"equation": f"{','.join(letters)}->"}, strategy="loops"
    )
    with pytest.raises(WorkExceededError, match="multiply-adds; the deadline is"):
        planner(max_elements=2**24, max_bytes=2**40).plan(many)


def test_explain_accepted() -> None:
    """An admitted call is explained by its plan, and by what each strategy would cost."""
    explanation = planner().explain(MATMUL)
    assert explanation.reason is None
    assert explanation.plan is not None
    assert explanation.plan.strategy.name == "torch"
    assert explanation.meaning.shape == (2, 4)
    estimates = {estimate.strategy: estimate for estimate in explanation.estimates}
    assert list(estimates) == list(REGISTRY["matmul"].strategies)
    assert estimates["loops"].estimated_ns == 3 * MS
    assert {estimate.device for estimate in estimates.values()} == {"cpu"}
    assert {name for name, estimate in estimates.items() if estimate.reason} == {"dask"}


def test_cheapest() -> None:
    """The quickest strategy, whether admitted or not; none where no strategy takes the call."""
    cheapest = planner().explain(replace(MATMUL, strategy="loops")).cheapest
    assert cheapest is not None
    assert cheapest.estimated_ns == MS
    nothing = Explanation(cheapest.meaning, None, "no strategy takes it", ())
    assert nothing.cheapest is None


def test_explain_refused() -> None:
    """A call over a limit is explained by the reason, beside the strategies that would run it."""
    asked = request("matmul", (30, 30), (30, 30), strategy="loops")
    explanation = planner().explain(asked)
    assert explanation.plan is None
    assert explanation.reason is not None
    assert explanation.reason.startswith("matmul strategy 'loops' would take about 3.38 s")
    estimates = {estimate.strategy: estimate for estimate in explanation.estimates}
    assert estimates["loops"].reason == explanation.reason
    assert estimates["loops"].estimated_ns == 3_375_000_000
    assert estimates["torch"].reason is None


def test_explain_unsuitable() -> None:
    """A strategy that does not take the call has no estimate, and a reason."""
    explanation = planner().explain(request("norm", (2, 2), raw={"ord": 1}, strategy="scaled"))
    assert explanation.plan is None
    reason = "does not take ord 1 of matrices, only roots of sums of powers"
    assert explanation.reason == f"norm strategy 'scaled' {reason}"
    estimates = {estimate.strategy: estimate for estimate in explanation.estimates}
    assert estimates["scaled"].reason == reason
    assert estimates["scaled"].estimated_ns is None
    assert estimates["torch"].reason is None


@pytest.mark.parametrize("op", REGISTRY)
def test_work_limit(op: str) -> None:
    """The most work of each strategy is what the deadline leaves, as its largest probe goes."""
    for strategy in REGISTRY[op].strategies.values():
        if not strategy.dtypes:
            continue
        here = planner()
        limit = here.work_limit(strategy, REGISTRY[op], CPU)
        largest = REGISTRY[op].infer_sample(
            Sample(
                "",
                REGISTRY[op].calibration_samples[-1].shapes,
                REGISTRY[op].calibration_samples[-1].params,
            ),
            torch.float32,
        )
        estimated_ns = here.rates.estimate_ns(REGISTRY[op], strategy, CPU, largest)
        assert limit.device is CPU
        assert limit.ns_per_multiply_add == pytest.approx(estimated_ns / largest.multiply_adds)
        assert limit.multiply_adds == pytest.approx(1000 * MS / limit.ns_per_multiply_add, abs=1)
