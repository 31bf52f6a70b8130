"""A planned call: its input, its strategy, device and estimated cost, and the sizes it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch

from service.core.arithmetic import Arithmetic
from service.core.call import AUTO, Shape, Spec, Tensor
from service.core.devices import Device
from service.registry import Inferred, Op, Recheck, Strategy, Work

# With more, the search for einsum's order of contraction takes up to 15 ms.
MAX_OPERANDS_AT_ONCE: Final = 4
# What has run before when the first run of a call is slow: strategy, device, dtype, precision.
WarmKey = tuple[Strategy[Any], str, torch.dtype, str]


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
    arithmetic: Arithmetic | None = None
    stays_on_device: bool = False  # operands and result, which are copied for a chain as a whole

    def reproduce(self, inferred: Inferred) -> str:
        """Return the call as one line of torch, after the settings that it needs."""
        settings = () if self.arithmetic is None else self.arithmetic.settings
        return "; ".join((*settings, inferred.reproduce))


@dataclass(frozen=True, slots=True)
class Plan:
    """A call with the strategy and the device that run it, and its estimated cost.

    `interpreter_ns` is the part of the estimated time in Python's interpreter, which holds the GIL.
    Without `is_measured` the estimate is a prior, as that of a reduced precision is. With
    `writes_to_store` a cluster writes the result to a file; with `is_auto` the planner has chosen
    the strategy. A call that `is_elsewhere` never runs in the event loop, however short: its device
    has a process of its own, or its strategy has to be compiled. `transfer_ns` is the part of the
    estimated time for the way to a GPU and back.
    """

    op: Op[Any]
    inferred: Inferred
    strategy: Strategy[Any]
    device: Device
    work: Work
    sizes: "Sizes"
    estimated_ns: int
    interpreter_ns: int = 0
    is_measured: bool = True
    writes_to_store: bool = False
    is_auto: bool = False
    arithmetic: Arithmetic | None = None
    transfer_ns: int = 0
    # Set in the plan of a call that runs.
    explanation: Mapping[str, object] | None = None
    recheck: Recheck | None = None
    warm_key: WarmKey | None = None
    may_overflow: bool = False
    is_checked_as_text: bool = False
    is_finite_if_moderate: bool = False
    is_elsewhere: bool = False

    @property
    def run_ns(self) -> int:
        """Estimated time of the strategy alone."""
        return self.estimated_ns - self.transfer_ns

    @property
    def result_shapes(self) -> tuple[Shape, ...]:
        """The shapes of what `run` returns."""
        return (self.inferred.shape,)

    def run(self, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the result on operands that are on the device; a chain in a race has several."""
        return (self.strategy.run(self.inferred, operands),)

    @property
    def is_compiled(self) -> bool:
        """True if the strategy has to be compiled."""
        return self.strategy.compile is not None

    @property
    def peak_bytes(self) -> int:
        """Bytes of operands, result and largest intermediate together."""
        itemsize = max(self.inferred.specs[0].dtype.itemsize, self.inferred.dtype.itemsize)
        return self.sizes.outer_bytes + self.work.peak_elements * itemsize


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes that all strategies of a call have in common.

    elements      of the result
    largest       elements of the largest operand
    outer_bytes   of operands and result together
    is_empty      True if an operand or the result has no elements
    """

    elements: int
    largest: int
    outer_bytes: int
    is_empty: bool

    @classmethod
    def of(cls, inferred: Inferred) -> "Sizes":
        """Return the sizes of a call."""
        elements = prod(inferred.shape)
        counts = [prod(spec.shape) for spec in inferred.specs]
        operand_bytes = sum(counts) * inferred.specs[0].dtype.itemsize
        outer_bytes = operand_bytes + elements * inferred.dtype.itemsize
        return cls(elements, max(counts), outer_bytes, elements == 0 or 0 in counts)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost of one strategy on one device.

    Without a `plan` the strategy does not support the call. `reason` is why it would not run.
    `compile_ns` is paid by the first call of a process.
    """

    strategy: str
    device: str
    plan: Plan | None = None
    estimated_ns: int | None = None
    reason: str | None = None
    compile_ns: int | None = None

    @property
    def run_ns(self) -> int | None:
        """Estimated time of the strategy alone."""
        return None if self.plan is None else self.plan.run_ns


@dataclass(frozen=True, slots=True)
class Explanation:
    """Inferred result of a call, its plan or the reason why there is none, and all estimates.

    `hint` is what would be admitted in its place, where that is known.
    """

    inferred: Inferred
    sizes: Sizes
    plan: Plan | None
    reason: str | None
    estimates: tuple[Estimate, ...]
    hint: str | None = None

    @property
    def cheapest(self) -> Plan | None:
        """The fastest plan, admitted or not; None if no strategy supports the call."""
        plans = (each.plan for each in self.estimates if each.plan is not None)
        return min(plans, key=lambda plan: plan.estimated_ns, default=None)


def plans_at_once(specs: Sequence[Spec | Tensor]) -> bool:
    """Return whether a plan takes less than a millisecond."""
    return len(specs) <= MAX_OPERANDS_AT_ONCE
