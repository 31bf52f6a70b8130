"""A sweep: sizes, the limit of a run, and its ends."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from service.compare import Row
from service.compare.sweep import Sweep, sizes_between, sweep
from service.core.arithmetic import Arithmetic
from service.core.call import Call, Tensor
from service.core.devices import host_devices
from service.engine import Engine
from service.errors import LimitExceededError
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.planning.plan import Plan
from service.planning.planner import Planner

OPTIONS = {"strategies": ("loops", "torch"), "budget_ms": 1}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine of this host."""
    limits = Limits(max_elements=2**20, max_bytes=2**24, max_rank=16, deadline_ms=30_000)
    return Engine(REGISTRY, Planner(host_devices("cpu"), CostModel(), limits))


def square(size: int) -> Call:
    """A product of squares."""
    return Call("matmul", (torch.ones(size, size),) * 2, {}, options=OPTIONS)


def swept(engine: Engine, call_at: Callable[[int], Call], limit_ns: int) -> Sweep:
    """The sweep over a few sizes, which shows all of its rows."""
    shown: list[tuple[int, Row]] = []
    found = sweep(engine, (1, 2, 4), call_at, limit_ns, lambda *each: shown.append(each))
    rows = [(point.size, row) for point in found.points for row in point.report.rows]
    assert sorted(shown, key=repr) == sorted(rows, key=repr)
    return found


@pytest.mark.parametrize(
    ("first", "last", "sizes"),
    [(2, 16, (2, 4, 8, 16)), (3, 20, (3, 6, 12)), (5, 5, (5,)), (1, 3, (1, 2))],
)
def test_sizes(first: int, last: int, sizes: tuple[int, ...]) -> None:
    """Sizes double, and do not pass the last."""
    assert sizes_between(first, last) == sizes


def test_lines(engine: Engine) -> None:
    """Every strategy has a line; one that reaches the end has no reason to stop."""
    found = swept(engine, square, 10**12)
    assert (found.sizes, found.ended) == ((1, 2, 4), None)
    assert [line.strategy for line in found.lines] == ["loops", "torch"]
    assert [(line.last, line.stopped) for line in found.lines] == [(4, None)] * 2


def test_nothing_within_the_limit(engine: Engine) -> None:
    """A sweep ends at the size where no strategy stays within the limit, with each estimate."""
    found = swept(engine, lambda size: replace(square(size), arithmetic=Arithmetic("ieee")), 1)
    assert (found.sizes, found.ended) == ((1,), "at 1: no strategy stays within its limits")
    assert [(line.last, line.precision) for line in found.lines] == [(None, "ieee")] * 2
    assert all("over the limit of 1.00 ns" in (line.stopped or "") for line in found.lines)


def test_a_strategy_out_of_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops with the reason, and the others go on to the last size."""
    run = Plan.run

    def run_out(self: Plan, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        if self.strategy.name == "torch" and len(operands[0]) > 1:
            raise MemoryError
        return run(self, operands)

    monkeypatch.setattr(Plan, "run", run_out)
    found = swept(engine, square, 10**12)
    assert (found.sizes, found.ended) == ((1, 2, 4), None)
    lines = {line.strategy: line for line in found.lines}
    assert lines["torch"].stopped == "at 2: cpu has not enough memory for matmul by 'torch'"
    assert (lines["torch"].last, lines["loops"].last) == (1, 4)


def test_a_strategy_that_does_not_take_the_call(engine: Engine) -> None:
    """A strategy that does not support the call stops with its own reason."""

    def halves(size: int) -> Call:
        options = {**OPTIONS, "strategies": ("torch", "numpy")}
        operands = (torch.ones(size, size, dtype=torch.bfloat16),) * 2
        return Call("matmul", operands, {}, options=options)

    lines = {line.strategy: line for line in swept(engine, halves, 10**12).lines}
    assert lines["numpy"].stopped == "at 1: does not take bfloat16 on cpu"
    assert lines["torch"].stopped is None


def test_operands_over_a_limit(engine: Engine) -> None:
    """A size over the limits ends a sweep; at the first size the error is raised."""

    def bounded(size: int) -> Call:
        if size > 1:
            raise LimitExceededError("too large")
        return square(size)

    assert swept(engine, bounded, 10**12).ended == "at 2: too large"

    def refused(size: int) -> Call:
        raise LimitExceededError("too large")

    with pytest.raises(LimitExceededError, match="too large"):
        swept(engine, refused, 10**12)
