"""The matrix product as a Triton kernel.

Triton is an extra, and takes a second to import: this module is imported where a call runs it.
"""

from typing import Final

import triton
import triton.language as tl

# Rows and columns of a block of the result, and terms of its sums that are read at a time.
BLOCK: Final = 64
TERMS: Final = 32


# Sizes are arguments, and Triton is told not to compile variants for sizes of 1, for multiples of
# 16, and for the alignment of operands: one kernel for each dtype and precision serves all shapes.
@triton.jit(do_not_specialize=["m", "k", "n"], do_not_specialize_on_alignment=["a", "b", "c"])
def product(
    a,
    b,
    c,
    m: tl.int64,
    k: tl.int64,
    n: tl.int64,
    block: tl.constexpr,
    terms: tl.constexpr,
    precision: tl.constexpr,
):
    """Compute one block of c: each program has its own, and adds up products of smaller blocks."""
    across = tl.cdiv(n, block)
    program = tl.program_id(0)
    i = program // across * block + tl.arange(0, block)[:, None]
    j = program % across * block + tl.arange(0, block)[None, :]
    wide = tl.float64 if c.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros((block, block), wide)
    for start in range(0, k, terms):
        p = start + tl.arange(0, terms)
        # Blocks reach beyond the edges of the matrices, where they are 0.
        x = tl.load(a + i * k + p[None, :], mask=(i < m) & (p[None, :] < k), other=0)
        y = tl.load(b + p[:, None] * n + j, mask=(p[:, None] < k) & (j < n), other=0)
        total = tl.dot(x, y, total, input_precision=precision, out_dtype=wide)
    tl.store(c + i * n + j, total, mask=(i < m) & (j < n))
