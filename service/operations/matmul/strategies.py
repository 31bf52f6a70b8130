"""Strategies for the matrix product, slowest first: the lesson's five, and others."""

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
import torch

from service.core.arithmetic import BF16X3, TF32, kernel_precision
from service.core.call import Blocks, Tensor
from service.core.dtypes import COMPLEX, FLOATS, IN_BLOCKS, IN_NUMPY, INTEGERS, NUMBERS
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
from service.operations.kernels import NUMBA_CUDA, TRITON, compiled_by_trial
from service.operations.matmul.definition import InferredMatmul, op
from service.registry import Compute, Work

__all__ = ["op"]

# To begin and to end a sum in Python takes as long as so many multiply-adds.
STEPS_PER_SUM = 9


def native(compute: Compute, inferred: InferredMatmul, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy that takes operands of any rank and batch."""
    return compute(*operands)


def each_matrix(compute: Compute, inferred: InferredMatmul, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy for two matrices once for each pair in the batch."""
    a, b = operands
    a = a.unsqueeze(0) if a.dim() == 1 else a
    b = b.unsqueeze(1) if b.dim() == 1 else b
    if not inferred.batch:
        return compute(a, b).reshape(inferred.shape)
    a = a.expand(*inferred.batch, inferred.m, inferred.k)
    b = b.expand(*inferred.batch, inferred.k, inferred.n)
    result = a.new_empty((*inferred.batch, inferred.m, inferred.n))
    for index in product(*map(range, inferred.batch)):
        result[index] = compute(a[index], b[index])
    return result.reshape(inferred.shape)


def by_element(inferred: InferredMatmul) -> Work:
    """Count a step for each multiply-add."""
    return Work(steps=inferred.multiply_adds, flops=0, calls=prod(inferred.batch))


def by_sum(inferred: InferredMatmul) -> Work:
    """Count a step for each multiply-add, and some for each sum, which is an iteration."""
    calls = prod(inferred.batch)
    sums = calls * inferred.m * inferred.n
    return Work(steps=inferred.multiply_adds + STEPS_PER_SUM * sums, flops=0, calls=calls)


def by_dot(inferred: InferredMatmul) -> Work:
    """Count a step for each element of the result."""
    calls = prod(inferred.batch)
    steps = calls * inferred.m * inferred.n
    return Work(steps, inferred.multiply_adds, peak_elements=inferred.k, calls=calls)


def by_row(inferred: InferredMatmul) -> Work:
    """Count a step for each row of the result, which holds a (k, n) matrix of products."""
    calls = prod(inferred.batch)
    peak = inferred.k * inferred.n
    return Work(calls * inferred.m, inferred.multiply_adds, peak_elements=peak, calls=calls)


def by_matrix(inferred: InferredMatmul) -> Work:
    """Count a step for each matrix in the batch."""
    return Work(steps=prod(inferred.batch), flops=inferred.multiply_adds, kind=inferred.kind)


def by_batch(inferred: InferredMatmul) -> Work:
    """Count one step, with a part for each matrix in the batch."""
    return Work(1, inferred.multiply_adds, repeats=prod(inferred.batch), kind=inferred.kind)


def by_stretched_batch(inferred: InferredMatmul) -> Work:
    """Count as `by_batch`, and the copy of a batch that stretches; a matrix is not copied."""
    full = prod(inferred.batch)
    own = (prod(spec.shape[:-2]) for spec in inferred.specs)
    sizes = (inferred.m * inferred.k, inferred.k * inferred.n)
    peak = max(full * size if 1 < batch < full else 0 for batch, size in zip(own, sizes))
    return Work(1, inferred.multiply_adds, peak, repeats=full, kind=inferred.kind)


@op.strategy("loops", adapt=each_matrix, work=by_element, dtypes=NUMBERS, cuda=NUMBERS)
def loops(a: Tensor, b: Tensor) -> Tensor:
    """Three loops over tensor elements: the lesson's first version.

    a (m, k), b (k, n) -> (m, n); m * k * n multiply-adds, each a few calls into torch.
    """
    (m, k), n = a.shape, b.shape[1]
    c = a.new_zeros(m, n)
    for i in range(m):
        for j in range(n):
            for p in range(k):
                c[i, j] += a[i, p] * b[p, j]
    return c


@op.strategy("python", adapt=each_matrix, work=by_sum, dtypes=NUMBERS, accumulates_in="float64")
def python(a: Tensor, b: Tensor) -> Tensor:
    """Three loops over Python lists, without torch.

    a (m, k), b (k, n) -> (m, n); sums in float64, rounded to the dtype at the end.
    """
    rows, columns = a.tolist(), b.T.tolist()
    c = [[sum(x * y for x, y in zip(row, col)) for col in columns] for row in rows]
    return torch.tensor(c, dtype=a.dtype).reshape(a.shape[0], b.shape[1])


@op.strategy(
    "elementwise",
    adapt=each_matrix,
    work=by_dot,
    dtypes=NUMBERS,
    cuda=NUMBERS,
    accumulates_in="float32",
)
def elementwise(a: Tensor, b: Tensor) -> Tensor:
    """Two loops: a row times a column, summed.

    a (m, k), b (k, n) -> (m, n).
    """
    c = a.new_zeros(a.shape[0], b.shape[1])
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            c[i, j] = (a[i, :] * b[:, j]).sum()
    return c


@op.strategy(
    "dot",
    adapt=each_matrix,
    work=by_dot,
    dtypes=NUMBERS,
    cuda=FLOATS | COMPLEX,
    accumulates_in="float32",
)
def dot(a: Tensor, b: Tensor) -> Tensor:
    """Two loops: torch.dot of a row and a column.

    a (m, k), b (k, n) -> (m, n).
    """
    c = a.new_zeros(a.shape[0], b.shape[1])
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            c[i, j] = torch.dot(a[i, :], b[:, j])
    return c


@op.strategy(
    "broadcast",
    adapt=each_matrix,
    work=by_row,
    dtypes=NUMBERS,
    cuda=NUMBERS,
    accumulates_in="float32",
)
def broadcast(a: Tensor, b: Tensor) -> Tensor:
    """One loop: a row as a column, times the whole matrix, summed down its columns.

    a (m, k), b (k, n) -> (m, n); k * n products at a time.
    """
    c = a.new_zeros(a.shape[0], b.shape[1])
    for i in range(c.shape[0]):
        c[i] = (a[i].unsqueeze(-1) * b).sum(dim=0)
    return c


def compile_loops(inferred: InferredMatmul, operands: Sequence[Tensor]) -> bool:
    """Compile `loops` for matrices of the dtype of the operands."""
    return compile_by_numba(loops, 2, inferred.dtype)


@op.strategy(
    "numba",
    adapt=each_matrix,
    work=by_matrix,
    dtypes=NUMBERS & BY_NUMBA,
    needs=NUMBA,
    compile=compile_loops,
)
def numba(a: Tensor, b: Tensor) -> Tensor:
    """The three loops again: the very function `loops`, compiled by numba.

    a (m, k), b (k, n) -> (m, n).
    """
    return by_numba(loops)(a, b)


def each_compiled(compute: Compute, inferred: InferredMatmul, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy as `each_matrix` does, compiled by torch."""
    return each_matrix(by_torch_compile(compute), inferred, operands)


def compile_products(inferred: InferredMatmul, operands: Sequence[Tensor]) -> bool:
    """Compile the strategy `compile` for the dtype of the operands."""
    return compile_by_torch(compile_, 2, inferred.dtype)


def no_empty_matrix(inferred: InferredMatmul) -> str | None:
    """Reject sizes of 0, which torch would compile apart."""
    return None if inferred.m and inferred.k and inferred.n else "does not take empty matrices"


@op.strategy(
    "compile",
    adapt=each_compiled,
    work=by_matrix,
    dtypes=BY_TORCH_COMPILE,
    unsupported=no_empty_matrix,
    needs=TORCH_COMPILE,
    compile=compile_products,
)
def compile_(a: Tensor, b: Tensor) -> Tensor:
    """No loop: `broadcast` for all rows at once, which torch.compile makes one loop of.

    a (m, k), b (k, n) -> (m, n); no product is kept in memory.
    """
    return (a.unsqueeze(-1) * b).sum(dim=1)


@op.strategy(
    "cuda",
    adapt=each_matrix,
    work=by_matrix,
    dtypes=frozenset(),
    cuda=INTEGERS | {torch.float32, torch.float64},
    needs=NUMBA_CUDA,
    compile=compiled_by_trial(op, "cuda", lambda one, _: (one, one)),
    kernel="service.operations.matmul.cuda_kernel:product",
)
def cuda(a: Tensor, b: Tensor) -> Tensor:
    """A CUDA kernel: a thread for each element runs the lesson's innermost loop.

    a (m, k), b (k, n) -> (m, n).
    """
    from service.operations.matmul.cuda_kernel import THREADS, product, stream_of, to_numba

    c = a.new_zeros(a.shape[0], b.shape[1])
    if c.numel():
        blocks = -(-c.numel() // THREADS)
        product[blocks, THREADS, stream_of(c)](*map(to_numba, (a, b, c)))
    return c


@op.strategy(
    "triton",
    adapt=each_matrix,
    work=by_matrix,
    dtypes=frozenset(),
    cuda=FLOATS,
    needs=TRITON,
    compile=compiled_by_trial(
        op, "triton", lambda one, _: (one, one), variant=lambda _: kernel_precision()
    ),
    kernel="service.operations.matmul.triton_kernel:product",
    precisions=(TF32, BF16X3),
    accumulates_in="float32",
)
def triton(a: Tensor, b: Tensor) -> Tensor:
    """A Triton kernel: a program for each block of the result multiplies blocks of a and b.

    a (m, k), b (k, n) -> (m, n); sums of half-precision dtypes are in float32.
    """
    from service.operations.matmul.triton_kernel import BLOCK, TERMS, product

    (m, k), n = a.shape, b.shape[1]
    c = a.new_zeros(m, n)
    if c.numel():
        programs = -(-m // BLOCK) * -(-n // BLOCK)
        sizes = m, k, n, BLOCK, TERMS
        product[(programs,)](a.contiguous(), b.contiguous(), c, *sizes, kernel_precision())
    return c


@op.strategy(
    "einsum",
    adapt=each_matrix,
    work=by_matrix,
    dtypes=NUMBERS,
    cuda=FLOATS | COMPLEX,
    precisions=(TF32,),
    accumulates_in="float32",
)
def einsum(a: Tensor, b: Tensor) -> Tensor:
    """No loop: the axes by name, and k summed because the result has no k.

    a (m, k), b (k, n) -> (m, n).
    """
    return torch.einsum("ik,kj->ij", a, b)


@op.strategy(
    "torch",
    adapt=native,
    work=by_stretched_batch,
    dtypes=NUMBERS,
    cuda=FLOATS | COMPLEX,
    precisions=(TF32,),
    accumulates_in="float32",
)
def torch_(a: Tensor, b: Tensor) -> Tensor:
    """PyTorch's own operator, which calls the BLAS library.

    a (..., m, k), b (..., k, n) -> (..., m, n).
    """
    return torch.matmul(a, b)


@op.strategy(
    "numpy", adapt=native, work=by_batch, dtypes=NUMBERS & IN_NUMPY, accumulates_in="float32"
)
def numpy(a: Tensor, b: Tensor) -> Tensor:
    """NumPy's own operator, over the same memory.

    a (..., m, k), b (..., k, n) -> (..., m, n).
    """
    with np.errstate(all="ignore"):
        return torch.as_tensor(np.matmul(a.numpy(), b.numpy()))


@op.strategy("dask", adapt=native, work=by_batch, dtypes=frozenset(), cluster=IN_BLOCKS)
def dask(a: Blocks, b: Blocks) -> Blocks:
    """NumPy's own operator, block by block on a Dask cluster.

    a (..., m, k), b (..., k, n) -> (..., m, n); all of them may be larger than any memory.
    """
    return np.matmul(a, b)
