"""References of chains: step by step, with more digits than any strategy has."""

import pytest
import torch

from service.chain_engine import chain_call
from service.compare.reference import Reference, chain_references
from service.core.call import Tensor
from service.errors import IntegerOverflowError
from service.operations import REGISTRY
from service.planning.chain_steps import ChainStep, infer_chain
from service.registry import parse_params

ROUNDED = "each step rounded to float64"


def step(name: str, operation: str, *sources: int | str, **fields: object) -> ChainStep:
    """Return a step."""
    op = REGISTRY[operation]
    return ChainStep(name, op, sources, parse_params(op.params, fields))


def references(*steps: ChainStep, x: Tensor, results: list[str]) -> list[Reference]:
    """Return the references of a chain on one operand."""
    call = chain_call((x,), steps, results)
    return chain_references(infer_chain(call.specs, steps=steps, results=results), steps, [x])


def reference(*steps: ChainStep, x: Tensor, results: list[str]) -> Reference:
    """Return the reference of the first result."""
    return references(*steps, x=x, results=results)[0]


def test_a_result_on_the_way() -> None:
    """It is that of its step, whatever comes after it; a number is an operand, too."""
    x = torch.tensor([0.1, 0.2])
    steps = (
        step("s", "matmul", 0, 0),
        step("c", "broadcast", "s", "s", op="add"),
        step("r", "norm", "c"),
    )
    exact = x.double() @ x.double()
    for result, expected in (("s", exact), ("c", 2 * exact), ("r", 2 * exact)):
        found = reference(*steps, x=x, results=[*dict.fromkeys((result, "r"))])
        assert float(found.high) == pytest.approx(float(expected), rel=1e-15)
        assert found.dtype == torch.float32
        assert found.basis.method.endswith(f", {ROUNDED}")


def test_all_results() -> None:
    """In the order of their names, which need not be that of the steps."""
    x = torch.tensor([3.0, 4.0])
    steps = step("n", "norm", 0), step("d", "broadcast", 0, "n", op="div")
    found = references(*steps, x=x, results=["d", "n"])
    assert [each.name for each in found] == ["d", "n"]
    assert [each.high.tolist() for each in found] == [pytest.approx([0.6, 0.8]), 5.0]
    assert len({each.basis.method for each in found}) == 1


def test_one_step_is_rounded_by_none() -> None:
    """Its reference is that of the call, with what float64 lacks."""
    third = torch.tensor([1 / 3], dtype=torch.float64)
    found = reference(step("y", "matmul", 0, 0), x=third, results=["y"])
    assert found.basis.method == "exact arithmetic"
    assert found.low != 0


def test_integers_are_exact() -> None:
    """Beyond the digits of float64; one that does not fit names its step."""
    x = torch.tensor([[2**31 + 1]])
    square = step("s", "matmul", 0, 0)
    assert reference(square, x=x, results=["s"]).high == (2**31 + 1) ** 2
    with pytest.raises(IntegerOverflowError, match=r"^step 'c': ") as caught:
        reference(square, step("c", "matmul", "s", 0), x=x, results=["c"])
    assert caught.value.places[0].pointer.startswith("/steps/1")


def test_a_step_on_integers_and_floats() -> None:
    """Integers become floats of 64 bits, as in the chain; also where a strategy computes it."""
    x = torch.arange(250_000).reshape(500, 500) % 1009
    steps = (
        step("n", "norm", 0, dim=1, keepdim=True),
        step("d", "broadcast", 0, "n", op="div"),
        step("p", "matmul", 0, "d"),
        step("y", "norm", "p"),
    )
    found = reference(*steps, x=x, results=["y"])
    assert "float64 by the strategy torch" in found.basis.method
    wide = x.double()
    product = wide @ (wide / wide.norm(dim=1, keepdim=True))
    assert float(found.high) == pytest.approx(float(product.norm()), rel=1e-12)
