"""Planning of a call: its strategy, its device, its estimated cost, and its admission by limits.

All callers use this one rule of admission. It computes with Python integers and allocates no
tensor.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from typing import Any, Final

import torch

from service.core.call import AUTO, Spec
from service.core.devices import CLUSTER, Device, Devices
from service.core.units import time_text
from service.errors import (
    LimitExceededError,
    RequestError,
    UnsuitableStrategyError,
    WorkExceededError,
    quote,
)
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.registry import Inferred, Op, Strategy, Work

NS_PER_MS: Final = 1_000_000
LONGEST: Final = 2**58  # of 16-byte elements, counted in 64 bits
# A strategy replaces the first choice below this share of its time: rates vary between starts.
MARGIN: Final = 0.9


@dataclass(frozen=True, slots=True)
class CallSpec:
    """Input of a planner: an operation on operands of given shapes and dtypes."""

    op: Op[Any]
    specs: tuple[Spec, ...]
    params: Mapping[str, object]
    strategy: str = AUTO
    device: str = AUTO
    deadline_ms: int | None = None
    writes_to_store: bool = False  # so the result need not fit in this host's memory


@dataclass(frozen=True, slots=True)
class Plan:
    """A call with the strategy and the device that run it, and its estimated cost.

    `interpreter_ns` is the part of the estimated time in Python's interpreter, which holds the GIL.
    With `writes_to_store` a cluster writes the result to a file.
    """

    op: Op[Any]
    inferred: Inferred
    strategy: Strategy[Any]
    device: Device
    work: Work
    estimated_ns: int
    interpreter_ns: int = 0
    leaves: bool = False
    # Both of `meaning`, which computes them anew each time: set in the plan of a call that runs.
    elements: int = 0
    explanation: Mapping[str, object] | None = None

    @property
    def outer_bytes(self) -> int:
        """Bytes of operands and result together."""
        operands = sum(_bytes(spec) for spec in self.inferred.specs)
        return operands + self.inferred.elements * self.inferred.dtype.itemsize

    @property
    def peak_bytes(self) -> int:
        """Bytes of operands, result and largest intermediate together."""
        itemsize = max(self.inferred.specs[0].dtype.itemsize, self.inferred.dtype.itemsize)
        return self.outer_bytes + self.work.peak_elements * itemsize


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost of one strategy on one device; `reason` is why it would not run, or None."""

    strategy: str
    device: str
    plan: Plan | None
    reason: str | None

    @property
    def estimated_ns(self) -> int | None:
        """The estimated time, or None if the strategy does not support the call."""
        return None if self.plan is None else self.plan.estimated_ns


@dataclass(frozen=True, slots=True)
class Explanation:
    """Inferred result of a call, its plan or the reason why there is none, and all estimates."""

    inferred: Inferred
    plan: Plan | None
    reason: str | None
    estimates: tuple[Estimate, ...]

    @property
    def cheapest(self) -> Plan | None:
        """The fastest plan, admitted or not; None if no strategy supports the call."""
        plans = (each.plan for each in self.estimates if each.plan is not None)
        return min(plans, key=lambda plan: plan.estimated_ns, default=None)


@dataclass(frozen=True, slots=True)
class WorkBound:
    """The most multiply-adds that a strategy may do on a device, and the time of one."""

    device: Device
    multiply_adds: int
    ns_per_multiply_add: float


@dataclass(frozen=True, slots=True)
class Planner:
    """Planner of calls on the devices of this host."""

    devices: Devices
    cost_model: CostModel
    limits: Limits

    def plan(self, call: CallSpec) -> Plan:
        """Return the plan of a call, or raise the error of the limit that it exceeds."""
        inferred, plans = self._plans(call, call.op.resolve(call.strategy))
        if call.strategy == AUTO and call.op.is_heavy(inferred):
            plans = fastest_first(plans)
        plan = next(plans, None)
        if plan is None:
            kinds = [device.kind for device in self.devices.candidates(call.device)]
            raise call.op.unsuitable(call.strategy, inferred, kinds, self.devices.absent)
        error = self.limit_error(plan, call.deadline_ms)
        if isinstance(error, LimitExceededError):
            # With `auto` there may be a plan for a cluster, where other limits apply.
            larger = next((each for each in plans if each.device.kind == CLUSTER), None)
            if larger is not None and self.limit_error(larger, call.deadline_ms) is None:
                return larger
        if error is not None:
            _, others = self._plans(call, tuple(call.op.strategies.values()))
            able = [
                f"{other.strategy.name} ({time_text(other.estimated_ns)})"
                for other in others
                if self.limit_error(other, call.deadline_ms) is None
            ]
            if able:
                error.hint = f"these are admitted: {', '.join(able)}"
            raise error
        return plan

    def admitted(self, call: CallSpec, estimated_ns: int) -> Plan:
        """Return the plan of a call that is admitted already, for its strategy and its device."""
        (strategy,) = call.op.resolve(call.strategy)
        (device,) = self.devices.candidates(call.device)
        inferred = call.op.infer(call.specs, **call.params)
        work = strategy.work(inferred)
        return Plan(call.op, inferred, strategy, device, work, estimated_ns)

    def explain(self, call: CallSpec) -> Explanation:
        """Return the inferred result, the cost of each strategy, and the plan if admitted."""
        call.op.resolve(call.strategy)
        inferred = call.op.infer(call.specs, **call.params)
        estimates = [
            self.estimate(replace(call, strategy=strategy.name, device=device.name))
            for strategy in call.op.strategies.values()
            for device in self.devices.candidates(call.device)
            if concerns(strategy, device)
        ]
        try:
            chosen, reason = self.plan(call), None
        except (LimitExceededError, WorkExceededError, UnsuitableStrategyError) as error:
            chosen, reason = None, error.detail
        return Explanation(inferred, chosen, reason, tuple(estimates))

    def limit_error(self, plan: Plan, deadline_ms: int | None = None) -> RequestError | None:
        """Return the error of the limit that a plan exceeds, or None if it is admitted."""
        return (
            self._count_error(plan) or self._size_error(plan) or self._work_error(plan, deadline_ms)
        )

    def _plans(
        self, call: CallSpec, strategies: Sequence[Strategy[Any]]
    ) -> tuple[Inferred, Iterator[Plan]]:
        """Return the inferred result, and plans by device and supporting strategy, best first."""
        devices = self.devices.candidates(call.device)
        inferred = call.op.infer(call.specs, **call.params)
        return inferred, (
            self._plan_by(call, inferred, strategy, device)
            for device in devices
            for strategy in strategies
            if strategy.unsuitable(inferred, device.kind) is None
        )

    def estimate(self, call: CallSpec) -> Estimate:
        """Return the cost of the one strategy of `call` on its one device."""
        (strategy,) = call.op.resolve(call.strategy)
        (device,) = self.devices.candidates(call.device)
        inferred = call.op.infer(call.specs, **call.params)
        reason = strategy.unsuitable(inferred, device.kind, self.devices.absent)
        if reason is not None:
            return Estimate(strategy.name, device.name, None, reason)
        plan = self._plan_by(call, inferred, strategy, device)
        error = self.limit_error(plan, call.deadline_ms)
        return Estimate(strategy.name, device.name, plan, error.detail if error else None)

    def work_limit(self, strategy: Strategy[Any], op: Op[Any], device: Device) -> WorkBound:
        """Return the multiply-adds that fit in the deadline, by the cost of the largest sample."""
        inferred = op.sample_meaning(op.calibration_samples[-1], torch.float32)
        estimated_ns = self.cost_model.estimate_ns(op, strategy, device, inferred)
        cost = estimated_ns / inferred.multiply_adds
        return WorkBound(device, int(self.limits.deadline_ms * NS_PER_MS / cost), cost)

    def _plan_by(
        self, call: CallSpec, inferred: Inferred, strategy: Strategy[Any], device: Device
    ) -> Plan:
        op, work = call.op, strategy.work(inferred)
        estimated_ns = self.cost_model.estimate_ns(op, strategy, device, inferred)
        interpreter_ns = self.cost_model.interpreter_ns(op, strategy, device, inferred)
        to_store = call.writes_to_store and device.kind == CLUSTER
        return Plan(op, inferred, strategy, device, work, estimated_ns, interpreter_ns, to_store)

    def _count_error(self, plan: Plan) -> RequestError | None:
        inferred = plan.inferred
        for shape in (inferred.shape, *(spec.shape for spec in inferred.specs)):
            if 0 in shape and prod(size or 1 for size in shape) >= LONGEST:
                return LimitExceededError(
                    f"sizes {quote(list(shape))}: torch multiplies those of an empty tensor, too, "
                    "and their product is over 2^58"
                )
        return None

    def _size_error(self, plan: Plan) -> RequestError | None:
        inferred, limits = plan.inferred, self.limits
        if len(inferred.shape) > limits.max_rank:
            return over_limit("rank of the result", len(inferred.shape), limits, "max_rank")
        if inferred.elements > limits.max_elements and not plan.writes_to_store:
            what = f"elements of the result {quote(list(inferred.shape))}"
            return over_limit(what, inferred.elements, limits, "max_elements")
        return self._memory_error(plan) if plan.device.kind != CLUSTER else self._disk_error(plan)

    def _disk_error(self, plan: Plan) -> RequestError | None:
        """Return the error of the limit on a cluster: blocks fit in memory, their sum on a disk."""
        if plan.outer_bytes > self.limits.dask_max_bytes:
            what = "bytes of operands and result"
            return over_limit(what, plan.outer_bytes, self.limits, "dask_max_bytes")
        return None

    def _memory_error(self, plan: Plan) -> RequestError | None:
        inferred, limits = plan.inferred, self.limits
        for number, spec in enumerate(inferred.specs):
            if (elements := prod(spec.shape)) > limits.max_elements:
                return over_limit(f"elements of operand {number}", elements, limits, "max_elements")
        if plan.work.peak_elements > limits.max_elements:
            what = f"elements of the largest intermediate of strategy {plan.strategy.name!r}"
            return over_limit(what, plan.work.peak_elements, limits, "max_elements")
        if plan.peak_bytes > limits.max_bytes:
            what = "bytes of operands, largest intermediate and result"
            return over_limit(what, plan.peak_bytes, limits, "max_bytes")
        return None

    def _work_error(self, plan: Plan, deadline_ms: int | None) -> RequestError | None:
        limit_ms, name = self.limits.deadline_ms, "SERVICE_DEADLINE_MS"
        if deadline_ms is not None and deadline_ms < limit_ms:
            limit_ms, name = deadline_ms, "deadline_ms"
        if plan.estimated_ns <= limit_ms * NS_PER_MS:
            return None
        return WorkExceededError(
            f"{plan.op.name} strategy {plan.strategy.name!r} would take about "
            f"{time_text(plan.estimated_ns)} on {plan.device.name} for "
            f"{plan.inferred.multiply_adds} multiply-adds; the deadline is {limit_ms} ms ({name})"
        )


def fastest_first(plans: Iterator[Plan]) -> Iterator[Plan]:
    """Yield plans such that, on each device, clearly faster ones precede the first choice."""
    for _, together in groupby(plans, key=lambda plan: plan.device.name):
        first, *others = together
        ahead = [plan for plan in others if plan.estimated_ns < first.estimated_ns * MARGIN]
        yield from sorted(ahead, key=lambda plan: plan.estimated_ns)
        yield from (first, *(plan for plan in others if plan not in ahead))


def concerns(strategy: Strategy[Any], device: Device) -> bool:
    """Return whether a strategy is listed for a device: for a cluster only if it supports one."""
    return device.kind != CLUSTER or bool(strategy.cluster)


def over_limit(what: str, value: int, limits: Limits, name: str) -> LimitExceededError:
    """Return the error that names a limit, the value above it, and the setting of the limit."""
    return LimitExceededError(
        f"{what}: {value}, over the limit of {getattr(limits, name)} (SERVICE_{name.upper()})"
    )


def _bytes(spec: Spec) -> int:
    return prod(spec.shape) * spec.dtype.itemsize
