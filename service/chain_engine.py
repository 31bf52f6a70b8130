"""Execution of planned chains: all steps on one device, each timed, results freed when used up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter_ns

import torch

from service.core.call import Call, ChainOutcome, Spec, StepOutcome, StoreTarget, Tensor
from service.core.devices import is_exhausted, synchronize
from service.core.pinned_memory import to_host
from service.core.timing import COMPILE, COMPUTE, DECODE, DOWNLOAD, UPLOAD, Stopwatch
from service.engine import (
    Engine,
    check_storable,
    completed,
    free_memory_error,
    move,
    needs_review,
    read,
    store,
)
from service.errors import InvalidFieldError, Place
from service.operations.chain import CHAIN
from service.planning.chain import ChainPlan, ChainSpec, PlannedStep, admitted_chain, plan_chain
from service.planning.chain_steps import ChainStep, Source, at_step
from service.planning.plan import Plan


def chain_call(
    operands: Sequence[Tensor], steps: Sequence[ChainStep], results: Sequence[str]
) -> Call:
    """Return the call of a chain whose steps are made here, not decoded."""
    return Call(CHAIN, tuple(operands), {"steps": tuple(steps), "results": tuple(results)})


def prepare_chain(engine: Engine, call: Call) -> ChainPlan:
    """Return the plan of a chain that runs here, or raise the error that refuses it."""
    plan = plan_chain(engine.planner, ChainSpec.of(call))
    if isinstance(call.output, StoreTarget):
        if len(plan.inferred.results) > 1:
            raise InvalidFieldError(
                f"one result is stored under a name; here are {len(plan.inferred.results)}",
                hint='"results" names the one to store' if call.op == CHAIN else None,
                places=[Place("/output/store", "expected one result")],
            )
        check_storable(plan.inferred.dtype)
    return _completed(plan)


def admitted_plan(
    engine: Engine, call: Call, strategies: Sequence[str], estimated_ns: int
) -> ChainPlan:
    """Return the plan of a chain that another process has admitted, by these strategies."""
    return _completed(admitted_chain(engine.planner, ChainSpec.of(call), strategies, estimated_ns))


def _completed(plan: ChainPlan) -> ChainPlan:
    steps = tuple(replace(each, plan=completed(each.plan)) for each in plan.steps)
    return replace(plan, steps=steps)


def run_chain(engine: Engine, call: Call, plan: ChainPlan, watch: Stopwatch) -> ChainOutcome:
    """Compute a planned chain, and mark the end of each phase on `watch`.

    An error names the step that it is raised for.
    """
    with _memory(plan.steps[0].plan):
        run = _Run(engine, call, plan, watch)
    for number, planned in enumerate(plan.steps):
        with at_step(number, planned.step.name, planned.step.place), _memory(planned.plan):
            run.compute(planned)
    with _memory(plan.steps[-1].plan):
        return run.outcome()


@contextmanager
def _memory(plan: Plan) -> Iterator[None]:
    """Raise an OutOfMemoryError where memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_exhausted(error):
            raise
        raise free_memory_error(plan, error) from error


class _Run:
    """A chain that runs: the values that are alive, and what is known of the steps so far."""

    def __init__(self, engine: Engine, call: Call, plan: ChainPlan, watch: Stopwatch):
        """Begin with the operands on the device of the plan."""
        self._engine, self._call, self._plan, self._watch = engine, call, plan, watch
        operands = read(call.operands)
        watch.lap(DECODE)
        if plan.device.kind != "cpu":
            operands = move(operands, plan.device)
            watch.lap(UPLOAD)
        self._values: dict[Source, Tensor] = dict(enumerate(operands))
        self._steps: list[StepOutcome] = []
        self._warnings = list(call.warnings)
        self._is_warm = True

    def compute(self, planned: PlannedStep) -> None:
        """Compute a step, keep its result, and let go of those that it was the last to use."""
        step, plan = planned.step, planned.plan
        operands = self._operands(planned)
        started_ns = perf_counter_ns()
        result, strategy = self._result(planned, operands)
        elapsed_ns = perf_counter_ns() - started_ns
        self._is_warm &= self._engine.is_warm(plan)
        self._values[step.name] = result
        for source in planned.freed:
            del self._values[source]
        spec = Spec(plan.inferred.shape, plan.inferred.dtype)
        self._steps.append(StepOutcome(step.name, plan.op.name, strategy, spec, elapsed_ns))

    def _operands(self, planned: PlannedStep) -> list[Tensor]:
        """Return the operands of a step, checked as those of a call are, with code for them."""
        plan = planned.plan
        operands = planned.operands(self._values)
        if plan.may_overflow:
            plan.op.check_overflow(plan.inferred, [x.cpu() for x in operands])
            self._watch.lap(DECODE)
        if plan.strategy.compile is not None and self._engine.compile(plan, operands):
            self._watch.lap(COMPILE)
        return operands

    def _result(self, planned: PlannedStep, operands: list[Tensor]) -> tuple[Tensor, str]:
        """Return the result of a step, reviewed as that of a single call is, and its strategy."""
        plan = planned.plan
        strategy = plan.strategy.name
        result = plan.strategy.run(plan.inferred, operands)
        if plan.recheck is not None and needs_review(plan, plan.recheck, operands, result):
            review = self._engine.reviewed(self._call, plan, operands, result)
            subject = planned.step.subject
            self._warnings += [f"{subject}: {warning}" for warning in review.warnings]
            result, strategy = review.result, review.strategy
        if planned.step.finish is not None:
            result = planned.step.finish(result)
        synchronize(plan.device)
        self._watch.lap(COMPUTE)
        return result, strategy

    def outcome(self) -> ChainOutcome:
        """Return the results on the CPU, and how they were computed."""
        call, plan = self._call, self._plan
        results = {name: self._values[name] for name in plan.inferred.results}
        if plan.device.kind != "cpu":
            results = {name: to_host(result) for name, result in results.items()}
            self._watch.lap(DOWNLOAD)
        if isinstance(call.output, StoreTarget):
            output = call.output
            results = {name: store(output, result) for name, result in results.items()}
            self._watch.lap(DOWNLOAD)
        return ChainOutcome(
            call.op,
            next(iter(results.values())),
            call.strategy,
            plan.device.name,
            torch.get_num_threads(),
            self._is_warm,
            tuple(self._warnings),
            arithmetic=call.arithmetic,
            results=results,
            steps=tuple(self._steps),
        )
