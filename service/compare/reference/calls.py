"""References of calls: values that are more exact than those of any strategy.

No strategy takes part. Products and sums are exact before they are rounded once, to the bits of
two float64. Other functions are computed with the longest floats of numpy. If a result has too
many elements for that, a sample of them is checked. Only if a few elements would take too long,
the reference is a strategy in float64, and says so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import torch

from service.compare.reference.elementwise import elementwise
from service.compare.reference.evaluation import Array, Evaluation
from service.compare.reference.norms import norm
from service.compare.reference.products import sum_of_products
from service.compare.reference.sampling import Grid, affordable, spread
from service.core.call import AUTO, Spec, Tensor
from service.core.dtypes import BOOL, COMPLEX, FLOATS, describe
from service.operations import equation as equations
from service.operations.broadcast.definition import InferredBroadcast
from service.operations.einsum.definition import InferredEinsum
from service.operations.matmul.definition import InferredMatmul
from service.operations.norm.definition import InferredNorm
from service.registry import Inferred, Op

Evaluate = Callable[[Any, Sequence[Array], Grid], Evaluation]


@dataclass(frozen=True, slots=True)
class Basis:
    """Method that results are judged by, and the number of their elements that it checks."""

    method: str
    checked: int
    elements: int


@dataclass(frozen=True, slots=True)
class Reference:
    """The values at a grid of a result's elements: `high + low`, with `low` what float64 lacks.

    `dtype` is that of the result. Integers are int64, and missing nothing. Results of a chain have
    a `name`.
    """

    high: Array
    low: Array
    dtype: torch.dtype
    grid: Grid
    basis: Basis
    name: str = ""

    def pick(self, result: Tensor) -> Array:
        """Return the elements of a result that are checked, in int64, float64 or complex128."""
        return widen(select(result.cpu(), self.grid))


def select(x: Tensor, grid: Iterable[Array | None]) -> Tensor:
    """Return the elements at the indices of each axis; None stands for all of them."""
    for axis, indices in enumerate(grid):
        if indices is not None and len(indices) < x.shape[axis]:
            x = x.index_select(axis, torch.from_numpy(indices))
    return x


def widen(x: Tensor) -> Array:
    """Return a tensor in int64, float64 or complex128; bool as it is."""
    wide = {**dict.fromkeys(FLOATS, torch.float64), **dict.fromkeys(COMPLEX, torch.complex128)}
    kept = dict.fromkeys(BOOL, torch.bool)
    array: Array = x.to((wide | kept).get(x.dtype, torch.int64)).resolve_conj().numpy()
    return array


def reference_of(
    op: Op[Any],
    inferred: Inferred,
    params: Mapping[str, object],
    operands: Sequence[Tensor],
    *,
    whole: bool = False,
) -> Reference:
    """Return the reference of a call, of all elements if it has to be `whole`."""
    evaluate = EVALUATORS[type(inferred)]
    arrays = [widen(x) for x in operands]
    found = affordable(inferred.shape, lambda grid: evaluate(inferred, arrays, grid))
    if found is None or (whole and prod(map(len, found[0])) < inferred.elements):
        return _by_strategy(op, inferred, params, operands)
    grid, evaluation = found
    shape = tuple(map(len, grid))
    high, low = (np.reshape(x, shape) for x in evaluation.compute())
    basis = Basis(evaluation.method, high.size, inferred.elements)
    return Reference(high, low, inferred.dtype, grid, basis)


def _by_strategy(
    op: Op[Any], inferred: Inferred, params: Mapping[str, object], operands: Sequence[Tensor]
) -> Reference:
    """Return the result of the strategy for `auto` in float64 or complex128."""
    wide = [torch.from_numpy(widen(x)) for x in operands]
    specs = tuple(Spec(tuple(x.shape), x.dtype) for x in wide)
    again = op.infer(specs, **params)
    strategy = next(each for each in op.resolve(AUTO) if each.unsuitable(again, "cpu") is None)
    high = widen(strategy.run(again, wide))
    method = f"{describe(wide[0].dtype).name} by the strategy {strategy.name}"
    basis = Basis(method, high.size, high.size)
    return Reference(
        high, np.zeros_like(high), inferred.dtype, spread(high.shape, high.shape), basis
    )


def _matmul(inferred: InferredMatmul, operands: Sequence[Array], grid: Grid) -> Evaluation:
    a, b = operands
    left = "...ik" if a.ndim > 1 else "k"
    right = "...kj" if b.ndim > 1 else "k"
    output = "..." + "i" * (a.ndim > 1) + "j" * (b.ndim > 1)
    return _einsum_of(f"{left},{right}->{output}", operands, grid)


def _einsum(inferred: InferredEinsum, operands: Sequence[Array], grid: Grid) -> Evaluation:
    return _einsum_of(str(inferred.equation), operands, grid)


def _einsum_of(text: str, operands: Sequence[Array], grid: Grid) -> Evaluation:
    """Return the evaluation of the elements of an einsum at a grid."""
    equation = equations.read(text, [x.shape for x in operands])
    chosen = dict(zip(equation.output, grid, strict=True))
    taken = [
        _take(x, [chosen.get(letter) for letter in term])
        for x, term in zip(operands, equation.inputs, strict=True)
    ]
    return sum_of_products(str(equation), taken)


def _norm(inferred: InferredNorm, operands: Sequence[Array], grid: Grid) -> Evaluation:
    (x,) = operands
    kept = [axis for axis in range(x.ndim) if axis not in inferred.dim]
    chosen = list(grid)
    if inferred.keepdim:
        chosen = [chosen[axis] for axis in kept]
    axes = dict(zip(kept, chosen, strict=True))
    taken = _take(x, [axes.get(axis) for axis in range(x.ndim)])
    taken = taken.transpose((*kept, *inferred.dim))
    return norm(inferred, taken.astype(np.float64) if x.dtype.kind == "i" else taken)


def _broadcast(inferred: InferredBroadcast, operands: Sequence[Array], grid: Grid) -> Evaluation:
    shape = tuple(map(len, grid))
    taken = []
    for x, index in zip(operands, inferred.views, strict=True):
        viewed = x[index]
        chosen = grid[len(grid) - viewed.ndim :]
        taken.append(np.broadcast_to(_take(viewed, chosen), shape).reshape(-1))
    return elementwise(inferred, taken)


def _take(x: Array, chosen: Sequence[Array | None]) -> Array:
    """Return `x` at the chosen indices of each axis; whole axes, and those of size 1, are kept."""
    for axis, indices in enumerate(chosen):
        if indices is not None and 1 != x.shape[axis] != len(indices):
            x = np.take(x, indices, axis)
    return x


EVALUATORS: Final[Mapping[type[Inferred], Evaluate]] = {
    InferredMatmul: _matmul,
    InferredEinsum: _einsum,
    InferredNorm: _norm,
    InferredBroadcast: _broadcast,
}
