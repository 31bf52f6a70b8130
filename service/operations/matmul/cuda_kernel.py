"""The matrix product as a CUDA kernel, which Numba compiles from Python.

numba-cuda is an extra, and takes a second to import: this module is imported where a call runs it.
"""

from typing import Any, Final

import torch
from numba import cuda
from numba.cuda.core import config

from service.core.call import Tensor

# Threads of a block, which start together.
THREADS: Final = 128
# A result of few blocks leaves most of a GPU idle; that is what was asked for, and no fault.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0


@cuda.jit
def product(a, b, c):
    """Compute one element of c: each thread has its own, and runs the innermost of three loops."""
    i, j = cuda.grid(1) // c.shape[1], cuda.grid(1) % c.shape[1]
    if i < c.shape[0]:
        total = c[i, j]
        for p in range(a.shape[1]):
            total += a[i, p] * b[p, j]
        c[i, j] = total


def to_numba(x: Tensor) -> Any:
    """Return the same memory as an array of Numba; in its simulator, as one of NumPy.

    Rows follow each other without gaps: Numba compiles another kernel for other layouts.
    """
    x = x.contiguous()
    return cuda.as_cuda_array(x) if x.is_cuda else x.numpy()


def stream_of(x: Tensor) -> Any:
    """Return the stream that torch works on, since Numba would take the default one.

    A kernel there waits for what torch has begun, and ends before torch uses memory again that was
    freed after its launch.
    """
    if x.is_cuda:  # pragma: no cover - needs a GPU
        return cuda.external_stream(torch.cuda.current_stream(x.device).cuda_stream)
    return 0
