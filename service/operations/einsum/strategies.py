"""Einstein summation in seven ways, slowest first."""

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import prod
from operator import getitem, mul
from typing import Any

import numpy as np
import torch

from service.core.call import Blocks, Tensor
from service.core.dtypes import COMPLEX, FLOATS, IN_BLOCKS, IN_NUMPY, INTEGERS, NUMBERS
from service.operations.einsum.definition import InferredEinsum, contract, op, stretched
from service.operations.equation import Equation
from service.registry import Compute, Work

__all__ = ["op"]


def at_once(compute: Compute, meaning: InferredEinsum, operands: Sequence[Tensor]) -> Tensor:
    """Call a contraction of all operands together."""
    return compute(meaning.equation, *stretched(meaning.equation, operands, torch.broadcast_to))


def along_path(compute: Compute, meaning: InferredEinsum, operands: Sequence[Tensor]) -> Tensor:
    """Call a contraction once for each step of the path."""
    views = stretched(meaning.equation, operands, torch.broadcast_to)
    return contract(meaning.steps, compute, views)


def in_blocks(compute: Compute, meaning: InferredEinsum, operands: Sequence[Blocks]) -> Blocks:
    """Call a contraction of arrays in blocks once for each step of the path."""
    views = stretched(meaning.equation, operands, np.broadcast_to)
    return contract(meaning.steps, compute, views)


def by_element(meaning: InferredEinsum) -> Work:
    """A step for each assignment of indices to all letters."""
    return Work(steps=meaning.equation.multiply_adds * len(meaning.specs), flops=0)


def by_product(meaning: InferredEinsum) -> Work:
    """All products of all operands, held at once."""
    space = meaning.equation.multiply_adds
    return Work(steps=1, flops=space * len(meaning.specs), peak_elements=space)


def by_step(meaning: InferredEinsum) -> Work:
    """A step for each contraction of the path; the largest of their intermediates is held."""
    peak = max(largest_intermediate(step.equation) for step in meaning.steps)
    return Work(steps=len(meaning.steps), flops=meaning.multiply_adds, peak_elements=peak)


def largest_intermediate(equation: Equation) -> int:
    """Elements of the result, or of an operand, which a product copies where it is stretched.

    In what order three operands are contracted, and what is held between, is not known here.
    """
    if len(equation.inputs) > 2:
        return equation.multiply_adds
    return max(prod(equation.shape(term)) for term in (*equation.inputs, equation.output))


def only_pairs(meaning: InferredEinsum) -> str | None:
    """A matrix product has two operands."""
    if all(len(step.positions) <= 2 for step in meaning.steps):
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


@op.strategy("python", adapt=at_once, work=by_element, dtypes=NUMBERS)
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


@op.strategy("broadcast", adapt=at_once, work=by_product, dtypes=NUMBERS, cuda=NUMBERS)
def broadcast(equation: Equation, *operands: Tensor) -> Tensor:
    """Align all operands by their letters, multiply, sum the letters that the result lacks."""
    letters = equation.output + equation.summed
    aligned = (along(x, term, letters) for term, x in zip(equation.inputs, operands))
    products = reduce(mul, aligned)
    for _ in equation.summed:
        products = products.sum(-1, dtype=products.dtype)
    return products


def along(x: Tensor, term: str, letters: str) -> Tensor:
    """View of x with one axis for each of `letters`, in their order; size 1 where it has none."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.rindex(letter)
            x = x.diagonal(0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    x = x.permute([term.index(letter) for letter in letters if letter in term])
    return x[tuple(slice(None) if letter in term else None for letter in letters)]


@op.strategy(
    "pairwise",
    adapt=along_path,
    work=by_step,
    dtypes=NUMBERS,
    cuda=FLOATS | COMPLEX,
    unsupported=only_pairs,
)
def pairwise(equation: Equation, a: Tensor, b: Tensor | None = None) -> Tensor:
    """Contracts two operands at a time along the path, each time by one batched matrix product.

    Letters of the result are batch (in both operands), rows (in a) or columns (in b); letters that
    it lacks are contracted (in both), or summed first.
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
    """View of x with the axes `letters`, in their order; its other axes are summed."""
    others = "".join(letter for letter in dict.fromkeys(term) if letter not in letters)
    x = along(x, term, letters + others)
    for _ in others:
        x = x.sum(-1, dtype=x.dtype)
    return x


@op.strategy("torch", adapt=along_path, work=by_step, dtypes=NUMBERS, cuda=FLOATS | COMPLEX)
def torch_(equation: Equation, *operands: Tensor) -> Tensor:
    """PyTorch's own einsum, once for each step of the path; integers as int64.

    Sums of small integers come as int64, which it does not multiply with small ones.
    """
    dtype = operands[0].dtype
    wide = [x.long() if dtype in INTEGERS else x for x in operands]
    return torch.einsum(str(equation), *wide).to(dtype)


@op.strategy("numpy", adapt=along_path, work=by_step, dtypes=NUMBERS & IN_NUMPY)
def numpy(equation: Equation, *operands: Tensor) -> Tensor:
    """NumPy's own einsum, once for each step of the path."""
    arrays = [x.numpy() for x in operands]
    with np.errstate(all="ignore"):
        return torch.as_tensor(np.einsum(str(equation), *arrays, optimize=True))


@op.strategy("dask", adapt=in_blocks, work=by_step, dtypes=frozenset(), cluster=IN_BLOCKS)
def dask(equation: Equation, *operands: Blocks) -> Blocks:
    """NumPy's own einsum, block by block on a Dask cluster, once for each step of the path."""
    return np.einsum(str(equation), *operands)
