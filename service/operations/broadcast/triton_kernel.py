"""Arithmetic on two operands that stretch, as a Triton kernel.

Triton is an extra, and takes a second to import: this module is imported where a call runs it.
"""

from typing import Final

import triton
import triton.language as tl

# Elements of the result that a program computes.
BLOCK: Final = 256


# As in matmul.triton_kernel, one kernel for each function and dtype serves all shapes: their rank
# is an argument, too.
@triton.jit(
    do_not_specialize=["rank", "count"],
    do_not_specialize_on_alignment=["x", "y", "out", "axes"],
)
def elementwise(
    x,
    y,
    out,
    axes,
    rank: tl.int64,
    count: tl.int64,
    function: tl.constexpr,
    block: tl.constexpr,
):
    """Compute one block of the result, whose elements each program finds by their index.

    axes (rank, 3) has size, stride of x and stride of y, from the last axis to the first. A
    stretched axis has stride 0: the same element is read again and again.
    """
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    rest, x_offset, y_offset = index, index * 0, index * 0
    for axis in range(rank):
        size = tl.load(axes + 3 * axis)
        x_offset += rest % size * tl.load(axes + 3 * axis + 1)
        y_offset += rest % size * tl.load(axes + 3 * axis + 2)
        rest //= size
    # Float32 holds what comes of float16 and bfloat16 until it is rounded once.
    own = out.dtype.element_ty
    wide = tl.float32 if own.is_fp16() or own.is_bf16() else own
    left = tl.load(x + x_offset, mask=index < count, other=1).to(wide)
    right = tl.load(y + y_offset, mask=index < count, other=1).to(wide)
    tl.store(out + index, apply(function, left, right), mask=index < count)


@triton.jit
def apply(function: tl.constexpr, x, y):
    """Return one function of x and y, by its name."""
    if function == "add":
        result = x + y
    elif function == "sub":
        result = x - y
    elif function == "mul":
        result = x * y
    elif function == "maximum":
        result = tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
    elif function == "minimum":
        result = tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)
    elif x.dtype.is_int():
        result = x // y
    elif x.dtype == tl.float32:
        result = tl.div_rn(x, y)  # the plain quotient of float32 is off by up to two units
    else:
        result = x / y
    return result
