"""Running planned chains: devices, phases, warmth and faults. Contract tests have the rest."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from service import chain_engine as module
from service.chain_engine import chain_call, prepare_chain, run_chain
from service.core.call import Call, ChainOutcome, StoreTarget, Tensor
from service.core.devices import CLUSTER, Device
from service.core.timing import COMPILE, COMPUTE, DOWNLOAD, UPLOAD, Stopwatch
from service.engine import Engine
from service.errors import (
    IntegerOverflowError,
    InvalidFieldError,
    LimitExceededError,
    OutOfMemoryError,
    UnsuitableStrategyError,
    WorkExceededError,
)
from service.operations import REGISTRY
from service.planning.chain import ChainSpec, explain_chain
from service.planning.chain_steps import ChainStep
from service.planning.cost_model import Curve
from service.registry import parse_params
from tests.unit.test_engine import CPU, engine

GPU = Device("cuda:0", "cuda", "", None)
M = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def step(name: str, operation: str, *sources: int | str, **fields: object) -> ChainStep:
    """Return a step."""
    op = REGISTRY[operation]
    return ChainStep(name, op, sources, parse_params(op.params, fields))


def run(engine: Engine, call: Call, watch: Stopwatch | None = None) -> ChainOutcome:
    """Plan and run a chain."""
    return run_chain(engine, call, prepare_chain(engine, call), watch or Stopwatch.start())


def squares(*operands: Tensor) -> Call:
    """Return a chain of two products."""
    steps = step("h", "matmul", 0, 0), step("y", "matmul", "h", "h")
    return chain_call(operands, steps, ["y"])


def test_steps_that_are_made_in_python() -> None:
    """They run as decoded ones do; the second time they are warm."""
    here = engine()
    cold, warm = run(here, squares(M)), run(here, squares(M))
    assert torch.equal(warm.results["y"], M @ M @ (M @ M))
    assert (cold.warm, warm.warm) == (False, True)
    assert [each.name for each in warm.steps] == ["h", "y"]
    assert cold.result is cold.results["y"]


def test_values_on_a_gpu() -> None:
    """They are moved there once, and results back at the end; here from the CPU to the CPU."""
    watch = Stopwatch.start()
    outcome = run(engine(devices=(GPU, CPU)), squares(M), watch)
    assert outcome.device == "cuda:0"
    phases = [phase for phase, _ in watch.marks]
    assert (phases.count(UPLOAD), phases.count(COMPUTE), phases.count(DOWNLOAD)) == (1, 2, 1)


def test_a_step_that_is_compiled() -> None:
    """Code for its operands is there before it is computed, in a phase of its own."""
    compiled: list[Sequence[Tensor]] = []

    def compile_first(_: object, operands: Sequence[Tensor]) -> bool:
        compiled.append(operands)
        return len(compiled) == 1

    op = REGISTRY["matmul"]
    own = replace(op.strategies["torch"], compile=compile_first)
    first = ChainStep("h", replace(op, auto=("torch",), _strategies={"torch": own}), (0, 0))
    call = chain_call([M], [first, step("y", "matmul", "h", 0)], ["y"])
    here, watch = engine(), Stopwatch.start()
    plan = prepare_chain(here, call)
    assert plan.is_elsewhere
    assert torch.equal(run_chain(here, call, plan, watch).result, M @ M @ M)
    assert all(operand is M for operand in compiled[0])
    phases = [phase for phase, _ in watch.marks]
    assert phases[-3:] == [COMPILE, COMPUTE, COMPUTE]
    again = Stopwatch.start()
    run_chain(here, call, plan, again)
    assert COMPILE not in [phase for phase, _ in again.marks], "nothing is compiled then"


def test_the_first_device_that_admits_all_steps() -> None:
    """No chain runs on two; without any, the error is that of the best one."""
    here = engine(devices=(GPU, CPU))
    named = ChainStep("y", REGISTRY["matmul"], ("h", "h"), {}, "numpy")
    call = chain_call([M], [step("h", "matmul", 0, 0), named], ["y"])
    assert run(here, call).device == "cpu"
    with pytest.raises(LimitExceededError, match="step 'h': elements of the result"):
        run(here, squares(torch.ones(40, 40)))


def test_a_chain_goes_to_the_fastest_device() -> None:
    """Operands and results are copied once for all steps."""
    here = engine(devices=(GPU, CPU))
    here.planner.cost_model.learn_hop("cuda:0", Curve(0.0, (0.0, 1.0), (1e6, 1e6 + 1)))
    assert run(here, squares(M)).device == "cpu"
    call = squares(M)
    call.device = "cuda:0"
    plan = prepare_chain(here, call)
    assert plan.transfer_ns == 1_000_000 + 16 + 16, "the operand and the result, 16 bytes each"
    assert all(planned.plan.transfer_ns == 0 for planned in plan.steps)
    steps = sum(planned.plan.estimated_ns for planned in plan.steps)
    assert plan.estimated_ns == steps + plan.transfer_ns


def test_a_deadline_that_leaves_time_for_one_way_to_a_gpu() -> None:
    """The chain is admitted: its steps need no way of their own."""
    here = engine(devices=(GPU, CPU))
    here.planner.cost_model.learn_hop("cuda:0", Curve(0.0, (0.0, 1.0), (5e6, 5e6)))
    call = squares(M)
    call.device, call.deadline_ms = "cuda:0", 6
    assert prepare_chain(here, call).estimated_ns < 6_000_000
    found = explain_chain(here.planner, ChainSpec.of(call))
    assert found.plan is not None
    assert found.plan.transfer_ns == 5_000_000
    estimates = [each for _, step in found.steps for each in step.estimates if each.plan]
    assert {each.plan.transfer_ns for each in estimates if each.plan} == {0}
    call.deadline_ms = 4
    with pytest.raises(WorkExceededError, match="2 steps would take about 5"):
        prepare_chain(here, call)


def test_a_chain_on_a_cluster() -> None:
    """It is refused: a cluster is no device of this host."""
    call = squares(M)
    call.device = CLUSTER
    here = engine(devices=(CPU, Device(CLUSTER, CLUSTER, "", None)))
    with pytest.raises(UnsuitableStrategyError, match="one device of this host"):
        run(here, call)
    call.device = "auto"
    assert run(here, call).device == "cpu"


def test_an_overflow_on_the_way() -> None:
    """It is found before the step is computed, and its error points to the step."""
    with pytest.raises(IntegerOverflowError, match="step 'y': the exact result") as caught:
        run(engine(), squares(torch.full((2, 2), 5, dtype=torch.int8)))
    assert [place.pointer for place in caught.value.places] == ["/steps/1"]


@pytest.mark.parametrize(
    ("raised", "expected"), [(MemoryError(), OutOfMemoryError), (RuntimeError("bug"), RuntimeError)]
)
def test_faults(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    """Memory that runs out is a refusal for now, which names the step; other errors are ours."""

    def fail(plan: Any, recheck: Any, operands: Sequence[Tensor], result: Tensor) -> bool:
        raise raised

    monkeypatch.setattr(module, "needs_review", fail)
    with pytest.raises(expected) as caught:
        run(engine(), squares(M))
    if expected is OutOfMemoryError:
        assert str(caught.value.detail).startswith("step 'h': cpu has not")  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", ["read", "store"])
def test_memory_runs_out_beside_the_steps(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """An operand from a file needs memory, and so may a result to store."""

    def fail(*_: object) -> Tensor:
        raise MemoryError

    call = squares(M)
    call.output = StoreTarget("y.npy", fail)  # type: ignore[arg-type]  # not reached
    monkeypatch.setattr(module, part, fail)
    with pytest.raises(OutOfMemoryError, match="cpu has not enough memory"):
        run(engine(), call)


def test_memory_of_a_chain() -> None:
    """Peak bytes count operands, results in use, and copies in another dtype."""
    here = engine()

    def peak(*steps: ChainStep, results: Sequence[str] = ("y",)) -> int:
        ones = torch.ones(10)
        return prepare_chain(here, chain_call([ones], steps, results)).peak_bytes

    doubled = step("h", "broadcast", 0, 0, op="add"), step("g", "broadcast", "h", "h", op="add")
    last = step("y", "broadcast", "g", "g", op="add")
    itself = 40 + 40 + 40  # the operand, a result, and the strategy's own count of one
    assert peak(*doubled, last) == itself + 40  # beside it the step before
    assert peak(*doubled, last, results=["y", "h"]) == itself + 80
    compared = step("h", "broadcast", 0, 0, op="gt"), step("y", "broadcast", "h", 0, op="mul")
    assert peak(*compared) == itself + 10 + 40  # booleans, and the same as numbers


def test_no_such_operand() -> None:
    """The error points to the reference."""
    steps = [step("y", "broadcast", 0, 1, op="add")]
    with pytest.raises(InvalidFieldError, match="operand 1 is referred to") as caught:
        run(engine(), chain_call([M], steps, ["y"]))
    assert [place.pointer for place in caught.value.places] == ["/steps/0/operands/1"]
    with pytest.raises(InvalidFieldError) as caught:
        run(engine(), chain_call([M], [step("y", "matmul", 0, 1)], ["y"]))
    assert [place.pointer for place in caught.value.places] == ["/steps/0/b"]
