"""Rules and `Op` of einsum: Einstein summation, with the grammar of torch.einsum."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TypeVar

import numpy as np
import torch

from service.core.call import Shape, Spec, Tensor
from service.core.dtypes import INTEGERS, describe
from service.core.validators import text
from service.errors import UnsupportedDtypeError
from service.operations.equation import (
    OPTIMIZERS,
    Equation,
    Path,
    Step,
    along,
    contraction_steps,
    parse_optimize,
    read,
)
from service.operations.exact import sums_of_products
from service.operations.overflow import Array, check_fits, magnitude
from service.operations.products import SAMPLES
from service.registry import ErrorSample, Inferred, Op, Param, Recheck, Sample

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredEinsum(Inferred):
    """A call of einsum: an explicit equation, and the steps of its contraction along the path."""

    equation: Equation
    steps: tuple[Step, ...]

    @property
    def operations(self) -> int:
        """Two for each multiply-add of a product, an addition for each element of a sum."""
        if len(self.specs) > 1:
            return 2 * self.multiply_adds
        return self.multiply_adds if self.equation.summed else 0

    @property
    def path(self) -> Sequence[Mapping[str, object]]:
        """The steps of the contraction: operands, equation, shape and multiply-adds of each."""
        return [
            {
                "positions": list(step.positions),
                "equation": str(step.equation),
                "shape": list(step.equation.shape(step.equation.output)),
                "multiply_adds": step.equation.multiply_adds,
            }
            for step in self.steps
        ]

    @property
    def reproduce(self) -> str:
        """The call as one line of torch."""
        operands = ", ".join(f"x{number}" for number in range(len(self.specs)))
        return f'torch.einsum("{self.equation}", {operands})'


def infer(specs: tuple[Spec, ...], *, equation: str, optimize: str | Path) -> InferredEinsum:
    """Read the equation, and find the size of each letter and the path of the contraction."""
    if specs[0].dtype == torch.bool:
        raise UnsupportedDtypeError(
            "einsum multiplies and adds, which bool does not",
            hint='"dtype": "int64" makes 1 and 0 of booleans that are sent',
        )
    explicit = read(equation, [spec.shape for spec in specs])
    steps = contraction_steps(explicit, optimize)
    return InferredEinsum(
        specs=specs,
        shape=explicit.shape(explicit.output),
        dtype=specs[0].dtype,
        multiply_adds=sum(step.equation.multiply_adds for step in steps),
        equation=explicit,
        steps=steps,
    )


def check_overflow(inferred: InferredEinsum, operands: Sequence[Tensor]) -> None:
    """Raise IntegerOverflowError unless the exact sums of products of integer operands fit."""
    if inferred.dtype not in INTEGERS:
        return
    equation, steps = inferred.equation, inferred.steps

    def evaluate(*arrays: Array) -> Array:
        return contract(steps, lambda step, *taken: np.einsum(str(step), *taken), arrays)

    arrays = stretched(equation, [x.numpy() for x in operands], np.broadcast_to)
    check_fits(
        describe(inferred.dtype),
        arrays,
        bound=prod(equation.shape(equation.summed)) * prod(map(magnitude, arrays)),
        magnitude=evaluate,
        evaluate=evaluate,
        operations=inferred.multiply_adds,
    )


def stretched(
    equation: Equation, operands: Sequence[T], broadcast_to: Callable[[T, Shape], T]
) -> list[T]:
    """Return the operands as views, each axis of size 1 stretched to the size of its letter."""
    return [
        broadcast_to(x, equation.shape(term))
        for term, x in zip(equation.inputs, operands, strict=True)
    ]


def contract(steps: Sequence[Step], compute: Callable[..., T], operands: Sequence[T]) -> T:
    """Call `compute` with equation and operands of each step, and return the last result.

    Other results are appended to the operands.
    """
    left = list(operands)
    for step in steps:
        taken = [left[position] for position in step.positions]
        left = [x for position, x in enumerate(left) if position not in step.positions]
        left.append(compute(step.equation, *taken))
    return left[0]


def recheck(inferred: InferredEinsum) -> Recheck | None:
    """Check for overflow, and products of three operands or more for underflow too.

    A transposition or a diagonal computes nothing.
    """
    if len(inferred.specs) == 1 and not inferred.equation.summed:
        return None
    limits = torch.finfo(inferred.dtype)
    bounds = (limits.tiny, limits.max) if len(inferred.specs) > 2 else None
    factors = inferred.equation.multiply_adds * len(inferred.specs) // inferred.elements
    return Recheck(
        "torch", "each operand", bounds, exact=partial(_exact, inferred.equation), factors=factors
    )


def _exact(
    equation: Equation, operands: Sequence[Tensor], indices: Sequence[Shape]
) -> list[complex | None]:
    """Return numbers of the result as exact sums of products."""
    letters = equation.output + equation.summed
    views = stretched(equation, operands, torch.broadcast_to)
    factors = [
        along(x, term, letters).expand(equation.shape(letters))
        for x, term in zip(views, equation.inputs, strict=True)
    ]
    return sums_of_products(factors, indices)


def _sample(p: int, m: int, k: int, n: int) -> Sample:
    """Return `p` products of an (m, k) and a (k, n) matrix as a calibration sample."""
    if p == 1:
        return Sample("product", ((m, k), (k, n)), {"equation": "ik,kj->ij"})
    if m == n == 1:  # NumPy is slower with axes of size 1, which are rare in equations
        return Sample("rows by rows", ((p, k), (p, k)), {"equation": "bk,bk->b"})
    return Sample("products", ((p, m, k), (p, k, n)), {"equation": "bik,bkj->bij"})


op = Op(
    name="einsum",
    summary="Einstein summation: products of operands, summed over letters, by an equation.",
    operands=None,
    params=(
        Param(
            "equation",
            "One term of letters for each operand, then optionally `->` and the result's letters, "
            "as in torch.einsum.",
            {"type": "string", "maxLength": 500, "examples": ["ij,jk->ik"]},
            text("equation", longest=500),
            required=True,
        ),
        Param(
            "optimize",
            "Order of contractions: by opt_einsum, from left to right (`none`), or a path.",
            {
                "anyOf": [
                    {"enum": list(OPTIMIZERS)},
                    {
                        "type": "array",
                        "items": {
                            "type": "array",
                            "items": {"type": "integer", "minimum": 0},
                            "minItems": 1,
                        },
                        "minItems": 1,
                    },
                ]
            },
            parse_optimize,
            default="auto",
        ),
    ),
    infer=infer,
    check_overflow=check_overflow,
    auto=("torch", "broadcast", "dask"),
    samples=(
        Sample("matrix product", ((2, 3), (3, 4)), {"equation": "ij,jk->ik"}),
        Sample("implicit result", ((2, 3), (3, 4)), {"equation": "ij,jk"}),
        Sample("spaces", ((2, 3), (3, 4)), {"equation": " i j , j k -> i k "}),
        Sample("transpose", ((2, 3),), {"equation": "ij->ji"}),
        Sample("implicit transpose", ((2, 3),), {"equation": "ba"}),
        Sample("diagonal", ((3, 3),), {"equation": "ii->i"}),
        Sample("trace", ((3, 3),), {"equation": "ii"}),
        Sample("sum", ((2, 3),), {"equation": "ij->"}),
        Sample("batch product", ((2, 2, 3), (2, 3, 2)), {"equation": "bij,bjk->bik"}),
        Sample("inner product", ((3,), (3,)), {"equation": "i,i"}),
        Sample("outer product", ((2,), (3,)), {"equation": "i,j->ij"}),
        Sample("batches by dots", ((2, 1, 2, 3), (3, 3, 2)), {"equation": "...ij,...jk->...ik"}),
        Sample("implicit dots", ((2, 3), (3, 2)), {"equation": "...j,j..."}),
        Sample("dots summed", ((2, 3),), {"equation": "i...->i"}),
        Sample("a letter of size 1", ((2, 1), (3, 4)), {"equation": "ij,jk->ik"}),
        Sample("diagonal in a product", ((3, 3), (3, 2)), {"equation": "ii,ij->j"}),
        Sample("three operands", ((2, 3), (3, 4), (4, 2)), {"equation": "ij,jk,kl->il"}),
        Sample(
            "from left to right",
            ((2, 3), (3, 4), (4, 2)),
            {"equation": "ij,jk,kl->il", "optimize": "none"},
        ),
        Sample(
            "an explicit path",
            ((2, 3), (3, 4), (4, 2)),
            {"equation": "ij,jk,kl->il", "optimize": [[1, 2], [0, 1]]},
        ),
        Sample(
            "all at once",
            ((2, 3), (3, 4), (4, 2)),
            {"equation": "ij,jk,kl->il", "optimize": [[0, 1, 2]]},
        ),
        Sample("numbers", ((), ()), {"equation": ","}),
        Sample("nothing to sum", ((2, 0), (0, 3)), {"equation": "ij,jk->ik"}),
        Sample("no rows", ((0, 3), (3, 2)), {"equation": "ij,jk->ik"}),
    ),
    error_samples=(
        ErrorSample("no equation", ((2, 3),), "missing-field"),
        ErrorSample(
            "a wrong arrow", ((2, 3), (3, 4)), "invalid-equation", {"equation": "ik,kj>ij"}
        ),
        ErrorSample("a digit", ((2, 3),), "invalid-equation", {"equation": "i1->i"}),
        ErrorSample("two dots", ((2, 3),), "invalid-equation", {"equation": "i..->i"}),
        ErrorSample("dots twice", ((2, 3),), "invalid-equation", {"equation": "...i...->i"}),
        ErrorSample("a term too many", ((2, 3),), "invalid-equation", {"equation": "ij,jk->ik"}),
        ErrorSample("result letter twice", ((3, 3),), "invalid-equation", {"equation": "ij->ii"}),
        ErrorSample("result letter unknown", ((3, 3),), "invalid-equation", {"equation": "ij->k"}),
        ErrorSample("a comma in the result", ((3,),), "invalid-equation", {"equation": "i->i,i"}),
        ErrorSample("letters and rank", ((2, 3),), "shape-mismatch", {"equation": "ijk->i"}),
        ErrorSample("dots and rank", ((2,),), "shape-mismatch", {"equation": "ij...->i"}),
        ErrorSample("sizes differ", ((2, 3), (2, 3)), "shape-mismatch", {"equation": "ij,jk->ik"}),
        ErrorSample("no square", ((1, 3),), "shape-mismatch", {"equation": "ii->i"}),
        ErrorSample(
            "equation of a wrong kind", ((2, 3),), "invalid-field", {"equation": ["ij->ji"]}
        ),
        ErrorSample(
            "no optimizer", ((2, 3),), "invalid-field", {"equation": "ij", "optimize": "best"}
        ),
        ErrorSample(
            "a path that stops",
            ((2,), (2,), (2,)),
            "invalid-field",
            {"equation": "i,i,i", "optimize": [[0, 1]]},
        ),
        ErrorSample(
            "a path that repeats",
            ((2,), (2,)),
            "invalid-field",
            {"equation": "i,i", "optimize": [[0, 0]]},
        ),
        ErrorSample(
            "optimal of many",
            ((2,),) * 8,
            "invalid-field",
            {"equation": "i,i,i,i,i,i,i,i", "optimize": "optimal"},
        ),
    ),
    calibration_samples=(
        *(_sample(*dims) for dims in SAMPLES),
        *(
            Sample("one operand", ((n, n),), {"equation": equation})
            for equation in ("ij->ji", "ij->i")
            for n in (1, 2, 8, 64, 1000)
        ),
    ),
    recheck=recheck,
)
