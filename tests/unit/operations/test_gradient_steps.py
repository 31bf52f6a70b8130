"""Gradients as steps of a chain: the operands that they share, and their order of contraction."""

import pytest
import torch

from service.core.call import Shape
from service.operations import REGISTRY
from service.operations.gradient_steps import GradientSteps, gradient_ops, gradient_steps
from service.registry import Registry, Sample

EINSUM = REGISTRY["einsum"]


def steps(equation: str, shapes: tuple[Shape, ...], optimize: object = "auto") -> GradientSteps:
    """Return the gradients of an equation."""
    inferred = EINSUM.infer_sample(Sample("", shapes, {"equation": equation}), torch.float32)
    operands = [torch.ones(shape) for shape in shapes]
    return gradient_steps(EINSUM, EINSUM, inferred, operands, upstream=None, optimize=optimize)


def test_steps_share_their_operands() -> None:
    """The upstream gradient is there once, and so is an operand of two gradients."""
    found = steps("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5)))
    assert [step.sources for step in found.steps] == [(0, 1, 2), (0, 3, 2), (0, 3, 1)]
    assert [tuple(x.shape) for x in found.operands] == [(2, 5), (3, 4), (4, 5), (2, 3)]


def test_constants_take_little_memory() -> None:
    """Of ones a single number is stored, and each identity is there once."""
    found = steps("iij->", ((3, 3, 4),))
    upstream, identity, ones = found.operands
    assert (upstream.untyped_storage().nbytes(), ones.untyped_storage().nbytes()) == (4, 4)
    assert torch.equal(identity, torch.eye(3))


@pytest.mark.parametrize(
    ("optimize", "count", "order"),
    [
        ("greedy", 3, "greedy"),
        ("optimal", 6, "optimal"),
        ("optimal", 7, "auto"),
        (((0, 1), (0, 1)), 3, "auto"),
    ],
)
def test_the_order_of_contraction(optimize: object, count: int, order: str) -> None:
    """It is that of the call, unless the gradients cannot have it."""
    found = steps(",".join("i" * count), ((2,),) * count, optimize)
    assert {step.params["optimize"] for step in found.steps} == {order}


def test_a_registry_without_einsum_has_no_gradients() -> None:
    """Nothing could compute them."""
    assert gradient_ops(Registry(REGISTRY["matmul"])) == []
    assert [op.name for op in gradient_ops(Registry(EINSUM))] == ["einsum/gradients"]
