"""References of elementwise operations on operands of one shape."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Final

import numpy as np

from service.compare.reference.evaluation import (
    LONG_NS,
    LONG_POWER_NS,
    Array,
    Evaluation,
    exactly,
    in_long,
    lengthen,
)
from service.compare.reference.products import sum_of_products
from service.operations.broadcast.definition import InferredBroadcast

# Functions whose results are rounded; `abs` is, too, where numbers are complex.
ROUNDING: Final = ("add", "sub", "mul", "div", "pow", "exp", "sqrt")


def _fold(function: Callable[..., Array], operands: Sequence[Array]) -> Array:
    """Apply a function to one operand, or from the left to several."""
    with np.errstate(all="ignore"):
        return np.asarray(function(*operands) if len(operands) == 1 else reduce(function, operands))


def elementwise(inferred: InferredBroadcast, operands: Sequence[Array]) -> Evaluation:
    """Return the evaluation of the function; integers, whose results fit, are never rounded."""
    function = inferred.function
    count = operands[0].size
    name = inferred.name
    kind = operands[0].dtype.kind
    is_exact = name not in ROUNDING and not (name == "abs" and kind == "c")
    if kind in "ib" or is_exact:
        return exactly(count * len(operands), lambda: _fold(function.numpy, operands))
    if name in ("add", "sub"):
        first, *others = operands
        terms = np.stack([first, *(-x if name == "sub" else x for x in others)])
        return sum_of_products("in->n", [terms])
    if name == "mul":
        text = ",".join("n" * len(operands)) + "->n"
        return sum_of_products(text, operands)
    each_ns = LONG_POWER_NS if name in ("pow", "exp") else LONG_NS
    long = map(lengthen, operands)
    return in_long(count * each_ns, lambda: _fold(function.numpy, [*long]))
