"""The plan of a call: which strategy runs it, on which device, and whether it is admitted.

This is the one rule of admission. It counts in Python integers and allocates nothing.
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
# How much quicker than the first choice another has to be: rates vary from start to start.
MARGIN: Final = 0.9


@dataclass(frozen=True, slots=True)
class CallSpec:
    """What a planner is asked: an operation on operands of these shapes and dtypes."""

    op: Op[Any]
    specs: tuple[Spec, ...]
    params: Mapping[str, object]
    strategy: str = AUTO
    device: str = AUTO
    deadline_ms: int | None = None
    leaves: bool = False  # whether the result need not fit in this host's memory


@dataclass(frozen=True, slots=True)
class Plan:
    """A call and a way to run it: what it means, what runs it, what it costs.

    Of the estimated time, `interpreter_ns` go into Python's interpreter, which holds the GIL.
    The result of one that `leaves` is written to a file by a cluster.
    """

    op: Op[Any]
    meaning: Inferred
    strategy: Strategy[Any]
    device: Device
    work: Work
    estimated_ns: int
    interpreter_ns: int = 0
    leaves: bool = False

    @property
    def elements(self) -> int:
        """How many elements the result has."""
        return self.meaning.elements

    @property
    def outer_bytes(self) -> int:
        """Bytes of operands and result together."""
        operands = sum(_bytes(spec) for spec in self.meaning.specs)
        return operands + self.meaning.elements * self.meaning.dtype.itemsize

    @property
    def peak_bytes(self) -> int:
        """Bytes of operands, result and largest intermediate together."""
        itemsize = max(self.meaning.specs[0].dtype.itemsize, self.meaning.dtype.itemsize)
        return self.outer_bytes + self.work.peak_elements * itemsize


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one strategy would cost on one device; `reason` says why it would not run."""

    strategy: str
    device: str
    plan: Plan | None
    reason: str | None

    @property
    def estimated_ns(self) -> int | None:
        """The estimated time, if the strategy takes the call."""
        return None if self.plan is None else self.plan.estimated_ns


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a call means, the plan of its run if it is admitted, or the reason why it is not."""

    meaning: Inferred
    plan: Plan | None
    reason: str | None
    estimates: tuple[Estimate, ...]

    @property
    def cheapest(self) -> Plan | None:
        """The quickest plan, admitted or not; None if no strategy takes the call."""
        plans = (each.plan for each in self.estimates if each.plan is not None)
        return min(plans, key=lambda plan: plan.estimated_ns, default=None)


@dataclass(frozen=True, slots=True)
class WorkBound:
    """The most work that a strategy is admitted with on a device, and what a part of it costs."""

    device: Device
    multiply_adds: int
    ns_per_multiply_add: float


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans calls for this host."""

    devices: Devices
    rates: CostModel
    limits: Limits

    def plan(self, request: CallSpec) -> Plan:
        """The plan of a call, or the error that says why it is not admitted."""
        meaning, plans = self._plans(request, request.op.resolve(request.strategy))
        if request.strategy == AUTO and request.op.is_heavy(meaning):
            plans = quickest_first(plans)
        plan = next(plans, None)
        if plan is None:
            kinds = [device.kind for device in self.devices.candidates(request.device)]
            raise request.op.unsuitable(request.strategy, meaning, kinds, self.devices.absent)
        error = self.refusal(plan, request.deadline_ms)
        if isinstance(error, LimitExceededError):
            # Only with `auto` is there another plan, for where this host's limits do not count.
            larger = next((each for each in plans if each.device.kind == CLUSTER), None)
            if larger is not None and self.refusal(larger, request.deadline_ms) is None:
                return larger
        if error is not None:
            _, others = self._plans(request, tuple(request.op.strategies.values()))
            able = [
                f"{other.strategy.name} ({time_text(other.estimated_ns)})"
                for other in others
                if self.refusal(other, request.deadline_ms) is None
            ]
            if able:
                error.hint = f"these are admitted: {', '.join(able)}"
            raise error
        return plan

    def admitted(self, request: CallSpec, estimated_ns: int) -> Plan:
        """The plan of a call that is admitted already, by one strategy on one device."""
        (strategy,) = request.op.resolve(request.strategy)
        (device,) = self.devices.candidates(request.device)
        meaning = request.op.infer(request.specs, **request.params)
        work = strategy.work(meaning)
        return Plan(request.op, meaning, strategy, device, work, estimated_ns)

    def explain(self, request: CallSpec) -> Explanation:
        """What the call means, what each strategy would cost, and whether it would be admitted."""
        request.op.resolve(request.strategy)
        meaning = request.op.infer(request.specs, **request.params)
        estimates = [
            self.estimate(replace(request, strategy=strategy.name, device=device.name))
            for strategy in request.op.strategies.values()
            for device in self.devices.candidates(request.device)
            if concerns(strategy, device)
        ]
        try:
            chosen, reason = self.plan(request), None
        except (LimitExceededError, WorkExceededError, UnsuitableStrategyError) as error:
            chosen, reason = None, error.detail
        return Explanation(meaning, chosen, reason, tuple(estimates))

    def refusal(self, plan: Plan, deadline_ms: int | None = None) -> RequestError | None:
        """The error of the limit that a plan is over, or None: the one rule of admission."""
        return self._over_count(plan) or self._over_size(plan) or self._over_work(plan, deadline_ms)

    def _plans(
        self, request: CallSpec, strategies: Sequence[Strategy[Any]]
    ) -> tuple[Inferred, Iterator[Plan]]:
        """The call's meaning, and a plan for each device and strategy that takes it, best first."""
        devices = self.devices.candidates(request.device)
        meaning = request.op.infer(request.specs, **request.params)
        return meaning, (
            self._plan_by(request, meaning, strategy, device)
            for device in devices
            for strategy in strategies
            if strategy.unsuitable(meaning, device.kind) is None
        )

    def estimate(self, request: CallSpec) -> Estimate:
        """What the one strategy of `request` would cost on its one device."""
        (strategy,) = request.op.resolve(request.strategy)
        (device,) = self.devices.candidates(request.device)
        meaning = request.op.infer(request.specs, **request.params)
        reason = strategy.unsuitable(meaning, device.kind, self.devices.absent)
        if reason is not None:
            return Estimate(strategy.name, device.name, None, reason)
        plan = self._plan_by(request, meaning, strategy, device)
        refusal = self.refusal(plan, request.deadline_ms)
        return Estimate(strategy.name, device.name, plan, refusal.detail if refusal else None)

    def work_limit(self, strategy: Strategy[Any], op: Op[Any], device: Device) -> WorkBound:
        """The most multiply-adds that a strategy may do on a device, as its largest probe goes."""
        meaning = op.infer_sample(op.calibration_samples[-1], torch.float32)
        estimated_ns = self.rates.estimate_ns(op, strategy, device, meaning)
        cost = estimated_ns / meaning.multiply_adds
        return WorkBound(device, int(self.limits.deadline_ms * NS_PER_MS / cost), cost)

    def _plan_by(
        self, request: CallSpec, meaning: Inferred, strategy: Strategy[Any], device: Device
    ) -> Plan:
        op, work = request.op, strategy.work(meaning)
        estimated_ns = self.rates.estimate_ns(op, strategy, device, meaning)
        interpreter_ns = self.rates.interpreter_ns(op, strategy, device, meaning)
        leaves = request.leaves and device.kind == CLUSTER
        return Plan(op, meaning, strategy, device, work, estimated_ns, interpreter_ns, leaves)

    def _over_count(self, plan: Plan) -> RequestError | None:
        meaning = plan.meaning
        for shape in (meaning.shape, *(spec.shape for spec in meaning.specs)):
            if 0 in shape and prod(size or 1 for size in shape) >= LONGEST:
                return LimitExceededError(
                    f"sizes {quote(list(shape))}: torch multiplies those of an empty tensor, too, "
                    "and their product is over 2^58"
                )
        return None

    def _over_size(self, plan: Plan) -> RequestError | None:
        meaning, limits = plan.meaning, self.limits
        if len(meaning.shape) > limits.max_rank:
            return over_limit("rank of the result", len(meaning.shape), limits, "max_rank")
        if meaning.elements > limits.max_elements and not plan.leaves:
            what = f"elements of the result {quote(list(meaning.shape))}"
            return over_limit(what, meaning.elements, limits, "max_elements")
        return self._over_memory(plan) if plan.device.kind != CLUSTER else self._over_disk(plan)

    def _over_disk(self, plan: Plan) -> RequestError | None:
        """A cluster computes in blocks, which fit in its memory whatever they add up to."""
        if plan.outer_bytes > self.limits.dask_max_bytes:
            what = "bytes of operands and result"
            return over_limit(what, plan.outer_bytes, self.limits, "dask_max_bytes")
        return None

    def _over_memory(self, plan: Plan) -> RequestError | None:
        meaning, limits = plan.meaning, self.limits
        for number, spec in enumerate(meaning.specs):
            if (elements := prod(spec.shape)) > limits.max_elements:
                return over_limit(f"elements of operand {number}", elements, limits, "max_elements")
        if plan.work.peak_elements > limits.max_elements:
            what = f"elements of the largest intermediate of strategy {plan.strategy.name!r}"
            return over_limit(what, plan.work.peak_elements, limits, "max_elements")
        if plan.peak_bytes > limits.max_bytes:
            what = "bytes of operands, largest intermediate and result"
            return over_limit(what, plan.peak_bytes, limits, "max_bytes")
        return None

    def _over_work(self, plan: Plan, deadline_ms: int | None) -> RequestError | None:
        limit_ms, name = self.limits.deadline_ms, "SERVICE_DEADLINE_MS"
        if deadline_ms is not None and deadline_ms < limit_ms:
            limit_ms, name = deadline_ms, "deadline_ms"
        if plan.estimated_ns <= limit_ms * NS_PER_MS:
            return None
        return WorkExceededError(
            f"{plan.op.name} strategy {plan.strategy.name!r} would take about "
            f"{time_text(plan.estimated_ns)} on {plan.device.name} for "
            f"{plan.meaning.multiply_adds} multiply-adds; the deadline is {limit_ms} ms ({name})"
        )


def quickest_first(plans: Iterator[Plan]) -> Iterator[Plan]:
    """On each device, what is clearly quicker than its first plan goes before that one."""
    for _, together in groupby(plans, key=lambda plan: plan.device.name):
        first, *others = together
        ahead = [plan for plan in others if plan.estimated_ns < first.estimated_ns * MARGIN]
        yield from sorted(ahead, key=lambda plan: plan.estimated_ns)
        yield from (first, *(plan for plan in others if plan not in ahead))


def concerns(strategy: Strategy[Any], device: Device) -> bool:
    """Whether there is anything to say of a strategy on a device: most do not know of clusters."""
    return device.kind != CLUSTER or bool(strategy.cluster)


def over_limit(what: str, value: int, limits: Limits, name: str) -> LimitExceededError:
    """The error that names a limit, what would exceed it, and the setting that changes it."""
    return LimitExceededError(
        f"{what}: {value}, over the limit of {getattr(limits, name)} (SERVICE_{name.upper()})"
    )


def _bytes(spec: Spec) -> int:
    return prod(spec.shape) * spec.dtype.itemsize
