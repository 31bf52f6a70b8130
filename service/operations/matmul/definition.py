"""Rules and `Op` of matmul: the matrix product, with the rules of torch.matmul."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Final

import numpy as np
import torch

from service.core.call import Shape, Spec, Tensor
from service.core.dtypes import INTEGERS, describe
from service.errors import Place, ShapeMismatchError, UnsupportedDtypeError
from service.operations.broadcasting import broadcast_shapes, broadcasts
from service.operations.exact import sums_of_products
from service.operations.overflow import check_fits, magnitude
from service.operations.products import SAMPLES, kind_of_product
from service.registry import ErrorSample, Inferred, Op, Recheck, Sample

# With fewer rows or columns, no BLAS library reaches the speed of the 256 x 256 product that the
# cost model is calibrated by.
LARGE: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredMatmul(Inferred):
    """A call of matmul: `batch` products of an (m, k) and a (k, n) matrix, of a `kind` by shape."""

    batch: Shape
    m: int
    k: int
    n: int
    kind: str

    @property
    def operations(self) -> int:
        """A multiplication and an addition for each multiply-add."""
        return 2 * self.multiply_adds

    @property
    def reproduce(self) -> str:
        """The call as one line of torch."""
        return "torch.matmul(a, b)"


def infer(specs: tuple[Spec, Spec]) -> InferredMatmul:
    """Add an axis to vectors, broadcast the batch axes, and match the contracted axis."""
    left, right = specs
    if left.dtype == torch.bool:
        raise UnsupportedDtypeError(
            "matmul multiplies and adds, which bool does not",
            hint='"dtype": "int64" makes 1 and 0 of booleans that are sent',
        )
    for name, spec in zip("ab", specs, strict=True):
        if not spec.shape:
            raise ShapeMismatchError(
                f"matmul needs a and b of rank 1 or more; {name} is a single number",
                hint="broadcast with op mul multiplies by a number",
                places=[Place(f"/{name}", "rank 0, expected 1 or more")],
            )
    a = left.shape if len(left.shape) > 1 else (1, *left.shape)
    b = right.shape if len(right.shape) > 1 else (*right.shape, 1)
    (m, k), n = a[-2:], b[-1]
    if b[-2] != k:
        axis = len(right.shape) - 2 if len(right.shape) > 1 else 0
        raise ShapeMismatchError(
            f"matmul needs a's last axis ({k}) to equal b's axis {axis} ({b[-2]}): "
            f"a is {left.shape}, b is {right.shape}",
            hint=_fitting_hint(left.shape, right.shape),
            places=[Place("/b", f"axis {axis} has size {b[-2]}, expected {k}")],
        )
    batch = broadcast_shapes([a[:-2], b[:-2]], ["/a", "/b"], what="batch axes")
    matrices = prod(batch)
    rows, columns = (m,) * (len(left.shape) > 1), (n,) * (len(right.shape) > 1)
    return InferredMatmul(
        specs=specs,
        shape=batch + rows + columns,
        dtype=left.dtype,
        multiply_adds=matrices * m * k * n,
        batch=batch,
        m=m,
        k=k,
        n=n,
        kind=kind_of_product(matrices, m, k, n),
    )


def _fitting_hint(a: Shape, b: Shape) -> str | None:
    """Return a transposition or a swap that makes the shapes fit, if one is found."""
    a_transposed, b_transposed = (*a[:-2], *a[:-3:-1]), (*b[:-2], *b[:-3:-1])
    for left, right, hint in (
        (a, b_transposed, f"b transposed has shape {b_transposed} and fits"),
        (a_transposed, b, f"a transposed has shape {a_transposed} and fits"),
        (b, a, "the operands fit the other way round"),
    ):
        if left[-1] == right[-2:][0] and broadcasts([left[:-2], right[:-2]]):
            return hint
    return None


def check_overflow(inferred: InferredMatmul, operands: Sequence[Tensor]) -> None:
    """Raise IntegerOverflowError unless the exact product of integer operands fits."""
    if inferred.dtype in INTEGERS:
        a, b = (x.numpy() for x in operands)
        check_fits(
            describe(inferred.dtype),
            (a, b),
            bound=inferred.k * magnitude(a) * magnitude(b),
            magnitude=np.matmul,
            evaluate=np.matmul,
            operations=inferred.multiply_adds,
        )


def recheck(inferred: InferredMatmul) -> Recheck:
    """Check for overflow."""
    exact = partial(_exact, inferred)
    return Recheck("torch", "each operand", exact=exact, factors=2 * inferred.k)


def _exact(
    inferred: InferredMatmul, operands: Sequence[Tensor], indices: Sequence[Shape]
) -> list[complex | None]:
    """Return numbers of the result as exact sums of products."""
    a, b = operands
    shape = (*inferred.shape, inferred.k)
    if b.dim() > 1:
        b = b.mT.unsqueeze(-3) if a.dim() > 1 else b.mT
        a = a.unsqueeze(-2)
    return sums_of_products([a.expand(shape), b.expand(shape)], indices)


op = Op(
    name="matmul",
    summary="The product of two matrices, or of batches of them.",
    operands=("a", "b"),
    params=(),
    infer=infer,
    check_overflow=check_overflow,
    auto=("torch", "numpy", "broadcast", "dask"),
    samples=(
        Sample("two matrices", ((2, 3), (3, 4))),
        Sample("inner product", ((3,), (3,))),
        Sample("matrix and vector", ((2, 3), (3,))),
        Sample("vector and matrix", ((3,), (3, 4))),
        Sample("batches", ((2, 2, 3), (2, 3, 2))),
        Sample("batches that broadcast", ((2, 1, 2, 3), (3, 3, 2))),
        Sample("vector against a batch", ((3,), (2, 3, 2))),
        Sample("no rows", ((0, 3), (3, 2))),
        Sample("nothing to contract", ((2, 0), (0, 3))),
        Sample("empty batch", ((0, 2, 3), (3, 2))),
    ),
    error_samples=(
        ErrorSample("inner sizes differ", ((2, 3), (2, 3)), "shape-mismatch"),
        ErrorSample("a number", ((), (2, 3)), "shape-mismatch"),
        ErrorSample("batches do not broadcast", ((2, 2, 3), (3, 3, 2)), "shape-mismatch"),
    ),
    calibration_samples=tuple(
        Sample("product", ((m, k), (k, n)) if p == 1 else ((p, m, k), (p, k, n)))
        for p, m, k, n in SAMPLES
    ),
    # torch and numpy have a BLAS library each; the faster one depends on the processor.
    is_heavy=lambda inferred: min(inferred.m, inferred.k, inferred.n) >= LARGE,
    recheck=recheck,
)
