"""Kinds of matrix products by shape, which differ in their time for each multiply-add.

Samples of each kind calibrate the cost model.
"""

from typing import Final

# Up to here the time of a single product is that of a call, whatever its shape.
SMALL: Final = 4096
# Up to so many terms of each sum, a product takes as long as its result takes to write.
THIN: Final = 4
# Up to so many rows or columns, it takes as long as the other operand takes to read.
NARROW: Final = 4
Dims = tuple[int, int, int, int]
# Numbers of matrices, and m, k and n of each, from small to large in each kind. Some differ in the
# number of steps or of matrices alone, which tells the time of those from that of a call.
SAMPLES: Final[tuple[Dims, ...]] = (
    (1, 1, 1, 1),
    (1, 4, 1, 1),
    *((1, n, n, n) for n in (2, 4, 8, 16, 32, 64, 128, 256, 512)),
    *((1, n, n, 1) for n in (128, 512, 1000)),
    *((1, 1, n, 1) for n in (16_384, 1_000_000)),
    *((1, n, 1, n) for n in (128, 512, 1000)),
    *((1, n, 2, n) for n in (64, 512, 1000)),
    *((1, NARROW, n, n) for n in (64, 512, 1000)),
    *((p, n, n, n) for p, n in ((2, 8), (64, 8), (16, 32), (4, 128))),
    *((p, n, n, 1) for p, n in ((2, 8), (64, 8), (16, 128), (4, 512))),
    *((p, 1, n, 1) for p, n in ((2, 8), (64, 8), (256, 200), (256, 3000))),
    *((p, n, 1, n) for p, n in ((2, 8), (64, 8), (4, 512))),
    *((p, n, 2, n) for p, n in ((2, 8), (64, 8), (4, 512))),
)


def kind_of_product(p: int, m: int, k: int, n: int) -> str:
    """Return the kind of `p` products of an (m, k) and a (k, n) matrix."""
    if p > 1:
        return f"batch of {_kind_of_shape(m, k, n)}"
    if m * k * n <= SMALL:
        return "matrix"
    return "narrow" if 1 < min(m, n) <= NARROW < k else _kind_of_shape(m, k, n)


def _kind_of_shape(m: int, k: int, n: int) -> str:
    if min(m, n) == 1:
        return "inner" if max(m, n) == 1 else "vector" if k > 1 else "outer"
    if k <= THIN:
        return "outer" if k == 1 else "thin"
    return "matrix"
