"""Tests of plans as they are shown."""

from tensor_service_client.plans import ChainPlan, Plan
from tests.unit.client.documents import CHAIN_PLAN, PLAN


def test_a_plan() -> None:
    """The decision, the size, the estimates, reasons and the path; what would run is bold."""
    plan = Plan(PLAN)
    lines = [line.split() for line in repr(plan).splitlines()]
    text = repr(plan)
    assert text.startswith(
        "plan of einsum: torch would run on cpu\nresult 5×10 float32, 200 bytes;"
    )
    assert "39,200 multiply-adds; memory 46.1 KiB" in text
    assert ["cuda", "cpu", "-", "-", "NO"] in lines
    assert ["numba", "cpu", "2.00", "us", "1.00", "s", "yes"] in lines
    assert ["torch", "cpu", "2.00", "us", "(prior)", "-", "yes"] in lines
    assert "NO cuda: needs a GPU" in text
    assert ["1", "0", "and", "1", "ij,jk->ik", "5×10", "1"] in lines
    html = plan._repr_html_()
    assert html.index("font-weight:bold") > html.index(">numba<")


def test_a_plan_that_is_not_accepted() -> None:
    """The reason is in the title, and no row is bold."""
    found = {"accepted": False, "reason": "over the limit", "strategy": None, "device": None}
    plan = Plan(PLAN | found | {"path": None})
    assert repr(plan).startswith("plan of einsum: NOT accepted: over the limit\n")
    assert "takes" not in repr(plan)
    assert "font-weight:bold" not in plan._repr_html_()


def test_the_plan_of_a_chain() -> None:
    """A row for each step."""
    plan = ChainPlan(CHAIN_PLAN)
    lines = repr(plan).splitlines()
    assert lines[0] == "plan of a chain: it would run on cpu"
    assert lines[1] == "estimated 13.3 us; 39,300 multiply-adds; memory 46.5 KiB"
    assert lines[4].split() == ["matmul0", "torch", "5×10", "float32", "39,200"]
    assert plan.steps[0].name == "matmul0"


def test_a_chain_that_is_not_accepted() -> None:
    """It has no time and no memory."""
    steps = [PLAN | {"name": "a", "strategy": None}]
    work = {"multiply_adds": 1, "peak_bytes": None}
    found = {"accepted": False, "reason": "too much", "estimated_ms": None, "steps": steps}
    lines = repr(ChainPlan(CHAIN_PLAN | found | {"work": work})).splitlines()
    assert lines[:2] == [
        "plan of a chain: NOT accepted: too much",
        "estimated unknown; 1 multiply-adds",
    ]
    assert lines[4].split()[:2] == ["a", "-"]
