"""Rules and `Op` of norm: vector and matrix norms, with the rules of torch.linalg."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Final, Literal

import torch

from service.core.call import Spec, Tensor
from service.core.dtypes import INTEGERS, describe
from service.core.validators import boolean, choice, integers, is_number, refuse
from service.errors import InvalidFieldError, Place, ShapeMismatchError, UnsupportedDtypeError
from service.operations.elementwise import power
from service.registry import ErrorSample, Inferred, Op, Param, Recheck, Sample

Ord = float | Literal["fro", "nuc"]
MATRIX_ORDS: Final = ("fro", "nuc", math.inf, -math.inf, 1, -1, 2, -2)
SINGULAR_VALUE_ORDS: Final = ("nuc", 2, -2)
ALL_AXES: Final = "leave dim out, or send null, for all axes"
LOW_PRECISION: Final = frozenset({torch.float16, torch.bfloat16})


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredNorm(Inferred):
    """A call of norm: order `ord` over the axes `dim`, of matrices or of vectors."""

    ord: Ord
    dim: tuple[int, ...]
    keepdim: bool
    matrix: bool

    @property
    def reproduce(self) -> str:
        """The call as one line of torch."""
        infinite = self.ord in (math.inf, -math.inf)
        order = f'float("{self.ord}")' if infinite else repr(self.ord)
        kind = "matrix_norm" if self.matrix else "vector_norm"
        x = "x" if self.specs[0].dtype not in INTEGERS else "x.double()"
        return f"torch.linalg.{kind}({x}, {order}, {self.dim}, {self.keepdim})"

    @property
    def reduced(self) -> int:
        """Number of elements that one norm is taken of."""
        return prod(self.specs[0].shape[axis] for axis in self.dim)

    @property
    def is_sum_of_powers(self) -> bool:
        """True if the norm is a root of a sum of powers, such as the Frobenius norm."""
        return self.ord == "fro" or (not self.matrix and self.ord not in (0, math.inf, -math.inf))


def parse_ord(value: object) -> Ord | None:
    """Parse the order: a number, or one of the words of torch.linalg."""
    words: dict[object, Ord] = {"fro": "fro", "nuc": "nuc", "inf": math.inf, "-inf": -math.inf}
    if value is None or is_number(value):
        return 0 if value == 0 else value  # -0 is the same order
    if not isinstance(value, str) or value not in words:
        refuse("ord", value, 'a number or one of "fro", "nuc", "inf", "-inf"')
    return words[value]


def parse_dim(value: object) -> tuple[int, ...] | None:
    """Parse the axes: an integer or a list of integers."""
    if value is None:
        return None
    axes = integers(value if isinstance(value, list) else [value])
    if axes is None:
        refuse("dim", value, "an integer or a list of integers")
    return axes


def infer(
    specs: tuple[Spec], *, ord: Ord | None, dim: tuple[int, ...] | None, keepdim: bool, kind: str
) -> InferredNorm:
    """Find axes, order and kind of the norm; `auto` decides the kind as torch.linalg.norm does."""
    ((shape, dtype),) = ((spec.shape, spec.dtype) for spec in specs)
    if dtype == torch.bool:
        raise UnsupportedDtypeError(
            "norm needs numbers, and x is bool",
            hint='"dtype": "float32" makes 1 and 0 of booleans that are sent',
        )
    rank = len(shape)
    if dim == ():
        raise _mismatch("dim names no axis, and a norm takes one at least", "/dim", hint=ALL_AXES)
    axes = None if dim is None else _axes(dim, rank)
    if kind == "auto":
        kind = _kind(rank, ord, dim)
    if kind == "matrix":
        axes = _axes((-2, -1), rank) if axes is None else axes
        order: Ord = "fro" if ord is None else ord
        if len(axes) != 2:
            raise _mismatch(f"a matrix norm takes two axes; dim names {len(axes)}", "/dim")
        if order not in MATRIX_ORDS:
            raise _ord_error(order, "matrices", "fro, nuc, inf, -inf, 1, -1, 2, -2")
        if order in SINGULAR_VALUE_ORDS and dtype in LOW_PRECISION:
            raise UnsupportedDtypeError(
                f"ord {order!r} of matrices needs singular values, which "
                f"{describe(dtype).name} is too short for",
                hint='send x with "dtype": "float32"',
            )
    else:
        axes = tuple(range(rank)) if axes is None else axes
        order = 2 if ord is None else ord
        if isinstance(order, str):
            raise _ord_error(order, "vectors", "a number, inf or -inf")
    inferred = InferredNorm(
        specs=specs,
        shape=tuple(
            1 if axis in axes else size
            for axis, size in enumerate(shape)
            if keepdim or axis not in axes
        ),
        dtype=torch.float64 if dtype in INTEGERS else dtype.to_real(),
        multiply_adds=prod(shape),
        ord=order,
        dim=axes,
        keepdim=keepdim,
        matrix=kind == "matrix",
    )
    _refuse_empty(inferred)
    return inferred


def _kind(rank: int, ord: Ord | None, dim: tuple[int, ...] | None) -> str:
    """Return the kind of norm that torch.linalg.norm takes: `vector` or `matrix`."""
    if dim is not None:
        if len(dim) > 2:
            raise _mismatch(
                f"norm takes one or two axes; dim names {len(dim)}",
                "/dim",
                hint=None if isinstance(ord, str) else '"kind": "vector" takes any number of axes',
            )
        return "matrix" if len(dim) == 2 and ord is not None else "vector"
    if ord is None:
        return "vector"
    if rank not in (1, 2):
        raise _mismatch(
            f"with ord and without dim, x must have rank 1 or 2; it has rank {rank}",
            "/x",
            hint="give dim" if isinstance(ord, str) else 'give dim, or "kind": "vector"',
        )
    return "vector" if rank == 1 else "matrix"


def _axes(dim: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Return the axes counted from the left.

    Raises a ShapeMismatchError for an axis that does not exist or is named twice.
    """
    if rank == 0 and dim in ((0,), (-1,)):
        return ()  # as in torch, a number may be reduced along axis 0 or -1
    for axis in dim:
        if not -rank <= axis < rank:
            raise _mismatch(f"x has rank {rank} and no axis {axis}", "/dim")
    axes = tuple(axis % rank for axis in dim)
    if len(set(axes)) < len(axes):
        raise _mismatch(f"dim {dim} names an axis of x twice", "/dim")
    return axes


def _refuse_empty(inferred: InferredNorm) -> None:
    """Raise for a minimum or maximum of no numbers, which does not exist."""
    shape, order = inferred.specs[0].shape, inferred.ord
    if isinstance(order, str):
        return
    if inferred.matrix:
        rows, columns = (shape[axis] for axis in inferred.dim)
        numbers = {-math.inf: rows, -1: columns, -2: min(rows, columns)}.get(order, 1)
    else:
        numbers = inferred.reduced if order < 0 or order == math.inf else 1
    if numbers == 0:
        raise _mismatch(f"the {order:g} norm of no numbers does not exist: x is {shape}", "/x")


def _mismatch(detail: str, pointer: str, *, hint: str | None = None) -> ShapeMismatchError:
    return ShapeMismatchError(detail, hint=hint, places=[Place(pointer, detail)])


def _ord_error(order: Ord, what: str, choices: str) -> InvalidFieldError:
    return InvalidFieldError(
        f"ord {order!r} is no norm of {what}; choose {choices}",
        places=[Place("/ord", f"expected {choices}")],
    )


def check_overflow(inferred: InferredNorm, operands: Sequence[Tensor]) -> None:
    """Do nothing: integers are converted to floats first, so that none overflows."""


def recheck(inferred: InferredNorm) -> Recheck | None:
    """Check for overflow, and roots of sums of powers for underflow too.

    A sum of n powers below n times the least normal number has lost digits. Its root is the bound
    of the norm, from below for a positive order, and from above for a negative one.
    """
    if inferred.ord == 0:
        return None
    order = 2.0 if isinstance(inferred.ord, str) else inferred.ord
    extent = partial(_extent, inferred, math.copysign(math.inf, order))
    if not inferred.is_sum_of_powers or op.strategies["scaled"].unsupported(inferred):
        return Recheck("torch", "all operands", extent=extent)
    limits = torch.finfo(inferred.dtype)
    bound = power(inferred.reduced * limits.tiny, 1 / order)
    least, greatest = (bound, limits.max) if order > 0 else (0.0, min(bound, limits.max))
    if inferred.specs[0].dtype.is_complex and order < 0:  # magnitudes beyond the dtype are lost
        greatest *= (limits.eps / inferred.reduced) ** (1 / -order)
    if max(abs(order), abs(1 / order)) > torch.finfo(torch.float32).max:  # torch rounds it
        least = math.inf
    return Recheck("scaled", "all operands", (max(least, limits.tiny), greatest), extent)


def _extent(inferred: InferredNorm, order: float, operands: Sequence[Tensor]) -> Tensor:
    """Return the greatest magnitude that each norm is taken of; the least for a negative order."""
    (x,) = operands
    if x.is_complex():  # the magnitude of a finite number may be beyond its dtype
        x = x.to(torch.complex128) / 4
    elif x.dtype in INTEGERS:
        x = x.double()
    extent: Tensor = torch.linalg.vector_norm(x, order, inferred.dim, inferred.keepdim)
    return extent


op = Op(
    name="norm",
    summary="A norm of vectors or matrices along axes of a tensor.",
    operands=("x",),
    params=(
        Param(
            "ord",
            "Order of the norm; null is the 2-norm of vectors, Frobenius of matrices.",
            {
                "anyOf": [
                    {"type": "number"},
                    {"enum": ["fro", "nuc", "inf", "-inf"]},
                    {"type": "null"},
                ]
            },
            parse_ord,
        ),
        Param(
            "dim",
            "Axis or axes to reduce; null is all of them.",
            {
                "anyOf": [
                    {"type": "integer"},
                    {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                    {"type": "null"},
                ]
            },
            parse_dim,
        ),
        Param(
            "keepdim",
            "Keep reduced axes, with size 1.",
            {"type": "boolean"},
            boolean("keepdim"),
            default=False,
        ),
        Param(
            "kind",
            "Norms of vectors or of matrices; `auto` decides as torch.linalg.norm does.",
            {"enum": ["auto", "vector", "matrix"]},
            choice("kind", ("auto", "vector", "matrix")),
            default="auto",
        ),
    ),
    infer=infer,
    check_overflow=check_overflow,
    auto=("torch", "dask"),
    samples=(
        Sample("flattened", ((3, 4),)),
        Sample("a number", ((),)),
        Sample("vector of order 1", ((5,),), {"ord": 1}),
        Sample("vector of order 3", ((5,),), {"ord": 3}),
        Sample("vector of order -1", ((5,),), {"ord": -1}),
        Sample("vector of order 0", ((5,),), {"ord": 0}),
        Sample("greatest", ((5,),), {"ord": "inf"}),
        Sample("least", ((5,),), {"ord": "-inf"}),
        Sample("rows", ((3, 4),), {"dim": 1}),
        Sample("rows, axis kept", ((3, 4),), {"dim": [-1], "keepdim": True}),
        Sample("all axes kept", ((2, 3, 4),), {"keepdim": True}),
        Sample("three axes", ((2, 3, 4),), {"kind": "vector", "dim": [0, 1, 2]}),
        Sample("two axes out of order", ((2, 3, 4),), {"kind": "vector", "dim": [2, 0]}),
        Sample("Frobenius", ((3, 4),), {"ord": "fro"}),
        Sample("Frobenius of a batch", ((2, 3, 4),), {"kind": "matrix"}),
        Sample("nuclear", ((3, 4),), {"ord": "nuc"}),
        Sample("spectral", ((3, 4),), {"ord": 2}),
        Sample("least singular value", ((4, 3),), {"ord": -2}),
        Sample("column sums", ((3, 4),), {"ord": 1}),
        Sample("row sums, axis kept", ((2, 3, 4),), {"ord": "inf", "dim": [0, 2], "keepdim": True}),
        Sample("empty", ((0,),)),
        Sample("rows of nothing", ((2, 0),), {"dim": 1}),
        Sample("no rows", ((0, 3),), {"dim": 1}),
        Sample("empty matrix", ((0, 3),), {"ord": "nuc"}),
    ),
    error_samples=(
        ErrorSample("no such axis", ((2, 3),), "shape-mismatch", {"dim": 2}),
        ErrorSample("an axis twice", ((2, 3),), "shape-mismatch", {"dim": [0, -2]}),
        ErrorSample("ord without dim", ((2, 3, 4),), "shape-mismatch", {"ord": 2}),
        ErrorSample("no axis", ((2, 3),), "shape-mismatch", {"dim": []}),
        ErrorSample("no axis of vectors", ((3,),), "shape-mismatch", {"kind": "vector", "dim": []}),
        ErrorSample("three axes for auto", ((2, 3, 4),), "shape-mismatch", {"dim": [0, 1, 2]}),
        ErrorSample(
            "one axis of a matrix", ((2, 3),), "shape-mismatch", {"kind": "matrix", "dim": 0}
        ),
        ErrorSample("matrix of a vector", ((3,),), "shape-mismatch", {"kind": "matrix"}),
        ErrorSample("nuclear of vectors", ((3,),), "invalid-field", {"ord": "nuc"}),
        ErrorSample("order 3 of matrices", ((2, 3),), "invalid-field", {"ord": 3}),
        ErrorSample("greatest of nothing", ((0,),), "shape-mismatch", {"ord": "inf"}),
        ErrorSample("least of nothing", ((2, 0),), "shape-mismatch", {"ord": -1}),
        ErrorSample("ord of a wrong kind", ((2, 3),), "invalid-field", {"ord": True}),
        ErrorSample("ord of a wrong word", ((2, 3),), "invalid-field", {"ord": "frobenius"}),
        ErrorSample("dim of a wrong kind", ((2, 3),), "invalid-field", {"dim": "rows"}),
        ErrorSample("keepdim of a wrong kind", ((2, 3),), "invalid-field", {"keepdim": 1}),
        ErrorSample("kind of a wrong kind", ((2, 3),), "invalid-field", {"kind": "vectors"}),
    ),
    calibration_samples=(
        *(
            Sample("vector", ((n,),), {"ord": order})
            for order in (1, 2, 3)
            for n in (1, 8, 64, 4096, 65_536, 1_000_000)
        ),
        *(
            Sample("rows", ((m, n),), {"ord": order, "dim": 1})
            for order in (1, 2, 3)
            for m, n in ((2, 8), (64, 8), (1000, 8), (1000, 128), (8, 65_536))
        ),
        *(
            Sample("columns", ((m, n),), {"ord": order, "dim": 0})
            for order in (1, 2, 3)
            for m, n in ((8, 2), (8, 64), (8, 1000), (128, 1000), (1000, 1000))
        ),
        *(
            Sample("matrices", ((p, n, n),), {"ord": order, "dim": [1, 2]})
            for order in (1, "inf", "nuc")
            for p, n in ((1, 2), (16, 2), (1, 8), (1, 32), (1, 64), (1, 128), (1, 1000))
        ),
    ),
    recheck=recheck,
)
