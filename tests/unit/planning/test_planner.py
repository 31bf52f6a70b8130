"""Planning: the strategy and the device of a call, and calls that are not admitted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from service.core.arithmetic import Arithmetic
from service.core.call import Shape, Spec
from service.core.dask_cluster import Cluster
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
from service.planning.cost_model import COMPILING, PRIOR_COMPILE_NS, CostModel, Curve
from service.planning.limits import Limits
from service.planning.plan import CallSpec, Explanation
from service.planning.planner import Planner
from service.registry import parse_params
from tests.rigs.costs import cost_rows

CPU = Device("cpu", "cpu", "", None)
GPU = Device("cuda:0", "cuda", "", None)
LIMITS = Limits(max_elements=1000, max_bytes=100_000, max_rank=4, deadline_ms=1000)
MS = 1_000_000


def planner(*devices: Device, **limits: int) -> Planner:
    """Return a planner for which each step of a strategy takes an eighth of a millisecond."""
    here = devices or (CPU,)
    flat = Curve(0.0, (0.0, 1.0), (MS / 8, MS / 8))
    rows = [row for device in here for row in cost_rows(device, flat)]
    return Planner(Devices(here), CostModel.from_rows(rows), replace(LIMITS, **limits))


def call_spec(
    op: str,
    *shapes: Shape,
    dtype: torch.dtype = torch.float32,
    raw: Mapping[str, object] | None = None,
    **more: Any,
) -> CallSpec:
    """Return the input of a planner."""
    params = parse_params(REGISTRY[op].params, raw or {})
    return CallSpec(REGISTRY[op], tuple(Spec(shape, dtype) for shape in shapes), params, **more)


MATMUL = call_spec("matmul", (2, 3), (3, 4))


@pytest.mark.parametrize(
    ("call", "strategy"),
    [
        pytest.param(MATMUL, "torch", id="auto"),
        pytest.param(replace(MATMUL, strategy="loops"), "loops", id="named"),
        pytest.param(
            call_spec("broadcast", (2,), (2,), raw={"op": "add"}, dtype=torch.int8),
            "torch",
            id="int8",
        ),
    ],
)
def test_strategy(call: CallSpec, strategy: str) -> None:
    """`auto` takes the first of its list, a name the named one."""
    plan = planner().plan(call)
    assert plan.strategy.name == strategy
    assert plan.device is CPU
    assert plan.op is call.op
    assert plan.inferred.specs == call.specs


@pytest.mark.parametrize(
    ("call", "ns_per_flop", "strategy"),
    [
        pytest.param({}, 0.5, "numpy", id="faster"),
        pytest.param({}, 0.95, "torch", id="hardly faster"),
        pytest.param({}, 2.0, "torch", id="slower"),
        pytest.param({"strategy": "torch"}, 0.5, "torch", id="named"),
        pytest.param({"arithmetic": Arithmetic(None, True)}, 0.5, "torch", id="deterministic"),
        pytest.param({"arithmetic": Arithmetic("ieee", False)}, 0.5, "numpy", id="as it is"),
        pytest.param({"shape": (127, 128)}, 0.5, "torch", id="too small for that"),
    ],
)
def test_large_products_go_to_the_fastest(
    call: Mapping[str, Any], ns_per_flop: float, strategy: str
) -> None:
    """Of the strategies of `auto` on the first device, one that is clearly faster is taken."""
    shape = call.get("shape", (128, 128))
    named = {name: call[name] for name in ("strategy", "arithmetic") if name in call}
    product = call_spec("matmul", shape, (128, 128), **named)
    costs = {"torch": 1.0, "numpy": ns_per_flop, "broadcast": 9.0}
    rows = [
        ("matmul", name, "cpu", "float32", kind, 0.0, (0.0, 1.0), (0.0, cost))
        for name, cost in costs.items()
        for kind in ("matrix", "")
    ]
    limits = replace(LIMITS, max_elements=10**7, max_bytes=10**8)
    plan = Planner(Devices((CPU,)), CostModel.from_rows(rows), limits).plan(product)
    assert plan.strategy.name == strategy


def test_numpy_stays_on_the_cpu() -> None:
    """A strategy gets the first device that it supports."""
    plan = planner(GPU, CPU).plan(replace(MATMUL, strategy="numpy"))
    assert plan.device is CPU


def test_cost() -> None:
    """A plan has work, bytes and time."""
    plan = planner().plan(replace(MATMUL, strategy="broadcast"))
    assert (plan.work.steps, plan.work.flops, plan.work.peak_elements) == (2, 24, 12)
    assert plan.peak_bytes == 4 * (6 + 12 + 8 + 12)
    assert plan.sizes.elements == 8
    assert (plan.estimated_ns, plan.interpreter_ns) == (2 * MS // 8, 2 * MS // 8)


def test_bytes_of_a_comparison() -> None:
    """The result of a comparison has a byte for each element."""
    plan = planner().plan(call_spec("broadcast", (2, 3), (3,), raw={"op": "lt"}))
    assert plan.peak_bytes == 4 * 6 + 4 * 3 + 6 + 4 * 6


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(replace(MATMUL, strategy="fastest"), UnknownStrategyError, id="strategy"),
        pytest.param(replace(MATMUL, device="cuda:5"), DeviceUnavailableError, id="device"),
        pytest.param(call_spec("matmul", (2, 3), (2, 3)), ShapeMismatchError, id="shapes"),
        pytest.param(
            call_spec("einsum", (2,), raw={"equation": "i>i"}), InvalidEquationError, id="equation"
        ),
    ],
)
def test_invalid_call(call: CallSpec, error: type[RequestError]) -> None:
    """An invalid call raises the same error when it is planned and when it is explained."""
    with pytest.raises(error):
        planner().plan(call)
    with pytest.raises(error):
        planner().explain(call)


HALF = call_spec("matmul", (2, 3), (3, 4), dtype=torch.float16)
EXTRAS = ("numba", "compile", "cuda", "triton")  # of which a host may have none
TF32_GPU = replace(GPU, has_tf32=True)


def asking(call: CallSpec, precision: str | None = None, **more: Any) -> CallSpec:
    """Return a call that asks for a precision, or to be deterministic; triton is installed."""
    arithmetic = Arithmetic(precision, more.pop("deterministic", None))
    return with_triton(replace(call, arithmetic=arithmetic, **more), missing=None)


def with_triton(call: CallSpec, missing: str | None) -> CallSpec:
    """Return the call where strategy `triton` lacks that, or nothing."""
    strategies = call.op.strategies
    triton = replace(strategies["triton"], missing=missing)
    return replace(call, op=replace(call.op, _strategies={**strategies, "triton": triton}))


@pytest.mark.parametrize(
    ("call", "devices", "detail", "able"),
    [
        pytest.param(
            call_spec("norm", (2, 2), raw={"ord": 1}, strategy="elementwise"),
            (CPU,),
            "norm strategy 'elementwise' does not take ord 1, only the 2-norm of vectors and fro",
            "torch numpy",
            id="declined",
        ),
        pytest.param(
            call_spec("norm", (2,), dtype=torch.float16, strategy="numpy"),
            (GPU, CPU),
            "norm strategy 'numpy' does not run on cuda",
            "loops python elementwise scaled einsum torch",
            id="of two devices the first",
        ),
        pytest.param(
            call_spec("matmul", (2, 3), (3, 4), dtype=torch.int8, strategy="torch"),
            (GPU,),
            "matmul strategy 'torch' does not take int8 on cuda",
            "loops elementwise broadcast",
            id="dtype",
        ),
        pytest.param(
            asking(MATMUL, "tf32"),
            (GPU, CPU),
            "matmul strategy 'auto' was asked for tf32; triton, einsum, torch have it, and no "
            "device of this host does",
            '"precision": "ieee" works on cuda:0',
            id="no device has it",
        ),
        pytest.param(
            asking(MATMUL, "tf32", device="cpu"),
            (TF32_GPU, CPU),
            "matmul strategy 'auto' was asked for tf32; torch has no tf32 on cpu, which computes "
            "in ieee",
            '"device": "cuda:0" has tf32',
            id="the named device lacks it",
        ),
        pytest.param(
            asking(MATMUL, "bf16x3", strategy="torch"),
            (TF32_GPU, CPU),
            "matmul strategy 'torch' was asked for bf16x3; it computes in ieee or tf32, and triton "
            "has it",
            "",
            id="the strategy lacks it",
        ),
        pytest.param(
            with_triton(asking(MATMUL, "bf16x3"), missing="needs triton"),
            (TF32_GPU, CPU),
            "matmul strategy 'auto' was asked for bf16x3; triton has it, and needs triton",
            '"precision": "ieee" works on cuda:0',
            id="the host lacks the strategy",
        ),
        pytest.param(
            asking(HALF, "tf32", strategy="numpy", device="cuda"),
            (TF32_GPU, CPU),
            "matmul strategy 'numpy' was asked for tf32; it computes in ieee, and triton, einsum, "
            "torch have it",
            "",
            id="not without it either",
        ),
        pytest.param(
            asking(MATMUL, "tf32", strategy="loops"),
            (TF32_GPU, CPU),
            "matmul strategy 'loops' was asked for tf32; it computes in ieee, and triton, einsum, "
            "torch have it",
            "einsum torch",
            id="others have it",
        ),
        pytest.param(
            asking(HALF, "tf32"),
            (TF32_GPU, CPU),
            "matmul strategy 'auto' was asked for tf32; torch has tf32 for float32 alone, and the "
            "operands are float16",
            '"precision": "ieee" works on cuda:0',
            id="not float32",
        ),
        pytest.param(
            asking(call_spec("norm", (2,)), "tf32"),
            (TF32_GPU, CPU),
            "norm strategy 'auto' was asked for tf32; all strategies of norm compute in ieee",
            '"precision": "ieee" works on cuda:0',
            id="no products",
        ),
        pytest.param(
            replace(
                call_spec("einsum", (2, 2), (2, 2), raw={"equation": "ij,jk->ik"}),
                arithmetic=Arithmetic("bf16x3"),
            ),
            (TF32_GPU, CPU),
            "einsum strategy 'auto' was asked for bf16x3; all strategies of einsum compute in ieee "
            "or tf32",
            '"precision": "ieee" works on cuda:0',
            id="no strategy has it",
        ),
    ],
)
def test_unsuitable(call: CallSpec, devices: tuple[Device, ...], detail: str, able: str) -> None:
    """The error of a strategy that does not support the call lists those that do."""
    with pytest.raises(UnsuitableStrategyError) as caught:
        planner(*devices).plan(call)
    assert caught.value.detail == detail
    listed = (caught.value.hint or "").removeprefix("these take it: ").split(", ")
    assert " ".join(name for name in listed if name not in EXTRAS) == able


def test_a_device_that_is_not_ready() -> None:
    """A GPU whose process is starting has not told its precisions yet, and gets no calls."""
    here = planner(TF32_GPU, CPU)
    here.devices.readiness.lose("cuda:0", "its process is starting", 1)
    with pytest.raises(UnsuitableStrategyError) as caught:
        here.plan(asking(MATMUL, "tf32"))
    assert caught.value.detail.endswith("torch have it, and no device that is ready does")
    assert caught.value.hint == '"precision": "ieee" works on cpu'


@pytest.mark.parametrize(
    ("call", "strategy", "device"),
    [
        pytest.param(asking(MATMUL, "ieee"), "torch", "cpu", id="ieee"),
        pytest.param(asking(MATMUL, "tf32"), "torch", "cuda:0", id="tf32"),
        pytest.param(asking(MATMUL, "tf32", strategy="einsum"), "einsum", "cuda:0", id="named"),
        pytest.param(asking(MATMUL, "bf16x3"), "triton", "cuda:0", id="bf16x3"),
        pytest.param(asking(MATMUL, deterministic=True), "torch", "cpu", id="deterministic"),
    ],
)
def test_auto_takes_what_has_the_precision(call: CallSpec, strategy: str, device: str) -> None:
    """Strategies and devices without it are passed over; the plan says what is asked for."""
    plan = planner(CPU, TF32_GPU).plan(call)
    assert (plan.strategy.name, plan.device.name) == (strategy, device)
    assert plan.arithmetic == call.arithmetic
    assert planner(CPU, TF32_GPU).explain(call).plan == plan


def test_a_cluster_is_not_deterministic() -> None:
    """A cluster adds up in any order, so that it is passed over or refused."""
    here = planner(CPU, Device("cluster", "cluster", "", None, Cluster("")))
    call = asking(replace(MATMUL, device="cluster", strategy="dask"), deterministic=True)
    with pytest.raises(UnsuitableStrategyError, match="is not deterministic on a cluster"):
        here.plan(call)
    with pytest.raises(UnsuitableStrategyError, match="does not run on cluster"):
        here.plan(replace(call, strategy="auto"))
    assert here.plan(replace(call, arithmetic=Arithmetic("ieee", False))).strategy.name == "dask"
    call = asking(replace(MATMUL, strategy="dask"), deterministic=True)
    (found,) = [each for each in here.explain(call).estimates if each.device == "cluster"]
    assert found.reason == "is not deterministic on a cluster, whose workers add up in any order"


@pytest.mark.parametrize(
    ("call", "limits", "detail", "hint"),
    [
        pytest.param(
            call_spec("matmul", (2, 1, 1, 1, 3), (3, 4)),
            {},
            "rank of the result: 5, over the limit of 4 (SERVICE_MAX_RANK)",
            None,
            id="rank",
        ),
        pytest.param(
            call_spec("broadcast", (1,), raw={"to": [10, 101]}),
            {},
            "elements of the result (10, 101): 1010, over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            None,
            id="result",
        ),
        pytest.param(
            call_spec("norm", (7, 143)),
            {},
            "elements of operand 0: 1001, over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            None,
            id="operand",
        ),
        pytest.param(
            call_spec("matmul", (2, 30), (30, 34), strategy="broadcast"),
            {},
            "elements of operand 1: 1020, over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            None,
            id="second operand",
        ),
        pytest.param(
            call_spec(
                "einsum", (20, 30), (30, 20), raw={"equation": "ij,jk->ik"}, strategy="broadcast"
            ),
            {},
            "elements of the largest intermediate of strategy 'broadcast': 12000, "
            "over the limit of 1000 (SERVICE_MAX_ELEMENTS)",
            "these are admitted: pairwise (125 us), torch (125 us), numpy (125 us)",
            id="intermediate",
        ),
        pytest.param(
            call_spec("matmul", (10, 30), (30, 30), strategy="torch"),
            {"max_bytes": 5999},
            "bytes of operands, largest intermediate and result: 6000, over the limit of 5999 "
            "(SERVICE_MAX_BYTES)",
            None,
            id="bytes",
        ),
    ],
)
def test_size(call: CallSpec, limits: dict[str, int], detail: str, hint: str | None) -> None:
    """The error of a size has the size, the limit, the setting, and what would be admitted."""
    with pytest.raises(LimitExceededError) as caught:
        planner(**limits).plan(call)
    assert (caught.value.detail, caught.value.hint) == (detail, hint)


def test_size_at_its_limit() -> None:
    """A call just within every limit is admitted."""
    call = call_spec("matmul", (10, 30), (30, 30), strategy="torch")
    planner(max_bytes=6000, max_elements=900, max_rank=2, deadline_ms=1).plan(call)


def test_work() -> None:
    """The error of work beyond the deadline has the estimate."""
    call = call_spec("matmul", (30, 30), (30, 30), strategy="loops")
    with pytest.raises(WorkExceededError) as caught:
        planner().plan(call)
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
    call = call_spec("matmul", (30, 30), (30, 30), strategy="loops", deadline_ms=deadline_ms)
    with pytest.raises(WorkExceededError, match=f"the deadline is {limit_ms} ms"):
        planner().plan(call)


def test_short_deadline_admits_little() -> None:
    """A call within the server's deadline may be over its own."""
    call = replace(MATMUL, strategy="loops")
    plan = planner().plan(call)
    assert plan.estimated_ns == 3 * MS
    planner().plan(replace(call, deadline_ms=3))
    with pytest.raises(WorkExceededError):
        planner().plan(replace(call, deadline_ms=2))


def test_giant_request_costs_nothing() -> None:
    """Sizes beyond any memory, and counts beyond any float, are rejected at once."""
    outer = call_spec("einsum", *[(100,)] * 5, raw={"equation": "a,b,c,d,e->abcde"})
    with pytest.raises(LimitExceededError, match="elements of the result"):
        planner(max_rank=16).plan(outer)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    many = call_spec(
        "einsum", *[(2**24,)] * 52, raw={"equation": f"{','.join(letters)}->"}, strategy="loops"
    )
    with pytest.raises(WorkExceededError, match="multiply-adds; the deadline is"):
        planner(max_elements=2**24, max_bytes=2**40).plan(many)


def test_explain_accepted() -> None:
    """An admitted call is explained by its plan and the cost of each strategy."""
    explanation = planner().explain(MATMUL)
    assert explanation.reason is None
    assert explanation.plan is not None
    assert explanation.plan.strategy.name == "torch"
    assert explanation.inferred.shape == (2, 4)
    estimates = {estimate.strategy: estimate for estimate in explanation.estimates}
    assert list(estimates) == list(REGISTRY["matmul"].strategies)
    assert estimates["loops"].estimated_ns == 3 * MS
    assert {estimate.device for estimate in estimates.values()} == {"cpu"}
    strategies = REGISTRY["matmul"].strategies
    elsewhere = {name for name, each in strategies.items() if each.missing or not each.dtypes}
    assert {"cuda", "dask", "triton"} <= elsewhere
    assert {name for name, estimate in estimates.items() if estimate.reason} == elsewhere
    assert all(each.plan.is_measured for each in estimates.values() if each.plan)


def test_the_time_of_compiling() -> None:
    """Each estimate has it: 0 where nothing is compiled, a prior where it is not known yet."""
    rows = [*cost_rows(CPU, Curve(0.0, (0.0,), (1.0,)))]
    rows.append(("matmul", "compile", "cpu", "float32", COMPILING, 9.0, (0.0,), (0.0,)))
    model = CostModel.from_rows(rows)
    explained = Planner(Devices((CPU,)), model, LIMITS).explain(MATMUL)
    found = {each.strategy: each.compile_ns for each in explained.estimates if each.plan}
    assert found["torch"] == 0
    assert found.get("compile", 9) == 9
    assert found.get("numba", PRIOR_COMPILE_NS["numba"]) == PRIOR_COMPILE_NS["numba"]


def test_a_prior() -> None:
    """What is not measured in its dtype has an estimate, which says so."""
    call = replace(MATMUL, specs=tuple(Spec(spec.shape, torch.float64) for spec in MATMUL.specs))
    rows = [row for row in cost_rows(CPU, Curve(0.0, (0.0,), (1.0,))) if row[3] == "float32"]
    explained = Planner(Devices((CPU,)), CostModel.from_rows(rows), LIMITS).explain(call)
    assert explained.plan is not None
    assert not any(each.plan.is_measured for each in explained.estimates if each.plan)


@pytest.mark.parametrize(("precision", "is_measured"), [("ieee", True), ("tf32", False)])
def test_estimates_are_those_of_ieee(precision: str, is_measured: bool) -> None:
    """A product in a reduced precision has the estimate of the exact one as a prior."""
    plan = planner(TF32_GPU, CPU).plan(asking(MATMUL, precision, device="cuda"))
    assert plan.estimated_ns == planner().plan(MATMUL).estimated_ns
    assert plan.is_measured == is_measured


def test_cheapest() -> None:
    """The fastest plan, admitted or not; None if no strategy supports the call."""
    cheapest = planner().explain(replace(MATMUL, strategy="loops")).cheapest
    assert cheapest is not None
    assert cheapest.estimated_ns == MS // 8
    nothing = Explanation(cheapest.inferred, cheapest.sizes, None, "no strategy takes it", ())
    assert nothing.cheapest is None


def test_explain_rejected() -> None:
    """A call over a limit is explained by the reason and the strategies that would run it."""
    call = call_spec("matmul", (30, 30), (30, 30), strategy="loops")
    explanation = planner().explain(call)
    assert explanation.plan is None
    assert explanation.reason is not None
    assert explanation.reason.startswith("matmul strategy 'loops' would take about 3.38 s")
    estimates = {estimate.strategy: estimate for estimate in explanation.estimates}
    assert estimates["loops"].reason == explanation.reason
    assert estimates["loops"].estimated_ns == 3_375_000_000
    assert estimates["torch"].reason is None


def test_explain_unsuitable() -> None:
    """A strategy that does not support the call has a reason and no estimate."""
    explanation = planner().explain(call_spec("norm", (2, 2), raw={"ord": 1}, strategy="scaled"))
    assert explanation.plan is None
    reason = "does not take ord 1 of matrices, only roots of sums of powers"
    assert explanation.reason == f"norm strategy 'scaled' {reason}"
    estimates = {estimate.strategy: estimate for estimate in explanation.estimates}
    assert estimates["scaled"].reason == reason
    assert estimates["scaled"].estimated_ns is None
    assert estimates["torch"].reason is None


@pytest.mark.parametrize("op", REGISTRY)
def test_work_limit(op: str) -> None:
    """The most work of a strategy is what fits in the deadline, by its largest sample."""
    for strategy in REGISTRY[op].strategies.values():
        if not strategy.dtypes:
            continue
        here = planner()
        limit = here.work_limit(strategy, REGISTRY[op], CPU)
        samples = REGISTRY[op].calibration_samples
        inferred = [REGISTRY[op].infer_sample(sample, torch.float32) for sample in samples]
        largest = max(inferred, key=lambda each: each.multiply_adds)
        estimated_ns = here.cost_model.estimate_ns(strategy, CPU, largest)
        assert limit.device is CPU
        assert limit.ns_per_multiply_add == pytest.approx(estimated_ns / largest.multiply_adds)
        assert limit.multiply_adds == pytest.approx(1000 * MS / limit.ns_per_multiply_add, abs=1)


def test_a_strategy_that_failed_when_it_was_measured() -> None:
    """It is refused with that reason where it failed, also by planners of other processes."""
    here = planner(TF32_GPU, CPU)
    here.cost_model.fail("matmul", "triton", TF32_GPU.name, torch.float32)
    there = planner(TF32_GPU, CPU)
    there.cost_model.update(here.cost_model.to_rows())
    call = with_triton(replace(MATMUL, strategy="triton", device=TF32_GPU.name), missing=None)
    reason = "fails on cuda:0; the log of the server has the error"
    for each in (here, there):
        with pytest.raises(UnsuitableStrategyError, match=reason):
            each.plan(call)
        found = {one.strategy: one.reason for one in each.explain(call).estimates}
        assert found["triton"] == reason
    wide = replace(call, specs=(Spec((2, 2), torch.float64),) * 2)
    with pytest.raises(UnsuitableStrategyError, match="triton"):
        here.plan(replace(call, device="cpu"))
    assert reason not in (there.explain(wide).reason or "")
