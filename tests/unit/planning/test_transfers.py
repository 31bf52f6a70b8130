"""Times of copies, with a clock that the test advances, and the size from which a GPU wins."""

from dataclasses import replace
from itertools import count

import pytest

from service.core.devices import CPU, Device, Devices
from service.operations import REGISTRY
from service.planning.cost_model import COPIED, HOP, TRANSFER, CostModel, Curve
from service.planning.limits import Limits
from service.planning.planner import Planner
from service.planning.transfers import COPY_SIZES, measure_transfers, wins_from
from tests.rigs.costs import cost_rows

GPU = Device("cuda:0", "cuda", "", None)
LIMITS = Limits(max_elements=10**6, max_bytes=10**8, max_rank=4, deadline_ms=1000)


def measured(step_ns: int = 10) -> CostModel:
    """Return a model with copies that take so long each."""
    model, ticks = CostModel(), count(0, step_ns)
    measure_transfers(model, GPU, lambda: next(ticks))
    return model


def test_copies_are_measured_once() -> None:
    """There and back, on a GPU alone; another process learns them."""
    model = measured()
    assert model.has_transfers("cuda:0")
    assert model.transfer_ns(GPU, 0, 0) == 20
    assert model.transfer_ns(GPU, COPY_SIZES[-1], 4) == 20
    assert model.measured() == set(), "a copy is no strategy"
    changes = model.changes
    measure_transfers(model, GPU, lambda: 0)
    measure_transfers(model, CPU, lambda: 0)
    assert model.changes == changes == 2
    assert CostModel.from_rows(model.to_rows()).transfer_ns(GPU, 0, 0) == 20
    assert model.transfer_ns(CPU, 10**6, 10**6) == 0
    assert model.transfer_ns(replace(GPU, name="cuda:1"), 10**6, 10**6) == 0
    with pytest.raises(LookupError, match="the process that owns it alone"):
        measure_transfers(CostModel(), replace(GPU, has_process=True), lambda: 0)


def test_the_hop_is_a_part() -> None:
    """It counts the bytes of both ways, and is learned once."""
    model = measured()
    model.learn_hop("cuda:0", Curve(0.0, (0.0, 100.0), (7.0, 107.0)))
    assert model.transfer_ns(GPU, 0, 0) == 27
    assert model.transfer_ns(GPU, 30, 20) == 77
    model.learn_hop("cuda:0", Curve(0.0, (0.0,), (1.0,)))
    assert model.transfer_ns(GPU, 0, 0) == 27


def planner_of(hop_ns: float, gpu_ns: float, deadline_ms: int = 1000) -> Planner:
    """Return a planner by which a multiply-add takes a nanosecond on the CPU."""
    rows = [
        *cost_rows(CPU, Curve(0.0, (0.0, 1e9), (0.0, 1e9))),
        *cost_rows(GPU, Curve(0.0, (0.0, 1e9), (0.0, gpu_ns * 1e9))),
    ]
    model = CostModel.from_rows(rows)
    model.add((TRANSFER, HOP, "cuda:0", COPIED, ""), Curve(0.0, (0.0, 1.0), (hop_ns, hop_ns)))
    return Planner(Devices((GPU, CPU)), model, replace(LIMITS, deadline_ms=deadline_ms))


@pytest.mark.parametrize(
    ("hop_ns", "gpu_ns", "deadline_ms", "n"),
    [
        (100_000.0, 0.0, 1000, 64),
        (100_000.0, 0.9, 1000, 128),
        (0.0, 0.5, 1000, 1),
        (100_000.0, 1.0, 1000, None),
        (3_000_000.0, 1.0, 2, None),
        (1e9, 0.0, 100, None),
        (90_000_000.0, 0.0, 100, 512),
    ],
    ids=["hop", "slow", "free", "never", "refused", "late", "too much for the CPU"],
)
def test_the_size_from_which_a_gpu_wins(
    hop_ns: float, gpu_ns: float, deadline_ms: int, n: int | None
) -> None:
    """It is the one by which `auto` chooses; on the CPU there is none."""
    planner = planner_of(hop_ns, gpu_ns, deadline_ms)
    expected = None if n is None else {"op": "matmul", "dtype": "float32", "n": n}
    assert wins_from(planner, REGISTRY, GPU) == expected
    assert wins_from(planner, REGISTRY, CPU) is None


def test_there_is_none_before_a_device_is_ready() -> None:
    """It may change when the device has been measured."""
    planner = planner_of(0.0, 0.5)
    planner.devices.readiness.lose("cuda:0", "it starts", 1)
    assert wins_from(planner, REGISTRY, GPU) is None
