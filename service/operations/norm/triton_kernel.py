"""The 2-norm of rows as a Triton kernel.

Triton is an extra, and takes a second to import: this module is imported where a call runs it.
"""

from typing import Final

import triton
import triton.language as tl

# Numbers of a row that are read at a time.
BLOCK: Final = 1024


# As in matmul.triton_kernel, one kernel for each dtype serves all shapes.
@triton.jit(do_not_specialize=["n"], do_not_specialize_on_alignment=["x", "norms"])
def norms_of_rows(x, norms, n: tl.int64, block: tl.constexpr):
    """Compute the norm of one row: each program has its own, and reads a block at a time."""
    row = tl.program_id(0)
    squares = tl.zeros((block,), norms.dtype.element_ty)
    for start in range(0, n, block):
        j = start + tl.arange(0, block)
        values = tl.load(x + row * n + j, mask=j < n, other=0).to(norms.dtype.element_ty)
        squares += values * values
    tl.store(norms + row, tl.sqrt(tl.sum(squares)))
