"""References of elementwise operations on operands of one shape."""

from collections.abc import Callable, Sequence
from functools import reduce

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


def _fold(function: Callable[..., Array], operands: Sequence[Array]) -> Array:
    """Apply a function of two operands from the left; one operand is returned as it is."""
    with np.errstate(all="ignore"):
        return np.asarray(reduce(function, operands))


def elementwise(inferred: InferredBroadcast, operands: Sequence[Array]) -> Evaluation:
    """Return the evaluation of the function; integers, whose results fit, are never rounded."""
    function = inferred.function
    count = operands[0].size
    name = inferred.name
    if operands[0].dtype.kind in "ib" or name not in ("add", "sub", "mul", "div", "pow"):
        return exactly(count * len(operands), lambda: _fold(function.numpy, operands))
    if name in ("add", "sub"):
        first, *others = operands
        terms = np.stack([first, *(-x if name == "sub" else x for x in others)])
        return sum_of_products("in->n", [terms])
    if name == "mul":
        text = ",".join("n" * len(operands)) + "->n"
        return sum_of_products(text, operands)
    each_ns = LONG_POWER_NS if name == "pow" else LONG_NS
    long = map(lengthen, operands)
    return in_long(count * each_ns, lambda: _fold(function.numpy, [*long]))
