"""Rules and `Op` of broadcast: elementwise operations on operands of different shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from typing import Final

import numpy as np
import torch

from service.core.call import Shape, Spec, Tensor
from service.core.dtypes import BOOL, COMPLEX, INTEGERS, describe
from service.core.validators import choice, integers, refuse
from service.errors import (
    InvalidFieldError,
    Place,
    ShapeMismatchError,
    UnsupportedDtypeError,
    counted,
)
from service.operations.broadcast.indexing import Index, apply_view, parse_views
from service.operations.broadcasting import broadcast_shapes, describe_alignment
from service.operations.elementwise import (
    BOUNDS,
    EXPANSION,
    FUNCTIONS,
    INTEGER_DIVISION,
    UNARY,
    Function,
)
from service.operations.exact import quotients, sums_of_products
from service.operations.overflow import Array, check_fits, magnitude, overflow
from service.registry import ErrorSample, Inferred, Op, Param, Recheck, Sample

NAMED: Final = {**FUNCTIONS, **UNARY}


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredBroadcast(Inferred):
    """A call of broadcast: operands indexed by `views`, stretched to `shape`, given to `function`.

    `texts` are the indices as text, `viewed` and `strides` the shapes and strides after indexing.
    """

    name: str
    function: Function
    texts: tuple[str, ...]
    views: tuple[Index, ...]
    viewed: tuple[Shape, ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def operations(self) -> int:
        """One for each element of the result of each two operands, or of the only one.

        Expanding computes nothing.
        """
        functions = 1 if self.name in UNARY else len(self.specs) - 1
        return functions * self.multiply_adds

    @property
    def reproduce(self) -> str:
        """The call as one line of torch."""
        operands = [
            f"x{number}" + ("" if view in ("...", "") else f"[{view}]")
            for number, view in enumerate(self.texts)
        ]
        if self.name == "expand":
            return f"{operands[0]}.expand({self.shape})"
        line = f"torch.{self.name}({operands[0]})" if self.name in UNARY else operands[0]
        for operand in operands[1:]:
            line = f"torch.{self.name}({line}, {operand})"
        if self.function is INTEGER_DIVISION:
            line = line[:-1] + ', rounding_mode="trunc")'
        fits = broadcast_shapes(self.viewed, [""] * len(self.viewed), what="") == self.shape
        return line if fits else f"{line}.expand({self.shape})"

    @property
    def explanation(self) -> Mapping[str, object]:
        """Alignment of the axes, and the stored and apparent size of each operand."""
        return describe_alignment(
            self.shape,
            self.viewed,
            self.strides,
            stored=[prod(spec.shape) for spec in self.specs],
            itemsize=self.specs[0].dtype.itemsize,
        )


def parse_to(value: object) -> Shape | None:
    """Parse the shape to expand to: sizes only, no -1."""
    shape = integers(value)
    if shape is None or any(size < 0 for size in shape):
        refuse("to", value, "a list of sizes, each 0 or more")
    return shape


def infer(
    specs: tuple[Spec, ...], *, op: str | None, views: tuple[str, ...] | None, to: Shape | None
) -> InferredBroadcast:
    """Index each operand, align the shapes from the right, and find the function."""
    texts = ("...",) * len(specs) if views is None else views
    if len(texts) != len(specs):
        raise InvalidFieldError(
            f"views has {counted(len(texts), 'entry', 'entries')} for "
            f"{counted(len(specs), 'operand')}",
            hint="null stands for a whole operand",
            places=[Place("/views", f"expected {counted(len(specs), 'entry', 'entries')}")],
        )
    function = _function(op, specs, to)
    indexed = [
        apply_view(number, text, spec.shape)
        for number, (text, spec) in enumerate(zip(texts, specs, strict=True))
    ]
    viewed = tuple(shape for _, shape, _ in indexed)
    pointers = [f"/operands/{number}" for number in range(len(specs))]
    shape = broadcast_shapes(viewed, pointers, what="operands")
    if to is not None:
        shape = _expanded_shape(shape, to)
    return InferredBroadcast(
        specs=specs,
        shape=shape,
        dtype=_result_dtype(op, function, specs[0].dtype),
        multiply_adds=prod(shape),
        name=op or "expand",
        function=function,
        texts=texts,
        views=tuple(index for index, _, _ in indexed),
        viewed=viewed,
        strides=tuple(strides for _, _, strides in indexed),
    )


def _result_dtype(op: str | None, function: Function, dtype: torch.dtype) -> torch.dtype:
    """Return bool for a comparison, and a real dtype for magnitudes of complex numbers."""
    if function.compares:
        return torch.bool
    return dtype.to_real() if op == "abs" and dtype in COMPLEX else dtype


def _expanded_shape(shape: Shape, to: Shape) -> Shape:
    """Return `to` if `shape` stretches to it; otherwise raise a ShapeMismatchError."""
    aligned = (1,) * (len(to) - len(shape)) + shape
    if len(shape) > len(to) or any(s not in (1, t) for s, t in zip(aligned, to, strict=True)):
        raise ShapeMismatchError(
            f"shape {shape} does not stretch to {to}: aligned from the right, each size must be "
            "equal or 1",
            places=[Place("/to", f"expected a shape that {shape} stretches to")],
        )
    return to


def _function(op: str | None, specs: tuple[Spec, ...], to: Shape | None) -> Function:
    """Return the function to compute, after a check of the number and dtype of operands."""
    if op is None:
        if len(specs) == 1 and to is not None:
            return EXPANSION
        found = f"{len(specs)} operands and no op" if len(specs) > 1 else "neither op nor to"
        raise InvalidFieldError(
            f"broadcast takes operands and an op, or one operand and to; there were {found}",
            hint=f"op is one of {', '.join(FUNCTIONS)}"
            if len(specs) > 1
            else '"to": [3, 2] expands one operand to that shape',
            places=[Place("/op", "missing")],
        )
    function = NAMED[op]
    dtype = specs[0].dtype
    least, most = (1, 1) if op in UNARY else (2, len(specs) if function.folds else 2)
    if not least <= len(specs) <= most:
        takes = "two operands or more" if function.folds else "two operands"
        takes = "one operand" if op in UNARY else takes
        hint = "one operand takes `to`, and no op, to expand" if len(specs) == 1 else None
        raise InvalidFieldError(
            f"op {op} takes {takes}; there are {len(specs)}",
            hint=hint,
            places=[Place("/operands", f"expected {takes}")],
        )
    if dtype in BOOL and not function.compares:
        raise UnsupportedDtypeError(
            f"op {op} needs numbers, and the operands are bool",
            hint='"dtype": "int64" makes 1 and 0 of booleans that are sent',
        )
    if dtype in COMPLEX and function.orders:
        fitting = {1: "abs takes them, and gives magnitudes", 2: "eq and ne take them"}
        raise UnsupportedDtypeError(
            f"op {op} needs an order, which complex numbers do not have",
            hint=fitting.get(len(specs)),
        )
    if dtype in INTEGERS and function.rounds:
        raise UnsupportedDtypeError(
            f"op {op} needs floats, and the operand is {describe(dtype).name}",
            hint='send the operand with "dtype": "float32"',
        )
    return INTEGER_DIVISION if op == "div" and dtype in INTEGERS else function


def check_overflow(inferred: InferredBroadcast, operands: Sequence[Tensor]) -> None:
    """Raise IntegerOverflowError unless the exact result of integer arithmetic fits."""
    bound = BOUNDS.get(inferred.name)
    if bound is None or inferred.dtype not in INTEGERS or 0 in inferred.shape:
        return
    name = describe(inferred.dtype).name
    arrays = [x[view].numpy() for x, view in zip(operands, inferred.views, strict=True)]
    if inferred.name == "pow":
        _check_power(*np.broadcast_arrays(*arrays), name=name)
    if inferred.name == "div":
        _check_division(*np.broadcast_arrays(*arrays), name=name)
    if inferred.name == "neg" and inferred.dtype == torch.uint8 and arrays[0].any():
        raise overflow(name, f"-{arrays[0].max()}", wider=True)
    if inferred.name == "sub" and inferred.dtype == torch.uint8:
        _check_difference(*arrays, name=name)
    check_fits(
        describe(inferred.dtype),
        arrays,
        bound=reduce(bound, map(magnitude, arrays)),
        magnitude=lambda *x: reduce(bound, x),
        evaluate=partial(_evaluate, inferred.function),
        operations=inferred.multiply_adds,
    )


def _evaluate(function: Function, *arrays: Array) -> Array:
    """Return the result for one operand, or for several from the left."""
    return np.asarray(
        function.numpy(*arrays) if len(arrays) == 1 else reduce(function.numpy, arrays)
    )


def _check_power(base: Array, exponent: Array, *, name: str) -> None:
    """Raise for a fraction, and for a power too large to be computed exactly in memory."""
    if exponent.min() < 0:
        raise overflow(name, f"a number to the power {exponent.min()}, a fraction")
    with np.errstate(over="ignore"):
        powers = np.abs(base.astype(np.float64)) ** exponent
    if powers.max() >= 2.0**64:
        raise overflow(name, "2^64 or more")


def _check_division(dividend: Array, divisor: Array, *, name: str) -> None:
    """Raise for a division by zero or with a remainder."""
    if not divisor.all():
        raise overflow(name, "a division by zero")
    if (dividend % divisor).any():
        raise overflow(name, "a quotient with a fraction")


def _check_difference(minuend: Array, subtrahend: Array, *, name: str) -> None:
    """Raise for a result below zero in an unsigned dtype, which magnitudes do not reveal."""
    least = np.min(minuend.astype(np.int64) - subtrahend)
    if least < 0:
        raise overflow(name, str(least), wider=name != "int64")


def recheck(inferred: InferredBroadcast) -> Recheck | None:
    """Check what has intermediate values: three operands or more, and products of complex numbers.

    Anything else is one operation of IEEE 754, which is infinite only where it should be.
    """
    name, many = inferred.name, len(inferred.specs) > 2
    exact, factors = partial(_exact, inferred), len(inferred.specs)
    if name == "add" and many:
        return Recheck("torch", "all operands", exact=exact, factors=factors)
    if name == "mul" and (many or inferred.dtype in COMPLEX):
        limits = torch.finfo(inferred.dtype)
        bounds = (limits.tiny, limits.max) if many else None
        return Recheck("torch", "each operand", bounds, exact=exact, factors=factors)
    if name == "div" and inferred.dtype in COMPLEX:
        return Recheck("torch", "all operands", exact=exact, factors=factors)
    return None


def _exact(
    inferred: InferredBroadcast, operands: Sequence[Tensor], indices: Sequence[Shape]
) -> list[complex | None]:
    """Return numbers of the result as exact sums, products or quotients."""
    views = [
        x[view].expand(inferred.shape) for x, view in zip(operands, inferred.views, strict=True)
    ]
    if inferred.name == "div":
        return quotients(views[0], views[1], indices)
    if inferred.name == "add":
        return sums_of_products([torch.stack(views, -1)], indices)
    return sums_of_products(views, indices)


op = Op(
    name="broadcast",
    summary="An elementwise operation on operands that stretch to a common shape.",
    operands=None,
    params=(
        Param(
            "op",
            "The elementwise operation; none with one operand and `to`, which expands it.",
            {"anyOf": [{"enum": list(NAMED)}, {"type": "null"}]},
            lambda value: None if value is None else choice("op", NAMED)(value),
        ),
        Param(
            "views",
            'One index for each operand, applied first: `":,None"`, `"..., None"`, null for none.',
            {
                "anyOf": [
                    {
                        "type": "array",
                        "items": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                        "maxItems": 64,
                    },
                    {"type": "null"},
                ]
            },
            parse_views,
        ),
        Param(
            "to",
            "The shape to stretch to; sizes only.",
            {
                "anyOf": [
                    {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    {"type": "null"},
                ]
            },
            parse_to,
        ),
    ),
    infer=infer,
    check_overflow=check_overflow,
    auto=("torch", "dask"),
    samples=(
        *(Sample(name, ((2, 3), (3,)), {"op": name}) for name in FUNCTIONS),
        *(Sample(name, ((2, 3),), {"op": name}) for name in UNARY),
        Sample("a column", ((2, 3), (2, 1)), {"op": "add"}),
        Sample("a number", ((2, 3), ()), {"op": "mul"}),
        Sample("numbers", ((), ()), {"op": "sub"}),
        Sample("outer product", ((3,), (3,)), {"op": "mul", "views": [None, ":,None"]}),
        Sample("leading dots", ((2, 3), (2,)), {"op": "add", "views": [None, "...,None"]}),
        Sample("three operands", ((2, 1), (3,), (2, 3)), {"op": "maximum"}),
        Sample("stretched further", ((3,), (3,)), {"op": "add", "to": [2, 3]}),
        Sample("expand", ((3,),), {"to": [2, 3]}),
        Sample("expand a number", ((),), {"to": [2]}),
        Sample("nothing", ((0, 3), (3,)), {"op": "add"}),
        Sample("stretched to nothing", ((2, 1), (0,)), {"op": "mul"}),
    ),
    error_samples=(
        ErrorSample("sizes differ", ((256, 3), (128, 3)), "shape-mismatch", {"op": "add"}),
        ErrorSample("op unknown", ((2,), (2,)), "invalid-field", {"op": "plus"}),
        ErrorSample("no op", ((2,), (2,)), "invalid-field"),
        ErrorSample("neither op nor to", ((2,),), "invalid-field"),
        ErrorSample("one operand", ((2,),), "invalid-field", {"op": "add", "to": [2, 2]}),
        ErrorSample("two for a root", ((2,), (2,)), "invalid-field", {"op": "sqrt"}),
        ErrorSample("three to subtract", ((2,), (2,), (2,)), "invalid-field", {"op": "sub"}),
        ErrorSample("to is smaller", ((2, 3),), "shape-mismatch", {"to": [3]}),
        ErrorSample("to does not fit", ((2, 3),), "shape-mismatch", {"to": [4, 3]}),
        ErrorSample("to is negative", ((3,),), "invalid-field", {"to": [-1, 3]}),
        ErrorSample("views is no list", ((3,),), "invalid-field", {"to": [3], "views": ":"}),
        ErrorSample(
            "views of others", ((3,),), "invalid-field", {"to": [3], "views": [None, None]}
        ),
        ErrorSample("a view with numbers", ((3,),), "invalid-field", {"to": [3], "views": ["0"]}),
        ErrorSample("a view too deep", ((3,),), "shape-mismatch", {"to": [3], "views": [":,:"]}),
    ),
    calibration_samples=(
        *(
            Sample("rows", ((n, n), (n,)), {"op": name})
            for name in ("eq", "add", "div", "pow")
            for n in (1, 4, 16, 64, 256, 1000)
        ),
        *(Sample("view", ((n,),), {"to": [n, n]}) for n in (1, 100, 1000)),
    ),
    recheck=recheck,
)
