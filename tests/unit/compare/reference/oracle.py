"""Values of small calls with thousands of bits, by mpmath, one element at a time."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import inf
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import torch

from service.compare.reference import Reference, reference_of
from service.core.call import Spec, Tensor
from service.operations import REGISTRY
from service.registry import parse_params

Array = npt.NDArray[Any]
Number = Any  # an mpf or an mpc

# A sum of products of three float64 is exact with these: exponents from -3 * 1074 to 3 * 1024.
mpmath.mp.prec = 7000


def reference(name: str, operands: Sequence[Tensor], **raw: object) -> Reference:
    """Return the reference of a call."""
    op = REGISTRY[name]
    params = parse_params(op.params, raw)
    inferred = op.infer(tuple(Spec(tuple(x.shape), x.dtype) for x in operands), **params)
    return reference_of(op, inferred, params, operands)


def number(value: Any) -> Number:
    """Return a number of numpy with all its bits."""
    if np.iscomplexobj(value):
        return mpmath.mpc(float(value.real), float(value.imag))
    return mpmath.mpf(int(value) if np.asarray(value).dtype.kind in "iu" else float(value))


def einsum(equation: str, operands: Sequence[Array]) -> dict[tuple[int, ...], Number]:
    """Return the sums of products by an equation with explicit terms, by index."""
    left, _, output = equation.partition("->")
    terms = left.split(",")
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for letter, size in zip(term, x.shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    sums = {index: mpmath.mpf(0) for index in product(*(range(sizes[each]) for each in output))}
    for index in product(*map(range, sizes.values())):
        at = dict(zip(sizes, index, strict=True))
        term_values = [
            number(x[tuple(at[letter] % size for letter, size in zip(term, x.shape, strict=True))])
            for term, x in zip(terms, operands, strict=True)
        ]
        sums[tuple(at[letter] for letter in output)] += mpmath.fprod(term_values)
    return sums


def vector_norm(values: Sequence[Any], ord: float) -> Number:
    """Return the norm of numbers."""
    sizes = [abs(number(value)) for value in values]
    if ord == 0:
        return mpmath.mpf(sum(size != 0 for size in sizes))
    if abs(ord) == inf:
        return max(sizes) if ord > 0 else min(sizes)
    if ord < 0 and 0 in sizes:
        return mpmath.mpf(0)
    with mpmath.workprec(400):
        power = mpmath.mpf(ord)
        return mpmath.fsum([size**power for size in sizes]) ** (1 / power)


def matrix_norm(x: Array, ord: float | str) -> Number:
    """Return the norm of a matrix."""
    if ord == "fro":
        return vector_norm(list(x.flat), 2)
    if ord in (1, -1, inf, -inf):
        lines = x.T if abs(float(ord)) == 1 else x
        sums = [mpmath.fsum([abs(number(value)) for value in line]) for line in lines]
        return max(sums) if float(ord) > 0 else min(sums)
    with mpmath.workprec(300):
        matrix = mpmath.matrix([[number(value) for value in row] for row in x])
        svd = mpmath.svd_c if np.iscomplexobj(x) else mpmath.svd_r
        values = list(svd(matrix, compute_uv=False))
        return {"nuc": mpmath.fsum, 2: max, -2: min}[ord](values)


def elements(found: Reference) -> Iterator[tuple[tuple[int, ...], Any, Number]]:
    """Yield the index, the rounded value and the whole value of each element of a reference."""
    for index in np.ndindex(found.high.shape):
        high = found.high[index]
        whole = number(high) + number(found.low[index]) if np.isfinite(high) else None
        yield index, high, whole


def assert_holds(
    high: Any, whole: Number, expected: Number, *, bits: int, least: float = 5e-324
) -> None:
    """Assert that a value has these bits of the expected one, and is infinite beyond float64."""
    if whole is None:
        assert abs(expected) >= mpmath.mpf(2) ** 1024 - mpmath.mpf(2) ** 970
        assert isinstance(expected, mpmath.mpc) or np.sign(float(high)) == mpmath.sign(expected)
        return
    assert abs(whole - expected) <= abs(expected) * mpmath.mpf(2) ** -bits + least


def tensors(*arrays: Array) -> list[Tensor]:
    """Return arrays as tensors."""
    return [torch.from_numpy(np.asarray(x)) for x in arrays]
