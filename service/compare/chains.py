"""Chains in races: a strategy for a chain is the strategy of that name for each of its steps.

A step that names its strategy keeps it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from service.core.arithmetic import Arithmetic
from service.core.call import Call, Shape, Tensor
from service.core.devices import Device
from service.errors import InvalidFieldError, Place, RequestError
from service.operations.chain import CHAIN
from service.planning.chain import ChainPlan, ChainSpec, plan_chain
from service.planning.chain_steps import ChainStep, Source
from service.planning.plan import Estimate, Plan, Sizes
from service.planning.planner import Planner
from service.registry import Inferred, Op, Strategy, Work

UNKNOWN_WORK: Final = Work(0, 0)  # of all steps together; each has been planned by its own


def step_strategies(op: Op[Any], call: Call) -> dict[str, list[Strategy[Any]]]:
    """Return the strategies of the steps by name, slowest first.

    InvalidFieldError if each step names its own: no two rows would differ.
    """
    free = _free_steps(call)
    if not free:
        raise InvalidFieldError(
            "each step names its strategy, and a race compares those of steps that do not",
            hint="leave out the strategy of a step",
            places=[Place("/steps", "no step is free to race")],
        )
    ways = {
        name: [step.op.strategies[name] for step in free if name in step.op.strategies]
        for name in op.strategy_names
    }
    return {name: found for name, found in ways.items() if found}


def estimate_chain(planner: Planner, call: Call, name: str, device: Device) -> Estimate:
    """Return the cost of a chain by one strategy on one device, or why it would not run."""
    for step in _free_steps(call):
        if name not in step.op.strategies:
            reason = f"{step.subject} ({step.op.name}) has no strategy {name}"
            return Estimate(name, device.name, reason=reason)
    spec = replace(ChainSpec.of(call), strategy=name, device=device.name)
    try:
        found = plan_chain(planner, spec)
    except RequestError as error:
        return Estimate(name, device.name, reason=error.detail)
    return Estimate(name, device.name, _as_call(found, name, call.arithmetic), found.estimated_ns)


def _free_steps(call: Call) -> list[ChainStep]:
    steps: Any = call.params["steps"]
    return [step for step in steps if step.strategy is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRun(Plan):
    """The plan of a chain as that of one call, whose strategy runs all steps."""

    chain: ChainPlan

    @property
    def result_shapes(self) -> tuple[Shape, ...]:
        """The shapes of all results."""
        names = self.chain.inferred.results
        return tuple(self.chain.plan_of(name).inferred.shape for name in names)

    def run(self, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return all results on operands that are on the device."""
        return _run_steps(self.chain, operands)[0]


def _as_call(chain: ChainPlan, name: str, arithmetic: Arithmetic | None) -> ChainRun:
    def compile_steps(_: Inferred, operands: Sequence[Tensor]) -> bool:
        """Run once: a step is compiled for the results of earlier ones."""
        return _run_steps(chain, operands)[1]

    strategy = Strategy(
        CHAIN,
        name,
        compute=lambda operands: _run_steps(chain, operands)[0][0],
        adapt=lambda compute, _, operands: compute(operands),
        work=lambda _: UNKNOWN_WORK,
        dtypes=frozenset(),
        cuda=frozenset(),
        cluster=frozenset(),
        unsupported=lambda _: None,
        compile=compile_steps if chain.is_compiled else None,
    )
    return ChainRun(
        chain.steps[0].plan.op,
        chain.inferred,
        strategy,
        chain.device,
        UNKNOWN_WORK,
        Sizes.of(chain.inferred),
        chain.estimated_ns,
        arithmetic=arithmetic,
        transfer_ns=chain.transfer_ns,
        chain=chain,
    )


def _run_steps(chain: ChainPlan, operands: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], bool]:
    """Return all results as they are computed, and whether a step had to be compiled."""
    values: dict[Source, Tensor] = dict(enumerate(operands))
    has_compiled = False
    for planned in chain.steps:
        step, strategy = planned.plan, planned.plan.strategy
        taken = planned.operands(values)
        if strategy.compile is not None:
            has_compiled |= strategy.compile(step.inferred, taken)
        values[planned.step.name] = strategy.adapt(strategy.compute, step.inferred, taken)
        for source in planned.freed:
            del values[source]
    return tuple(values[name] for name in chain.inferred.results), has_compiled
