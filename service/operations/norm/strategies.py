"""Ten strategies for norms, slowest first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from service.core.call import Blocks, Tensor
from service.core.dtypes import COMPLEX, FLOATS, IN_BLOCKS, INTEGERS, NUMBERS, WIDE, describe
from service.errors import ValueOutOfRangeError
from service.operations.compiled import (
    BY_NUMBA,
    BY_TORCH_COMPILE,
    NUMBA,
    TORCH_COMPILE,
    by_numba,
    by_torch_compile,
    compile_by_numba,
    compile_by_torch,
)
from service.operations.elementwise import power
from service.operations.kernels import TRITON, compiled_by_trial
from service.operations.norm.definition import LOW_PRECISION, SINGULAR_VALUE_ORDS, InferredNorm, op
from service.registry import Compute, Work

__all__ = ["op"]


def as_rows(compute: Compute, inferred: InferredNorm, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy with a real matrix (rows, n), of which it gives one norm for each row."""
    x = _real(operands[0])
    kept = [axis for axis in range(x.dim()) if axis not in inferred.dim]
    rows = x.permute((*kept, *inferred.dim)).reshape(inferred.elements, inferred.reduced)
    order = 2 if inferred.ord == "fro" else inferred.ord
    return compute(rows, order).reshape(inferred.shape)


def as_double_rows(compute: Compute, inferred: InferredNorm, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy as `as_rows` does, with rows of float64."""
    wide = [x.to(WIDE.get(x.dtype, torch.float64)) for x in operands]
    return as_rows(compute, inferred, wide).to(inferred.dtype)


def _real(x: Tensor) -> Tensor:
    """Return magnitudes of complex numbers, float64 of integers, other tensors as they are."""
    if x.is_complex():
        return x.abs()
    return x.double() if x.dtype in INTEGERS else x


def native(compute: Compute, inferred: InferredNorm, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy that takes any axes and orders."""
    x = operands[0].double() if operands[0].dtype in INTEGERS else operands[0]
    if inferred.matrix and inferred.ord in SINGULAR_VALUE_ORDS and not x.isfinite().all():
        raise ValueOutOfRangeError(
            f"norm {inferred.ord} needs singular values, "
            "which x has only if all numbers are finite",
            hint='"fro" and 1 take NaN and infinities',
        )
    return compute(x, inferred.ord, inferred.dim, inferred.keepdim, inferred.matrix)


def in_blocks(compute: Compute, inferred: InferredNorm, operands: Sequence[Blocks]) -> Blocks:
    """Call a strategy over arrays in blocks; several axes of vectors are merged into one first."""
    (x,) = operands
    if inferred.matrix:
        return compute(x, inferred.ord, inferred.dim, inferred.keepdim)
    kept = [axis for axis in range(x.ndim) if axis not in inferred.dim]
    shape = (*(x.shape[axis] for axis in kept), inferred.reduced)
    rows = x.transpose((*kept, *inferred.dim)).reshape(shape)
    return compute(rows, inferred.ord, -1, False).reshape(inferred.shape)


def by_element(inferred: InferredNorm) -> Work:
    """Count a step for each element and for each norm."""
    return Work(steps=inferred.multiply_adds + inferred.elements, flops=0)


def at_once(inferred: InferredNorm) -> Work:
    """Count one step, with a part for each norm.

    Singular values take min(m, n) multiply-adds for each element of an (m, n) matrix.
    """
    elements, ord = inferred.multiply_adds, inferred.ord
    if inferred.matrix and ord in SINGULAR_VALUE_ORDS:
        times = min(inferred.specs[0].shape[axis] for axis in inferred.dim)
        return Work(1, elements * times, elements, repeats=inferred.elements, kind="singular")
    return Work(1, elements, elements, repeats=inferred.elements, kind=_kind(inferred))


def _kind(inferred: InferredNorm) -> str:
    """Name the terms that are added up, and where they lie in memory.

    PyTorch has fast code for squares of neighbours alone: other powers take it a hundred times as
    long, and columns, whose numbers are a row apart, ten times.
    """
    ord, summed = inferred.ord, inferred.dim
    terms = {1: "magnitudes", 2: "squares", "fro": "squares"}.get(ord, "powers")
    if inferred.matrix and ord != "fro":
        terms = "greatest of magnitudes"
        summed = summed[:1] if ord in (1, -1) else summed[1:]
    elif inferred.elements == 1:
        return terms
    last = len(inferred.specs[0].shape) - 1
    return f"{terms} of {'rows' if last in summed else 'columns'}"


def only_powers(inferred: InferredNorm) -> str | None:
    """Reject all but roots of sums of powers: finite orders of vectors except 0, and Frobenius."""
    if inferred.is_sum_of_powers:
        return None
    kind = "matrices" if inferred.matrix else "vectors"
    return f"does not take ord {inferred.ord} of {kind}, only roots of sums of powers"


def only_held_powers(inferred: InferredNorm) -> str | None:
    """Reject all but roots of sums of powers, and exponents that the dtype cannot hold."""
    ord, dtype = inferred.ord, inferred.dtype
    if only_powers(inferred) or isinstance(ord, str):
        return only_powers(inferred)
    if max(abs(ord), abs(1 / ord)) > torch.finfo(dtype).max:
        return f"does not take ord {ord} in {describe(dtype).name}, which cannot hold it and 1/ord"
    return None


def only_filled_powers(inferred: InferredNorm) -> str | None:
    """Reject what `only_held_powers` declines in float64, and norms of no numbers."""
    wide = replace(inferred, dtype=torch.float64)
    return only_held_powers(wide) or (None if inferred.reduced else "does not take empty norms")


def only_squares(inferred: InferredNorm) -> str | None:
    """Reject all but the 2-norm of vectors and Frobenius."""
    if inferred.ord == "fro" or (inferred.ord == 2 and not inferred.matrix):
        return None
    return f"does not take ord {inferred.ord}, only the 2-norm of vectors and fro"


def no_singular_values(inferred: InferredNorm) -> str | None:
    """Reject singular values, which need the whole matrix in one place."""
    if inferred.matrix and inferred.ord in SINGULAR_VALUE_ORDS:
        return f"does not take ord {inferred.ord} of matrices, which needs all of it in one place"
    return None


def no_empty_matrix(inferred: InferredNorm) -> str | None:
    """Reject norms of empty matrices except Frobenius, which alone NumPy computes."""
    if inferred.matrix and inferred.reduced == 0 and inferred.ord != "fro":
        return "does not take empty matrices"
    return None


@op.strategy(
    "loops",
    adapt=as_rows,
    work=by_element,
    dtypes=NUMBERS,
    cuda=NUMBERS,
    unsupported=only_held_powers,
)
def loops(x: Tensor, ord: float) -> Tensor:
    """Two loops over tensor elements: magnitudes to a power, added up, then the root.

    x (rows, n) -> (rows,).
    """
    norms = x.new_zeros(x.shape[0])
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            norms[i] += x[i, j].abs() ** ord
        norms[i] = norms[i] ** (1 / ord)
    return norms


@op.strategy(
    "python",
    adapt=as_rows,
    work=by_element,
    dtypes=NUMBERS,
    unsupported=only_powers,
    accumulates_in="float64",
)
def python(x: Tensor, ord: float) -> Tensor:
    """Two loops over Python lists, without torch.

    x (rows, n) -> (rows,); sums in float64, rounded to the dtype at the end.
    """
    sums = [sum(power(abs(value), ord) for value in row) for row in x.tolist()]
    return torch.tensor([power(total, 1 / ord) for total in sums], dtype=x.dtype)


def compile_loops(inferred: InferredNorm, operands: Sequence[Tensor]) -> bool:
    """Compile `loops` for the dtype of the norms, which their numbers are converted to."""
    return compile_by_numba(loops, 1, inferred.dtype, 2.0)


@op.strategy(
    "numba",
    adapt=as_rows,
    work=at_once,
    dtypes=NUMBERS & BY_NUMBA,
    unsupported=only_held_powers,
    needs=NUMBA,
    compile=compile_loops,
)
def numba(x: Tensor, ord: float) -> Tensor:
    """The two loops again: the very function `loops`, compiled by numba.

    x (rows, n) -> (rows,).
    """
    return by_numba(loops)(x, float(ord))


@op.strategy(
    "elementwise",
    adapt=as_rows,
    work=at_once,
    dtypes=NUMBERS,
    cuda=NUMBERS,
    unsupported=only_squares,
    accumulates_in="float32",
)
def elementwise(x: Tensor, ord: float) -> Tensor:
    """The lesson's Frobenius norm: all squares at once, summed, then the square root.

    x (rows, n) -> (rows,). Squares overflow: [1e20, 1e20] in float32 is infinite.
    """
    return (x * x).sum(-1).sqrt()


def as_rows_compiled(
    compute: Compute, inferred: InferredNorm, operands: Sequence[Tensor]
) -> Tensor:
    """Call a strategy as `as_rows` does, compiled by torch."""
    compiled = by_torch_compile(compute)
    return as_rows(lambda x, ord: compiled(x), inferred, operands)


def compile_squares(inferred: InferredNorm, operands: Sequence[Tensor]) -> bool:
    """Compile the strategy `compile` for the dtype of the norms."""
    return compile_by_torch(compile_, 1, inferred.dtype)


def only_filled_squares(inferred: InferredNorm) -> str | None:
    """Reject all but the 2-norm and Frobenius, and sizes of 0, which torch would compile apart."""
    if not inferred.multiply_adds:
        return "does not take empty operands"
    return only_squares(inferred)


@op.strategy(
    "compile",
    adapt=as_rows_compiled,
    work=at_once,
    dtypes=BY_TORCH_COMPILE | INTEGERS | COMPLEX,
    unsupported=only_filled_squares,
    needs=TORCH_COMPILE,
    compile=compile_squares,
)
def compile_(x: Tensor) -> Tensor:
    """The expression of `elementwise`, which torch.compile makes one loop of.

    x (rows, n) -> (rows,). No square is kept in memory.
    """
    return (x * x).sum(-1).sqrt()


@op.strategy(
    "scaled",
    adapt=as_double_rows,
    work=at_once,
    dtypes=NUMBERS,
    cuda=NUMBERS,
    unsupported=only_filled_powers,
    accumulates_in="float64",
)
def scaled(x: Tensor, ord: float) -> Tensor:
    """Divide first, so that no power that matters overflows or underflows.

    x (rows, n) in float64 -> (rows,). The divisor is the greatest magnitude, which matters most;
    for a negative ord the least.
    """
    scale = (x.abs().amax if ord > 0 else x.abs().amin)(-1, keepdim=True)
    scale = torch.where((scale == 0) | scale.isinf(), 1, scale)
    return scale.squeeze(-1) * ((x / scale).abs() ** ord).sum(-1) ** (1 / ord)


@op.strategy(
    "einsum",
    adapt=as_rows,
    work=at_once,
    dtypes=NUMBERS,
    cuda=NUMBERS,
    unsupported=only_squares,
    accumulates_in="float32",
)
def einsum(x: Tensor, ord: float) -> Tensor:
    """Each row's inner product with itself, then the square root.

    x (rows, n) -> (rows,).
    """
    return torch.einsum("ij,ij->i", x, x).sqrt()


@op.strategy(
    "triton",
    adapt=as_rows,
    work=at_once,
    dtypes=frozenset(),
    cuda=NUMBERS,
    unsupported=only_squares,
    needs=TRITON,
    compile=compiled_by_trial(op, "triton", lambda one, _: (_real(one), 2)),
    kernel="service.operations.norm.triton_kernel:norms_of_rows",
    accumulates_in="float32",
)
def triton(x: Tensor, ord: float) -> Tensor:
    """A Triton kernel: a program for each row adds up squares, and takes the root.

    x (rows, n) -> (rows,); sums of half-precision dtypes are in float32.
    """
    from service.operations.norm.triton_kernel import BLOCK, norms_of_rows

    rows, n = x.shape
    norms = x.new_zeros(rows, dtype=torch.promote_types(x.dtype, torch.float32))
    if rows:
        norms_of_rows[(rows,)](x.contiguous(), norms, n, BLOCK)
    return norms.to(x.dtype)


@op.strategy(
    "torch", adapt=native, work=at_once, dtypes=NUMBERS, cuda=NUMBERS, accumulates_in="float32"
)
def torch_(x: Tensor, ord: Any, dim: tuple[int, ...], keepdim: bool, matrix: bool) -> Tensor:
    """PyTorch's own norms."""
    norm: Compute = torch.linalg.matrix_norm if matrix else torch.linalg.vector_norm
    return norm(x, ord, dim, keepdim)


@op.strategy(
    "numpy",
    adapt=native,
    work=at_once,
    dtypes=INTEGERS | COMPLEX | (FLOATS - LOW_PRECISION),
    unsupported=no_empty_matrix,
)
def numpy(x: Tensor, ord: Any, dim: tuple[int, ...], keepdim: bool, matrix: bool) -> Tensor:
    """NumPy's own norms."""
    with np.errstate(all="ignore"):
        if matrix:
            norms = np.linalg.norm(x.numpy(), ord, dim, keepdim)
        else:
            norms = np.linalg.vector_norm(x.numpy(), axis=dim, keepdims=keepdim, ord=ord)
    return torch.as_tensor(norms)


@op.strategy(
    "dask",
    adapt=in_blocks,
    work=at_once,
    dtypes=frozenset(),
    cluster=IN_BLOCKS,
    unsupported=no_singular_values,
)
def dask(x: Blocks, ord: Any, dim: tuple[int, ...], keepdim: bool) -> Blocks:
    """NumPy's own norms, block by block on a Dask cluster."""
    return np.linalg.norm(x, ord, dim, keepdim)
