"""Requests of gradients: their fields, and the einsums that compute them as steps of a chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from service.core.call import Tensor
from service.errors import Place, ShapeMismatchError, quote
from service.operations.equation import MAX_OPTIMAL_OPERANDS
from service.operations.gradients import UPSTREAM, Gradient, find_gradients, ones
from service.planning.chain_steps import ChainStep
from service.registry import Inferred, Op, Registry

EINSUM: Final = "einsum"
SUFFIX: Final = "/gradients"  # of the names of requests
# The operations whose gradients are einsums.
DIFFERENTIABLE: Final = ("matmul", EINSUM)


@dataclass(frozen=True, slots=True)
class GradientSteps:
    """Gradients of a call as steps on `operands`, each under the name of its operand.

    `explanation` has the equation of the call, and for each gradient its equation, a text and a
    line of torch.
    """

    operands: tuple[Tensor, ...]
    steps: tuple[ChainStep, ...]
    explanation: Mapping[str, object]


def gradient_ops(registry: Registry) -> list[Op[Any]]:
    """Return the fields of requests of gradients as those of operations.

    Their fields are those of the operation and the upstream gradient. Their strategies are those
    of einsum.
    """
    einsum = registry.get(EINSUM)
    return [
        replace(
            registry[name],
            name=name + SUFFIX,
            summary=f"Gradients of {name}: for each operand an einsum, explained and computed.",
            operands=None if name == EINSUM else (*(registry[name].operands or ()), UPSTREAM),
            optional=(UPSTREAM,),
            auto=einsum.auto,
            _strategies={**einsum.strategies},
        )
        for name in DIFFERENTIABLE
        if einsum is not None and name in registry
    ]


def gradient_steps(
    op: Op[Any],
    einsum: Op[Any],
    inferred: Inferred,
    operands: Sequence[Tensor],
    *,
    upstream: Tensor | None,
    optimize: object,
) -> GradientSteps:
    """Return the gradients of a call of `op`; of its sum if there is no `upstream` gradient.

    An order of contraction that is stated for the call as a path is chosen anew for its gradients.
    """
    found = find_gradients(inferred)
    if upstream is None:
        upstream = ones(inferred.shape, inferred.dtype)
    elif tuple(upstream.shape) != inferred.shape:
        wanted = quote(inferred.shape)
        raise ShapeMismatchError(
            f"upstream has the shape of the result, {wanted}; it was {quote(upstream.shape)}",
            hint="leave it out for the gradients of the sum of the result",
            places=[Place(f"/{UPSTREAM}", f"expected shape {wanted}")],
        )
    positions: dict[tuple[object, ...], int] = {}
    tensors: list[Tensor] = []
    steps: list[ChainStep] = []
    texts: dict[str, object] = {}
    for number, gradient in enumerate(found.members):
        for factor in gradient.factors:
            if factor.key not in positions:
                positions[factor.key] = len(tensors)
                tensors.append(factor.tensor(upstream, operands))
        name = str(number) if op.operands is None else op.operands[number]
        pointer = f"/operands/{name}" if op.operands is None else f"/{name}"
        steps.append(
            ChainStep(
                name,
                einsum,
                tuple(positions[factor.key] for factor in gradient.factors),
                {"equation": str(gradient.equation), "optimize": _order(optimize, gradient)},
                place=(pointer, f"the gradient of {gradient.name}"),
                finish=gradient.zero_elsewhere if gradient.has_identity else None,
            )
        )
        texts[name] = {
            "equation": str(gradient.equation),
            "explanation": gradient.explanation,
            "reproduce": gradient.reproduce,
        }
    explanation = {"equation": str(found.equation), "gradients": texts}
    return GradientSteps(tuple(tensors), tuple(steps), explanation)


def _order(optimize: object, gradient: Gradient) -> object:
    """Return the order of contraction of a gradient, which has operands of its own."""
    is_path = not isinstance(optimize, str)
    is_long = optimize == "optimal" and len(gradient.factors) > MAX_OPTIMAL_OPERANDS
    return "auto" if is_path or is_long else optimize
