"""Runs planned calls: upload, compute, synchronise, download, each timed. It knows no web."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from service.call import Call, Outcome, Tensor
from service.devices import Device, synchronize
from service.errors import OutOfMemoryError
from service.plan import Plan, Planner, Request
from service.registry import Registry
from service.timing import Stopwatch

WarmKey = tuple[str, str, str, torch.dtype]


@dataclass(frozen=True, slots=True)
class Engine:
    """The registry, joined to the devices and limits of this host."""

    registry: Registry
    planner: Planner
    _warm: set[WarmKey] = field(default_factory=set)

    def warm_up(self) -> None:
        """Measure every strategy in float32 on every device that runs it."""
        for op in self.registry.values():
            for strategy in op.strategies.values():
                for device in self.planner.devices.members:
                    if torch.float32 in strategy.dtypes_on(device.kind):
                        self.planner.rates.rate(op, strategy, device, torch.float32)

    def plan(self, call: Call) -> Plan:
        """The plan of `call`, or the error that says why it is not admitted."""
        return self.planner.plan(self.request(call))

    def request(self, call: Call) -> Request:
        """What the planner is asked for `call`."""
        op = self.registry[call.op]
        return Request(op, call.specs, call.params, call.strategy, call.device, call.deadline_ms)

    def run(self, call: Call, plan: Plan, watch: Stopwatch) -> Outcome:
        """Compute a planned call, and give each phase its time on `watch`."""
        try:
            plan.op.prove(plan.meaning, call.operands)
            watch.lap("decode")
            operands = move(call.operands, plan.device)
            watch.lap("upload")
            result = plan.strategy.run(plan.meaning, operands)
            synchronize(plan.device)
            watch.lap("compute")
            result = result.cpu()
            watch.lap("download")
        except (MemoryError, RuntimeError) as error:
            raise _out_of_memory(error, plan) from error
        key = (plan.op.name, plan.strategy.name, plan.device.name, call.operands[0].dtype)
        warm = key in self._warm
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


def move(operands: Sequence[Tensor], device: Device) -> Sequence[Tensor]:
    """The operands on `device`; themselves where they are there already."""
    if device.kind == "cpu":
        return operands
    moved = [x.to(device.name) for x in operands]  # pragma: no cover - needs a GPU
    synchronize(device)  # pragma: no cover - needs a GPU
    return moved  # pragma: no cover - needs a GPU


def _out_of_memory(error: Exception, plan: Plan) -> Exception:
    """The error to raise for one of torch's or numpy's: its own, unless memory ran out."""
    exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not exhausted and "DefaultCPUAllocator" not in str(error):
        return error
    gc.collect()
    torch.cuda.empty_cache()
    return OutOfMemoryError(
        f"{plan.device.name} has not enough memory for {plan.op.name} by {plan.strategy.name!r}"
    )
