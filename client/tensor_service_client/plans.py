"""Plans of calls and of chains; docs/plan.md explains the fields."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tensor_service_client.documents import Document
from tensor_service_client.tables import NO_VALUE, Block, Table, Tabular, grouped
from tensor_service_client.units import bytes_text, count_text, shape_text, time_text


class PlannedResult(Document):
    """Shape, dtype and size of the result."""

    shape: list[int]
    dtype: str
    elements: int
    bytes: int


class PlannedWork(Document):
    """Work of the chosen strategy."""

    multiply_adds: int
    peak_elements: int
    peak_bytes: int


class PlannedStrategy(Document):
    """Estimate of one strategy on one device, or the reason why it would not run."""

    strategy: str
    device: str
    available: bool
    accepted: bool
    estimated_ms: float | None
    transfer_ms: float | None
    basis: Literal["measured", "prior"] | None
    compile_ms: float | None
    reason: str | None


class Plan(Tabular, Document, result=PlannedResult, work=PlannedWork, strategies=PlannedStrategy):
    """Shape, dtype and cost of a call; nothing was computed."""

    op: str
    accepted: bool
    reason: str | None
    strategy: str | None
    device: str | None
    precision: str | None
    deterministic: bool | None
    result: PlannedResult
    work: PlannedWork
    strategies: list[PlannedStrategy]
    reproduce: str
    path: list[dict[str, Any]] | None
    broadcast: dict[str, Any] | None

    def _blocks(self) -> Iterator[Block]:
        yield f"plan of {self.op}: {_decision(self)}"
        result, work = self.result, self.work
        yield (
            f"result {shape_text(result.shape)} {result.dtype}, {bytes_text(result.bytes)}; "
            f"{count_text(work.multiply_adds)} multiply-adds; "
            f"memory {bytes_text(work.peak_bytes)}"
        )
        yield f"in torch: {self.reproduce}"
        yield Table(
            ("strategy", "device", "estimated", "to compile", "accepted"),
            [
                (
                    each.strategy,
                    each.device,
                    _estimate(each),
                    time_text(each.compile_ms) if each.compile_ms else NO_VALUE,
                    "NO" if each.reason else "yes",
                )
                for each in self.strategies
            ],
            frozenset({"estimated", "to compile"}),
            strong=_position(self),
        )
        refused = grouped((s.strategy, s.reason) for s in self.strategies if s.reason)
        yield from (f"NO {', '.join(names)}: {reason}" for reason, names in refused.items())
        if self.path:
            yield _path(self.path)


class ChainPlanStep(Plan):
    """Plan of one step of a chain."""

    name: str


class ChainPlan(Plan, steps=ChainPlanStep):
    """Plan of a chain: its `results` by the names of steps, and a plan for each step.

    `result`, `strategy`, `strategies` and `reproduce` are None: the steps have them.
    """

    estimated_ms: float | None
    transfer_ms: float | None
    results: dict[str, dict[str, Any]]
    steps: list[ChainPlanStep]

    def _blocks(self) -> Iterator[Block]:
        yield f"plan of a chain: {_decision(self)}"
        estimated = time_text(self.estimated_ms) if self.estimated_ms else "unknown"
        work = f"{count_text(self.work.multiply_adds)} multiply-adds"
        peak = f"; memory {bytes_text(self.work.peak_bytes)}" if self.work.peak_bytes else ""
        yield f"estimated {estimated}; {work}{peak}"
        yield Table(
            ("step", "strategy", "shape", "dtype", "multiply-adds"),
            [
                (
                    step.name,
                    step.strategy or NO_VALUE,
                    shape_text(step.result.shape),
                    step.result.dtype,
                    count_text(step.work.multiply_adds),
                )
                for step in self.steps
            ],
            frozenset({"multiply-adds"}),
        )


def _decision(plan: Plan) -> str:
    if not plan.accepted:
        return f"NOT accepted: {plan.reason}"
    return f"{plan.strategy or 'it'} would run on {plan.device}"


def _estimate(each: PlannedStrategy) -> str:
    if each.estimated_ms is None:
        return NO_VALUE
    return time_text(each.estimated_ms) + (" (prior)" if each.basis == "prior" else "")


def _position(plan: Plan) -> int | None:
    """Return the position of the strategy that would run."""
    chosen = (plan.strategy, plan.device)
    rows = [(each.strategy, each.device) for each in plan.strategies]
    return rows.index(chosen) if chosen in rows else None


def _path(steps: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        ("step", "takes", "equation", "gives", "multiply-adds"),
        [
            (
                str(number),
                " and ".join(map(str, step["positions"])),
                step["equation"],
                shape_text(step["shape"]),
                count_text(step["multiply_adds"]),
            )
            for number, step in enumerate(steps, 1)
        ],
        frozenset({"multiply-adds"}),
    )
