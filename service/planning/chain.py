"""Chains: several calls in one request, planned as a whole before any of them runs.

A step is a call whose operands are operands of the request or results of earlier steps. All steps
run on one device. A result is kept until its last use, or until the end if it is sent back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import torch

from service.core.arithmetic import Arithmetic
from service.core.call import AUTO, Call, Spec, Tensor
from service.core.devices import CLUSTER, Device
from service.core.timing import NS_PER_MS
from service.core.units import time_text
from service.errors import (
    LimitExceededError,
    RequestError,
    UnsuitableStrategyError,
    WorkExceededError,
)
from service.planning.chain_steps import ChainStep, InferredChain, Source, at_step, infer_chain
from service.planning.plan import CallSpec, Explanation, Plan
from service.planning.planner import Planner, over_limit


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """Input of the planner of chains: steps on operands of given shapes and dtypes."""

    specs: tuple[Spec, ...]
    steps: tuple[ChainStep, ...]
    results: tuple[str, ...] | None = None
    strategy: str = AUTO
    device: str = AUTO
    deadline_ms: int | None = None
    arithmetic: Arithmetic | None = None

    @classmethod
    def of(cls, call: Call) -> "ChainSpec":
        """Return what the planner takes of a call of a chain."""
        steps: Any = call.params["steps"]
        results: Any = call.params["results"]
        where = call.strategy, call.device, call.deadline_ms
        return cls(call.specs, steps, results, *where, call.arithmetic)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step, its plan, and the names of the results that are not needed after it."""

    step: ChainStep
    plan: Plan
    freed: tuple[Source, ...]

    def operands(self, values: Mapping[Source, Tensor]) -> list[Tensor]:
        """Return the operands of the step, among the values that are alive, in its dtype."""
        dtype = self.plan.inferred.specs[0].dtype
        return [values[source].to(dtype) for source in self.step.sources]


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """A chain with the device that runs it, and the plan of each step.

    The estimates are totals, with the way of operands and results to a GPU and back in
    `transfer_ns`. `peak_bytes` are those of the operands and of the results that are
    alive, with what a step takes while it runs, at the greatest.
    """

    inferred: InferredChain
    steps: tuple[PlannedStep, ...]
    device: Device
    estimated_ns: int
    interpreter_ns: int
    peak_bytes: int
    transfer_ns: int = 0

    @property
    def dtypes(self) -> set[torch.dtype]:
        """The dtypes of the results."""
        return {self.plan_of(name).inferred.dtype for name in self.inferred.results}

    @property
    def elements(self) -> int:
        """Number of elements of all results together."""
        return sum(self.plan_of(name).sizes.elements for name in self.inferred.results)

    @property
    def is_compiled(self) -> bool:
        """True if the strategy of some step has to be compiled."""
        return any(planned.plan.is_compiled for planned in self.steps)

    @property
    def is_elsewhere(self) -> bool:
        """True if the chain never runs in the event loop, as `Plan.is_elsewhere` says."""
        return self.device.has_process or self.is_compiled

    @property
    def strategies(self) -> list[str]:
        """The strategy of each step."""
        return [planned.plan.strategy.name for planned in self.steps]

    def plan_of(self, name: str) -> Plan:
        """Return the plan of the step of that name."""
        return next(planned.plan for planned in self.steps if planned.step.name == name)


NO_CLUSTER: Final = "a chain runs on one device of this host, and a cluster is none"


def plan_chain(planner: Planner, chain: ChainSpec) -> ChainPlan:
    """Return the plan of a chain, or raise the error that says why it is not admitted.

    The device is the fastest one that all steps are admitted on.
    """
    devices = local_devices(planner, chain.device)
    inferred = infer_chain(chain.specs, steps=chain.steps, results=chain.results)
    plans: list[ChainPlan] = []
    errors: list[RequestError] = []
    for device in devices:
        try:
            plans.append(_plan_on(planner, chain, inferred, device))
        except RequestError as error:
            errors.append(error)
    if not plans:
        raise errors[0]
    return min(plans, key=lambda plan: plan.estimated_ns)


def local_devices(planner: Planner, device: str) -> list[Device]:
    """Return the devices of this host that a chain may run on, best first.

    UnsuitableStrategyError if there is none.
    """
    devices = [each for each in planner.devices.candidates(device) if each.kind != CLUSTER]
    if not devices:
        raise UnsuitableStrategyError(NO_CLUSTER, hint='"device": "auto" takes one that can')
    return devices


def admitted_chain(
    planner: Planner, chain: ChainSpec, strategies: Sequence[str], estimated_ns: int
) -> ChainPlan:
    """Return the plan of a chain that is admitted already, by these strategies on its device."""
    (device,) = planner.devices.candidates(chain.device)
    inferred = infer_chain(chain.specs, steps=chain.steps, results=chain.results)
    plans = []
    for call, name in zip(_calls(chain, inferred, device.name), strategies, strict=True):
        plan = planner.admitted(replace(call, strategy=name), 0)
        plans.append(replace(plan, is_auto=call.strategy == AUTO))
    return replace(_joined(planner, chain, inferred, plans), estimated_ns=estimated_ns)


@dataclass(frozen=True, slots=True)
class ChainExplanation:
    """Shapes of a chain, its plan or the reason why there is none, and estimates of each step."""

    inferred: InferredChain
    plan: ChainPlan | None
    reason: str | None
    steps: tuple[tuple[CallSpec, Explanation], ...]


def explain_chain(planner: Planner, chain: ChainSpec) -> ChainExplanation:
    """Return what a chain means and costs; its steps are explained for the device that runs it."""
    inferred = infer_chain(chain.specs, steps=chain.steps, results=chain.results)
    plan = reason = None
    try:
        plan = plan_chain(planner, chain)
    except (LimitExceededError, WorkExceededError, UnsuitableStrategyError) as error:
        reason = error.detail
    device = chain.device if plan is None else plan.device.name
    calls = _calls(chain, inferred, device)
    return ChainExplanation(
        inferred, plan, reason, tuple((call, planner.explain(call)) for call in calls)
    )


def _plan_on(
    planner: Planner, chain: ChainSpec, inferred: InferredChain, device: Device
) -> ChainPlan:
    plans = []
    for number, call in enumerate(_calls(chain, inferred, device.name)):
        step = chain.steps[number]
        with at_step(number, step.name, step.place):
            plans.append(planner.plan_inferred(call, inferred.steps[number]))
    plan = _joined(planner, chain, inferred, plans)
    error = limit_error(planner, plan, chain.deadline_ms)
    if error is not None:
        raise error
    return plan


def _calls(chain: ChainSpec, inferred: InferredChain, device: str) -> list[CallSpec]:
    """Return the call of each step on a device, which its operands and its result stay on.

    A reduced precision is that of the steps that multiply, unless there is none.
    """
    asked = chain.arithmetic
    products = [len(step.op.precisions) > 1 for step in chain.steps]
    plain = asked if asked is None or not any(products) else replace(asked, precision=None)
    return [
        CallSpec(
            step.op,
            each.specs,
            step.params,
            step.strategy or chain.strategy,
            device,
            chain.deadline_ms,
            arithmetic=asked if multiplies else plain,
            stays_on_device=True,
        )
        for step, each, multiplies in zip(chain.steps, inferred.steps, products, strict=True)
    ]


def _joined(
    planner: Planner, chain: ChainSpec, inferred: InferredChain, plans: Sequence[Plan]
) -> ChainPlan:
    """Return the plan of a chain from the plans of its steps."""
    steps = tuple(map(PlannedStep, chain.steps, plans, _freed(chain.steps, inferred.results)))
    sent = sum(prod(spec.shape) * spec.dtype.itemsize for spec in inferred.specs)
    known = dict(zip([step.name for step in chain.steps], inferred.steps, strict=True))
    back = sum(known[name].elements * known[name].dtype.itemsize for name in inferred.results)
    transfer_ns = planner.cost_model.transfer_ns(plans[0].device, sent, back)
    return ChainPlan(
        inferred,
        steps,
        plans[0].device,
        estimated_ns=sum(plan.estimated_ns for plan in plans) + transfer_ns,
        interpreter_ns=sum(plan.interpreter_ns for plan in plans),
        peak_bytes=_peak_bytes(inferred, steps),
        transfer_ns=transfer_ns,
    )


def _freed(steps: Sequence[ChainStep], results: Sequence[str]) -> list[tuple[Source, ...]]:
    """Return for each step the results of steps that are used there for the last time."""
    last = {source: number for number, step in enumerate(steps) for source in step.sources}
    return [
        tuple(
            source
            for source in dict.fromkeys(step.sources)
            if isinstance(source, str) and last[source] == number and source not in results
        )
        for number, step in enumerate(steps)
    ]


def _peak_bytes(inferred: InferredChain, steps: Sequence[PlannedStep]) -> int:
    """Return the greatest number of bytes that are in use at a time.

    Operands of the request are held to the end. One that a step converts is in memory twice.
    """
    held = sum(prod(spec.shape) * spec.dtype.itemsize for spec in inferred.specs)
    alive: dict[Source, int] = {}
    dtypes: dict[Source, torch.dtype] = {
        number: spec.dtype for number, spec in enumerate(inferred.specs)
    }
    peak = held
    for planned in steps:
        plan, step = planned.plan, planned.step
        dtype = plan.inferred.specs[0].dtype
        converted = sum(
            prod(spec.shape) * dtype.itemsize
            for source, spec in zip(step.sources, plan.inferred.specs, strict=True)
            if dtypes[source] != dtype
        )
        size = plan.sizes.elements * plan.inferred.dtype.itemsize
        itemsize = max(dtype.itemsize, plan.inferred.dtype.itemsize)
        extra = converted + size + plan.work.peak_elements * itemsize
        peak = max(peak, held + sum(alive.values()) + extra)
        alive[step.name], dtypes[step.name] = size, plan.inferred.dtype
        for source in planned.freed:
            del alive[source]
    return peak


def limit_error(planner: Planner, plan: ChainPlan, deadline_ms: int | None) -> RequestError | None:
    """Return the error of the limit that a chain exceeds as a whole; None if it is admitted."""
    limits = planner.limits
    if plan.elements > limits.max_elements:
        return over_limit("elements of all results", plan.elements, limits, "max_elements")
    if plan.peak_bytes > limits.max_bytes:
        what = "bytes of operands and of results in use at a time"
        return over_limit(what, plan.peak_bytes, limits, "max_bytes")
    limit_ms, name = limits.deadline_ms, "SERVICE_DEADLINE_MS"
    if deadline_ms is not None and deadline_ms < limit_ms:
        limit_ms, name = deadline_ms, "deadline_ms"
    if plan.estimated_ns <= limit_ms * NS_PER_MS:
        return None
    slowest = max(plan.steps, key=lambda planned: planned.plan.estimated_ns)
    return WorkExceededError(
        f"{len(plan.steps)} steps would take about {time_text(plan.estimated_ns)} on "
        f"{plan.device.name}, of which {slowest.step.subject} "
        f"{time_text(slowest.plan.estimated_ns)}; the deadline is {limit_ms} ms ({name})"
    )
