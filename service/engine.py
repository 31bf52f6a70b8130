"""Runs planned calls: upload, compute, synchronise, download, each timed. It knows no web."""

import gc
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from service.call import Call, Outcome, Tensor
from service.devices import Device, synchronize
from service.errors import DeviceFailedError, OutOfMemoryError
from service.plan import Plan, Planner, Request
from service.registry import Op, Registry, Strategy
from service.timing import COMPUTE, DECODE, DOWNLOAD, UPLOAD, Stopwatch

MAX_PLANS: Final = 1024
PROBE: Final = [[1.0, 2.0], [3.0, 4.0]]
PROBED: Final = [[7.0, 10.0], [15.0, 22.0]]
WarmKey = tuple[Strategy[Any], str, torch.dtype]


@dataclass(frozen=True, slots=True)
class Engine:
    """The registry, joined to the devices and limits of this host."""

    registry: Registry
    planner: Planner
    _warm: set[WarmKey] = field(default_factory=set)
    _plans: dict[Hashable, Plan] = field(default_factory=dict)
    _measured: set[tuple[str, torch.dtype]] = field(default_factory=set)

    def warm_up(self) -> None:
        """Measure every operation in float32."""
        for op in self.registry.values():
            self.measure(op, torch.float32)

    def measure(self, op: Op[Any], dtype: torch.dtype) -> None:
        """Measure every strategy on every device that runs it with `dtype`: up to 0.3 s."""
        for strategy in op.strategies.values():
            for device in self.planner.devices.members:
                if dtype in strategy.dtypes_on(device.kind):
                    self.planner.rates.rate(op, strategy, device, dtype)
        self._measured.add((op.name, dtype))

    def is_measured(self, op: Op[Any], dtype: torch.dtype) -> bool:
        """Whether plans of `op` in `dtype` are ready at once."""
        return (op.name, dtype) in self._measured

    def check_devices(self) -> None:
        """Compute a product of 2 x 2 on each device; DeviceFailedError if one gives another."""
        a = torch.tensor(PROBE)
        for device in self.planner.devices.members:
            try:
                found = (a.to(device.name) @ a.to(device.name)).tolist()
            except RuntimeError as error:
                raise DeviceFailedError(f"{device.name} fails: {error}") from error
            if found != PROBED:
                raise DeviceFailedError(
                    f"{device.name} takes the square of {PROBE} for {found}; it is {PROBED}"
                )

    def plan(self, call: Call) -> Plan:
        """The plan of `call`, or the error that says why it is not admitted."""
        plan = self.planner.plan(self.request(call))
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[_key(call)] = plan
        return plan

    def known_plan(self, call: Call) -> Plan | None:
        """The plan of a call with the same fields and shapes, from which a plan follows."""
        return self._plans.get(_key(call))

    def request(self, call: Call) -> Request:
        """What the planner is asked for `call`."""
        op = self.registry[call.op]
        return Request(op, call.specs, call.params, call.strategy, call.device, call.deadline_ms)

    def run(self, call: Call, plan: Plan, watch: Stopwatch) -> Outcome:
        """Compute a planned call, and give each phase its time on `watch`."""
        try:
            plan.op.prove(plan.meaning, call.operands)
            watch.lap(DECODE)
            if plan.device.kind == "cpu":  # nothing to move, nothing to wait for
                result = plan.strategy.run(plan.meaning, call.operands)
                watch.lap(COMPUTE)
            else:  # pragma: no cover - needs a GPU
                operands = move(call.operands, plan.device)
                watch.lap(UPLOAD)
                result = plan.strategy.run(plan.meaning, operands)
                synchronize(plan.device)
                watch.lap(COMPUTE)
                result = result.cpu()
                watch.lap(DOWNLOAD)
        except (MemoryError, RuntimeError) as error:
            raise out_of_memory(error, plan) from error
        key = (plan.strategy, plan.device.name, plan.meaning.specs[0].dtype)
        warm = key in self._warm
        if not warm:
            self._warm.add(key)
        return Outcome(
            op=call.op,
            result=result,
            strategy=plan.strategy.name,
            device=plan.device.name,
            threads=torch.get_num_threads(),
            warm=warm,
            warnings=call.warnings,
            explanation=plan.meaning.explanation,
        )


def _key(call: Call) -> Hashable:
    operands = call.operands
    return (
        call.op,
        call.strategy,
        call.device,
        call.deadline_ms,
        operands[0].dtype,
        *call.params.values(),
        *[x.shape for x in operands],
    )


def move(operands: Sequence[Tensor], device: Device) -> Sequence[Tensor]:
    """The operands on `device`; themselves where they are there already."""
    if device.kind == "cpu":
        return operands
    moved = [x.to(device.name) for x in operands]  # pragma: no cover - needs a GPU
    synchronize(device)  # pragma: no cover - needs a GPU
    return moved  # pragma: no cover - needs a GPU


def is_exhausted(error: BaseException) -> bool:
    """Whether memory has run out: torch says so in words."""
    exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return exhausted or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))


def out_of_memory(error: Exception, plan: Plan) -> Exception:
    """The error to raise for one of torch's or numpy's: its own, unless memory ran out."""
    if not is_exhausted(error):
        return error
    gc.collect()
    torch.cuda.empty_cache()
    return OutOfMemoryError(
        f"{plan.device.name} has not enough memory for {plan.op.name} by {plan.strategy.name!r}"
    )
