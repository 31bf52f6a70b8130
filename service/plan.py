"""The plan of a call: which strategy runs it, on which device, and whether it is admitted.

This is the one rule of admission. It counts in Python integers and allocates nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch

from service.call import Spec
from service.devices import Device, Devices
from service.errors import LimitExceededError, RequestError, WorkExceededError, quote
from service.limits import Limits
from service.rates import Rates
from service.registry import Meaning, Op, Strategy, Work

NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """An admitted call: what it means, what runs it, what it costs."""

    op: Op[Any]
    meaning: Meaning
    strategy: Strategy[Any]
    device: Device
    work: Work
    estimated_ns: int


@dataclass(frozen=True, slots=True)
class WorkLimit:
    """The most work that a strategy is admitted with on a device, and what a part of it costs."""

    device: Device
    multiply_adds: int
    ns_per_multiply_add: float


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans calls for this host."""

    devices: Devices
    rates: Rates
    limits: Limits

    def plan(
        self,
        op: Op[Any],
        specs: tuple[Spec, ...],
        params: Mapping[str, object],
        *,
        strategy: str,
        device: str,
        deadline_ms: int | None = None,
    ) -> Plan:
        """The plan of a call, or the error that says why it is not admitted."""
        candidates = self.devices.candidates(device)
        wanted = op.resolve(strategy)
        meaning = op.understand(specs, **params)
        self._check_result(meaning)
        for here in candidates:
            for way in wanted:
                if way.unsuitable(meaning, here.kind) is None:
                    plan = self._estimate(op, meaning, way, here)
                    self._admit(plan, candidates, deadline_ms)
                    return plan
        raise op.unsuitable(strategy, meaning, [each.kind for each in candidates])

    def work_limit(self, strategy: Strategy[Any], op: Op[Any], device: Device) -> WorkLimit:
        """The most multiply-adds that a strategy may do on a device, as its largest probe goes."""
        meaning = op.sample_meaning(op.probes[-1], torch.float32)
        estimated_ns = self.rates.estimate_ns(op, strategy, device, meaning)
        cost = estimated_ns / meaning.multiply_adds
        return WorkLimit(device, int(self.limits.deadline_ms * NS_PER_MS / cost), cost)

    def _estimate(
        self, op: Op[Any], meaning: Meaning, strategy: Strategy[Any], device: Device
    ) -> Plan:
        estimated_ns = self.rates.estimate_ns(op, strategy, device, meaning)
        return Plan(op, meaning, strategy, device, strategy.work(meaning), estimated_ns)

    def _check_result(self, meaning: Meaning) -> None:
        """Sizes that no strategy can change."""
        if len(meaning.shape) > self.limits.max_rank:
            raise over_limit("rank of the result", len(meaning.shape), self.limits, "max_rank")
        if meaning.elements > self.limits.max_elements:
            raise over_limit(
                f"elements of the result {quote(list(meaning.shape))}",
                meaning.elements,
                self.limits,
                "max_elements",
            )

    def _admit(self, plan: Plan, devices: Sequence[Device], deadline_ms: int | None) -> None:
        """Raise the error of the limit that the plan is over, with what would work."""
        error = self._refusal(plan, deadline_ms)
        if error is None:
            return
        others = (
            self._estimate(plan.op, plan.meaning, strategy, device)
            for device in devices
            for strategy in plan.op.strategies.values()
            if strategy.unsuitable(plan.meaning, device.kind) is None
        )
        able = {
            other.strategy.name: f"{other.strategy.name} ({_duration(other.estimated_ns)})"
            for other in others
            if self._refusal(other, deadline_ms) is None
        }
        if able:
            error.hint = f"these are admitted: {', '.join(able.values())}"
        raise error

    def _refusal(self, plan: Plan, deadline_ms: int | None) -> RequestError | None:
        meaning, name = plan.meaning, plan.strategy.name
        if plan.work.peak_elements > self.limits.max_elements:
            what = f"elements of the largest intermediate of strategy {name!r}"
            return over_limit(what, plan.work.peak_elements, self.limits, "max_elements")
        operands = sum(_bytes(spec) for spec in meaning.specs)
        result = meaning.elements * meaning.dtype.itemsize
        peak = plan.work.peak_elements * meaning.specs[0].dtype.itemsize
        if (total := operands + result + peak) > self.limits.max_bytes:
            what = "bytes of operands, largest intermediate and result"
            return over_limit(what, total, self.limits, "max_bytes")
        limit_ms = min(deadline_ms or self.limits.deadline_ms, self.limits.deadline_ms)
        if plan.estimated_ns > limit_ms * NS_PER_MS:
            return WorkExceededError(
                f"{plan.op.name} strategy {name!r} would take about "
                f"{_duration(plan.estimated_ns)} on {plan.device.name} for "
                f"{meaning.multiply_adds} multiply-adds; the deadline is {limit_ms} ms "
                "(SERVICE_DEADLINE_MS)"
            )
        return None


def over_limit(what: str, value: int, limits: Limits, name: str) -> LimitExceededError:
    """The error that names a limit, what would exceed it, and the setting that changes it."""
    return LimitExceededError(
        f"{what}: {value}, over the limit of {getattr(limits, name)} (SERVICE_{name.upper()})"
    )


def _bytes(spec: Spec) -> int:
    return prod(spec.shape) * spec.dtype.itemsize


def _duration(ns: int) -> str:
    """An estimate to two digits, in a unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{ns / size:.2g} {unit}" if ns < 1e11 else f"{ns / size:.0f} {unit}"
    return f"{ns / 1e3:.2g} us"
