"""A Triton kernel that writes to a null pointer, after which its process cannot use the GPU."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["address"])
def write_to_null(address: tl.int64):
    """Write to an address, which is 0: as a number, since no tensor is there."""
    tl.store(address.to(tl.pointer_type(tl.int32)), 1)
