"""Seven strategies for Einstein summation, slowest first."""

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import prod
from operator import getitem, mul
from typing import Any

import numpy as np
import torch

from service.core.arithmetic import TF32
from service.core.call import Blocks, Tensor
from service.core.dtypes import COMPLEX, FLOATS, IN_BLOCKS, IN_NUMPY, INTEGERS, NUMBERS
from service.operations.einsum.definition import InferredEinsum, contract, op, stretched
from service.operations.equation import Equation, along
from service.operations.products import Dims, kind_of_product
from service.registry import Compute, Work

__all__ = ["op"]


def at_once(compute: Compute, inferred: InferredEinsum, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy once, with all operands."""
    return compute(inferred.equation, *stretched(inferred.equation, operands, torch.broadcast_to))


def along_path(compute: Compute, inferred: InferredEinsum, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy once for each step of the path."""
    views = stretched(inferred.equation, operands, torch.broadcast_to)
    return contract(inferred.steps, compute, views)


def in_blocks(compute: Compute, inferred: InferredEinsum, operands: Sequence[Blocks]) -> Blocks:
    """Call a strategy over arrays in blocks once for each step of the path."""
    views = stretched(inferred.equation, operands, np.broadcast_to)
    return contract(inferred.steps, compute, views)


def by_element(inferred: InferredEinsum) -> Work:
    """Count a step for each assignment of indices to all letters."""
    return Work(steps=inferred.equation.multiply_adds * len(inferred.specs), flops=0)


def by_product(inferred: InferredEinsum) -> Work:
    """Count one step, which holds the products of all operands at once."""
    space = inferred.equation.multiply_adds
    kind = kind_of_step(inferred.equation)
    return Work(1, space * len(inferred.specs), peak_elements=space, kind=kind)


def by_step(inferred: InferredEinsum) -> Work:
    """Count a step for each contraction of the path, and the largest of their intermediates."""
    equations = [step.equation for step in inferred.steps]
    peak = max(map(largest_intermediate, equations))
    largest = max(equations, key=lambda equation: equation.multiply_adds)
    return Work(
        steps=len(equations),
        flops=inferred.multiply_adds,
        peak_elements=peak,
        repeats=dims_of_product(largest)[0] if len(largest.inputs) == 2 else 1,
        kind=kind_of_step(largest),
    )


def kind_of_step(equation: Equation) -> str:
    """Return the kind of work of one contraction."""
    if len(equation.inputs) == 1:
        return "sum" if equation.summed else "view"
    return kind_of_product(*dims_of_product(equation))


def dims_of_product(equation: Equation) -> Dims:
    """Return number, rows, contracted size and columns of the products of the first two terms."""
    x, y = (set(term) for term in equation.inputs[:2])
    kept = set(equation.output)
    groups = (x & y & kept, kept - y, (x & y) - kept, kept - x)
    p, m, k, n = (prod(equation.shape("".join(letters))) for letters in groups)
    return p, m, k, n


def largest_intermediate(equation: Equation) -> int:
    """Return the elements of the result or of the largest operand, which is copied if stretched.

    With three operands or more, the order of contraction inside the library is not known here, so
    all products are counted.
    """
    if len(equation.inputs) > 2:
        return equation.multiply_adds
    return max(prod(equation.shape(term)) for term in (*equation.inputs, equation.output))


def only_pairs(inferred: InferredEinsum) -> str | None:
    """Reject a path with more than two operands in a step: a matrix product has two."""
    if all(len(step.positions) <= 2 for step in inferred.steps):
        return None
    return "does not take a path with more than two operands in a step"


@op.strategy("loops", adapt=at_once, work=by_element, dtypes=NUMBERS, cuda=NUMBERS)
def loops(equation: Equation, *operands: Tensor) -> Tensor:
    """One loop for each letter, over tensor elements."""
    result = operands[0].new_zeros(equation.shape(equation.output))
    for index in equation.indices():
        elements = (
            x[tuple(index[letter] for letter in term)] for term, x in zip(equation.inputs, operands)
        )
        result[tuple(index[letter] for letter in equation.output)] += reduce(mul, elements)
    return result


@op.strategy("python", adapt=at_once, work=by_element, dtypes=NUMBERS, accumulates_in="float64")
def python(equation: Equation, *operands: Tensor) -> Tensor:
    """One loop for each letter, over Python lists; sums in float64."""
    nested: list[Any] = [x.tolist() for x in operands]
    shape = equation.shape(equation.output)
    sums = dict.fromkeys(product(*map(range, shape)), 0)
    for index in equation.indices():
        elements = (
            reduce(getitem, (index[letter] for letter in term), lists)
            for term, lists in zip(equation.inputs, nested)
        )
        sums[tuple(index[letter] for letter in equation.output)] += reduce(mul, elements)
    return torch.tensor(list(sums.values()), dtype=operands[0].dtype).reshape(shape)


@op.strategy(
    "broadcast",
    adapt=at_once,
    work=by_product,
    dtypes=NUMBERS,
    cuda=NUMBERS,
    accumulates_in="float32",
)
def broadcast(equation: Equation, *operands: Tensor) -> Tensor:
    """Align all operands by their letters, multiply, sum the letters absent from the result."""
    letters = equation.output + equation.summed
    aligned = (along(x, term, letters) for term, x in zip(equation.inputs, operands))
    products = reduce(mul, aligned)
    for _ in equation.summed:
        products = products.sum(-1, dtype=products.dtype)
    return products


@op.strategy(
    "pairwise",
    adapt=along_path,
    work=by_step,
    dtypes=NUMBERS,
    cuda=FLOATS | COMPLEX,
    unsupported=only_pairs,
    precisions=(TF32,),
    accumulates_in="float32",
)
def pairwise(equation: Equation, a: Tensor, b: Tensor | None = None) -> Tensor:
    """Contract two operands at a time along the path, each time by one batched matrix product.

    Letters of the result are batch (in both operands), rows (in a) or columns (in b); the others
    are contracted (in both), or summed first.
    """
    if b is None:
        return arranged(a, equation.inputs[0], equation.output)
    x, y = equation.inputs
    batch = "".join(c for c in equation.output if c in x and c in y)
    rows = "".join(c for c in equation.output if c not in y)
    columns = "".join(c for c in equation.output if c not in x)
    contracted = "".join(c for c in equation.summed if c in x and c in y)
    kinds = (batch, rows, contracted, columns)
    p, m, k, n = (prod(equation.shape(letters)) for letters in kinds)
    left = arranged(a, x, batch + rows + contracted).reshape(p, m, k)
    right = arranged(b, y, batch + contracted + columns).reshape(p, k, n)
    result = (left @ right).reshape(equation.shape(batch + rows + columns))
    return arranged(result, batch + rows + columns, equation.output)


def arranged(x: Tensor, term: str, letters: str) -> Tensor:
    """Return x with the axes `letters`, in their order; its other axes are summed."""
    others = "".join(letter for letter in dict.fromkeys(term) if letter not in letters)
    x = along(x, term, letters + others)
    for _ in others:
        x = x.sum(-1, dtype=x.dtype)
    return x


@op.strategy(
    "torch",
    adapt=along_path,
    work=by_step,
    dtypes=NUMBERS,
    cuda=FLOATS | COMPLEX,
    precisions=(TF32,),
    accumulates_in="float32",
)
def torch_(equation: Equation, *operands: Tensor) -> Tensor:
    """PyTorch's own einsum, once for each step of the path; integers as int64.

    torch sums small integers in int64, which its einsum does not multiply by smaller ones.
    """
    dtype = operands[0].dtype
    wide = [x.long() if dtype in INTEGERS else x for x in operands]
    return torch.einsum(str(equation), *wide).to(dtype)


@op.strategy(
    "numpy", adapt=along_path, work=by_step, dtypes=NUMBERS & IN_NUMPY, accumulates_in="float32"
)
def numpy(equation: Equation, *operands: Tensor) -> Tensor:
    """NumPy's own einsum, once for each step of the path."""
    arrays = [x.numpy() for x in operands]
    with np.errstate(all="ignore"):
        return torch.as_tensor(np.einsum(str(equation), *arrays, optimize=True))


@op.strategy("dask", adapt=in_blocks, work=by_step, dtypes=frozenset(), cluster=IN_BLOCKS)
def dask(equation: Equation, *operands: Blocks) -> Blocks:
    """NumPy's own einsum, block by block on a Dask cluster, once for each step of the path."""
    return np.einsum(str(equation), *operands)
