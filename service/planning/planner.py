"""Planning of a call: its strategy, its device, its estimated cost, and its admission by limits.

All callers use this one rule of admission. It computes with Python integers and allocates no
tensor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from typing import Any, Final

import torch

from service.core.arithmetic import IEEE, precision_of
from service.core.call import AUTO
from service.core.devices import CLUSTER, CPU, Device, Devices
from service.core.timing import NS_PER_MS
from service.core.units import time_text
from service.errors import (
    LimitExceededError,
    RequestError,
    UnsuitableStrategyError,
    WorkExceededError,
    counted,
    quote,
)
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.planning.plan import CallSpec, Estimate, Explanation, Plan, Sizes
from service.planning.support import choices, lack, lack_of_all
from service.registry import Inferred, Op, Strategy

LONGEST: Final = 2**58  # of 16-byte elements, counted in 64 bits
# A strategy replaces the first choice below this share of its time: rates vary between starts.
MARGIN: Final = 0.9


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
        self.devices.candidates(call.device)  # an absent device is the first error
        return self.plan_inferred(call, call.op.infer(call.specs, **call.params))

    def plan_inferred(self, call: CallSpec, inferred: Inferred) -> Plan:
        """Return the plan of a call whose result has been inferred, or raise the same errors."""
        devices = self.devices.candidates(call.device)
        sizes, strategies = Sizes.of(inferred), choices(call.op, call.strategy, call.arithmetic)
        plans = self._plans(call, inferred, sizes, strategies, devices)
        return self._admit(call, inferred, sizes, devices, plans)

    def admitted(self, call: CallSpec, estimated_ns: int) -> Plan:
        """Return the plan of a call that is admitted already, for its strategy and its device."""
        (strategy,) = call.op.resolve(call.strategy)
        (device,) = self.devices.candidates(call.device)
        inferred = call.op.infer(call.specs, **call.params)
        work, sizes = strategy.work(inferred), Sizes.of(inferred)
        shared = call.op, inferred, strategy, device, work, sizes
        return Plan(*shared, estimated_ns, arithmetic=call.arithmetic)

    def explain(self, call: CallSpec) -> Explanation:
        """Return the inferred result, the cost of each strategy, and the plan if admitted."""
        ways = choices(call.op, call.strategy, call.arithmetic)
        inferred = call.op.infer(call.specs, **call.params)
        devices, sizes = self.devices.candidates(call.device), Sizes.of(inferred)
        estimates = tuple(
            self._estimate(call, inferred, sizes, strategy, device)
            for strategy in call.op.strategies.values()
            for device in devices
            if device.kind != CLUSTER or strategy.cluster
        )
        found = {(each.strategy, each.device): each.plan for each in estimates if each.plan}
        keys = ((way.name, here.name) for here in devices for way in ways)
        plans = (found[key] for key in keys if key in found)
        try:
            chosen = self._admit(call, inferred, sizes, devices, plans)
        except (LimitExceededError, WorkExceededError, UnsuitableStrategyError) as error:
            return Explanation(inferred, sizes, None, error.detail, estimates, error.hint)
        return Explanation(inferred, sizes, chosen, None, estimates)

    def estimate(self, call: CallSpec) -> Estimate:
        """Return the cost of the one strategy of `call` on its one device."""
        (strategy,) = call.op.resolve(call.strategy)
        (device,) = self.devices.candidates(call.device)
        inferred = call.op.infer(call.specs, **call.params)
        return self._estimate(call, inferred, Sizes.of(inferred), strategy, device)

    def limit_error(self, plan: Plan, deadline_ms: int | None = None) -> RequestError | None:
        """Return the error of the limit that a plan exceeds, or None if it is admitted."""
        error = self._size_error(plan)
        if error is None and plan.device.kind != CLUSTER:
            error = self._memory_error(plan)
        elif error is None and plan.sizes.outer_bytes > self.limits.dask_max_bytes:
            # Blocks fit in the memory of a cluster, and their sum on a disk.
            what, size = "bytes of operands and result", plan.sizes.outer_bytes
            error = over_limit(what, size, self.limits, "dask_max_bytes")
        limit_ms, name = self.limits.deadline_ms, "SERVICE_DEADLINE_MS"
        if deadline_ms is not None and deadline_ms < limit_ms:
            limit_ms, name = deadline_ms, "deadline_ms"
        if error is not None or plan.estimated_ns <= limit_ms * NS_PER_MS:
            return error
        return WorkExceededError(
            f"{plan.op.name} strategy {plan.strategy.name!r} would take about "
            f"{time_text(plan.estimated_ns)} on {plan.device.name} for "
            f"{counted(plan.inferred.multiply_adds, 'multiply-add')}; "
            f"the deadline is {limit_ms} ms ({name})"
        )

    def _admit(
        self,
        call: CallSpec,
        inferred: Inferred,
        sizes: Sizes,
        devices: Sequence[Device],
        plans: Iterator[Plan],
    ) -> Plan:
        """Return the first of `plans` that is admitted, or raise the error of the best one.

        The choice for a deterministic call does not depend on measured times.
        """
        arithmetic = call.arithmetic
        is_fixed = arithmetic is not None and arithmetic.deterministic
        if call.strategy == AUTO and not is_fixed and call.op.is_heavy(inferred):
            plans = fastest_first(plans)
        if len(devices) > 1:
            plans = fastest_device_first(plans)
        plan = next(plans, None)
        if plan is None:
            strategies = choices(call.op, call.strategy, call.arithmetic)
            raise self._unsuitable(call, inferred, sizes, strategies, devices)
        error = self.limit_error(plan, call.deadline_ms)
        if isinstance(error, LimitExceededError):
            # With `auto` there may be a plan for a cluster, where other limits apply.
            larger = next((each for each in plans if each.device.kind == CLUSTER), None)
            if larger is not None and self.limit_error(larger, call.deadline_ms) is None:
                return larger
        if error is not None:
            every = tuple(call.op.strategies.values())
            able = [
                f"{other.strategy.name} ({time_text(other.estimated_ns)})"
                for other in self._plans(call, inferred, sizes, every, devices)
                if self.limit_error(other, call.deadline_ms) is None
            ]
            if able:
                error.hint = f"these are admitted: {', '.join(able)}"
            raise error
        return plan

    def _plans(
        self,
        call: CallSpec,
        inferred: Inferred,
        sizes: Sizes,
        strategies: Sequence[Strategy[Any]],
        devices: Sequence[Device],
    ) -> Iterator[Plan]:
        """Yield plans by device and supporting strategy, best first."""
        for device in devices:
            for strategy in strategies:
                plan = self._plan_by(call, inferred, sizes, strategy, device)
                if isinstance(plan, Plan):
                    yield plan

    def _estimate(
        self,
        call: CallSpec,
        inferred: Inferred,
        sizes: Sizes,
        strategy: Strategy[Any],
        device: Device,
    ) -> Estimate:
        plan = self._plan_by(call, inferred, sizes, strategy, device)
        if isinstance(plan, str):
            return Estimate(strategy.name, device.name, reason=plan)
        error = self.limit_error(plan, call.deadline_ms)
        reason = error.detail if error else None
        compile_ns = self.cost_model.compile_ns(strategy, device)
        return Estimate(strategy.name, device.name, plan, plan.estimated_ns, reason, compile_ns)

    def work_limit(self, strategy: Strategy[Any], op: Op[Any], device: Device) -> WorkBound:
        """Return the multiply-adds that fit in the deadline, by the cost of the largest sample."""
        samples = [op.infer_sample(each, torch.float32) for each in op.calibration_samples]
        largest = max(samples, key=lambda inferred: inferred.multiply_adds)
        cost = self.cost_model.estimate_ns(strategy, device, largest) / largest.multiply_adds
        return WorkBound(device, int(self.limits.deadline_ms * NS_PER_MS / cost), cost)

    def _plan_by(
        self,
        call: CallSpec,
        inferred: Inferred,
        sizes: Sizes,
        strategy: Strategy[Any],
        device: Device,
    ) -> Plan | str:
        """Return the plan of a call, or the reason why the strategy does not support it."""
        dtype = inferred.specs[0].dtype
        arithmetic = call.arithmetic
        is_reduced = arithmetic is not None and arithmetic.is_reduced
        reason = strategy.unsuitable(inferred, device.kind, self.devices.absent)
        if reason is None and arithmetic is not None:
            reason = lack(arithmetic, strategy, dtype, device, self.devices)
        if reason is not None:
            return reason
        key = strategy.op, strategy.name, device.name, dtype
        if strategy.compile is not None and key in self.cost_model.failures:
            return fails_on(device)
        op, work = call.op, strategy.work(inferred)
        time_ns, interpreter_ns, is_measured = self.cost_model.cost(strategy, device, dtype, work)
        transfer_ns = 0
        if device.kind != CPU.kind and not call.stays_on_device:
            back = sizes.elements * inferred.dtype.itemsize
            transfer_ns = self.cost_model.transfer_ns(device, sizes.outer_bytes - back, back)
        to_store = call.writes_to_store and device.kind == CLUSTER
        return Plan(
            op,
            inferred,
            strategy,
            device,
            work,
            sizes,
            time_ns + transfer_ns,
            interpreter_ns,
            is_measured and not is_reduced,  # products in ieee are what is measured
            to_store,
            call.strategy == AUTO,
            arithmetic,
            transfer_ns,
        )

    def _unsuitable(
        self,
        call: CallSpec,
        inferred: Inferred,
        sizes: Sizes,
        strategies: Sequence[Strategy[Any]],
        devices: Sequence[Device],
    ) -> UnsuitableStrategyError:
        """Return the error for a call that none of the strategies supports, with alternatives."""
        reason = str(self._plan_by(call, inferred, sizes, strategies[0], devices[0]))
        every = tuple(call.op.strategies.values())
        plans = self._plans(call, inferred, sizes, every, devices)
        able = {plan.strategy for plan in plans}
        names = ", ".join(each.name for each in every if each in able)
        hint = f"these take it: {names}" if able else None
        if call.arithmetic is not None and call.arithmetic.is_reduced:
            precision = precision_of(call.arithmetic)
            found = lack_of_all(call.op, precision, strategies[0], reason, self.devices)
            reason = f"was asked for {precision}; {found}"
            hint = hint or self._precision_hint(call, inferred, sizes, strategies)
        return UnsuitableStrategyError(
            f"{call.op.name} strategy {call.strategy!r} {reason}", hint=hint
        )

    def _precision_hint(
        self,
        call: CallSpec,
        inferred: Inferred,
        sizes: Sizes,
        strategies: Sequence[Strategy[Any]],
    ) -> str | None:
        """Return a device that has the reduced precision of a call, or where ieee works."""
        plan = next(self._plans(call, inferred, sizes, strategies, self.devices.ready), None)
        if plan is not None:
            return f'"device": "{plan.device.name}" has {precision_of(call.arithmetic)}'
        exact = replace(call, arithmetic=None)
        devices, ways = self.devices.candidates(call.device), call.op.resolve(call.strategy)
        plan = next(self._plans(exact, inferred, sizes, ways, devices), None)
        return None if plan is None else f'"precision": "{IEEE}" works on {plan.device.name}'

    def _size_error(self, plan: Plan) -> RequestError | None:
        """Return the error of a limit on shapes, which is the same for all strategies."""
        inferred, limits, elements = plan.inferred, self.limits, plan.sizes.elements
        if plan.sizes.is_empty:
            for shape in (inferred.shape, *(spec.shape for spec in inferred.specs)):
                if 0 in shape and prod(size or 1 for size in shape) >= LONGEST:
                    return LimitExceededError(
                        f"shape {quote(shape)}: torch multiplies those of an empty tensor, "
                        "too, and their product is over 2^58"
                    )
        if len(inferred.shape) > limits.max_rank:
            return over_limit("rank of the result", len(inferred.shape), limits, "max_rank")
        if elements > limits.max_elements and not plan.writes_to_store:
            what = f"elements of the result {quote(inferred.shape)}"
            return over_limit(what, elements, limits, "max_elements")
        return None

    def _memory_error(self, plan: Plan) -> RequestError | None:
        """Return the error of a limit on the memory of this host."""
        limits = self.limits
        if plan.sizes.largest > limits.max_elements:
            counts = [prod(spec.shape) for spec in plan.inferred.specs]
            number = next(i for i, count in enumerate(counts) if count > limits.max_elements)
            what = f"elements of operand {number}"
            return over_limit(what, counts[number], limits, "max_elements")
        if plan.work.peak_elements > limits.max_elements:
            what = f"elements of the largest intermediate of strategy {plan.strategy.name!r}"
            return over_limit(what, plan.work.peak_elements, limits, "max_elements")
        if plan.peak_bytes > limits.max_bytes:
            what = "bytes of operands, largest intermediate and result"
            return over_limit(what, plan.peak_bytes, limits, "max_bytes")
        return None


def fails_on(device: Device) -> str:
    """Return the reason why a strategy that cannot be compiled for a device does not run there."""
    return f"fails on {device.name}; the log of the server has the error"


def fastest_first(plans: Iterator[Plan]) -> Iterator[Plan]:
    """Yield plans such that, on each device, clearly faster ones precede the first choice."""
    for _, together in groupby(plans, key=lambda plan: plan.device.name):
        first, *others = together
        ahead = [plan for plan in others if plan.estimated_ns < first.estimated_ns * MARGIN]
        yield from sorted(ahead, key=lambda plan: plan.estimated_ns)
        yield from (first, *(plan for plan in others if plan not in ahead))


def fastest_device_first(plans: Iterator[Plan]) -> Iterator[Plan]:
    """Yield plans device by device, by the times of their first choices; a cluster comes last."""
    groups = [[*together] for _, together in groupby(plans, key=lambda plan: plan.device.name)]
    groups.sort(key=lambda group: (group[0].device.kind == CLUSTER, group[0].estimated_ns))
    for group in groups:
        yield from group


def over_limit(what: str, value: int, limits: Limits, name: str) -> LimitExceededError:
    """Return the error that names a limit, the value above it, and the setting of the limit."""
    return LimitExceededError(
        f"{what}: {value}, over the limit of {getattr(limits, name)} (SERVICE_{name.upper()})"
    )
