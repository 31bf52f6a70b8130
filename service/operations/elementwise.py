"""Elementwise functions of broadcast by name, for torch, numpy and Python numbers.

Python raises where IEEE 754 defines a result. The functions here return that result, so that
strategies over Python lists agree with torch and numpy.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import numpy as np
import torch

from service.core.call import Tensor


def divide(a: float, b: float) -> float:
    """Return a / b: an infinity for b = 0, NaN for 0 / 0. Integers use floor division."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if b:
        return a / b
    if a == 0 or isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def power(a: float, b: float) -> float:
    """Return a ** b: an infinity if it overflows, NaN for a root of a negative number."""
    if isinstance(a, int) and isinstance(b, int):
        return int(a**b)
    try:
        return math.pow(a, b)
    except OverflowError:
        return math.copysign(math.inf, a) if _odd(b) else math.inf
    except ValueError:
        if a:
            return math.nan
        return math.copysign(math.inf, a) if _odd(b) else math.inf


def maximum(a: float, b: float) -> float:
    """Return the greater of two numbers; NaN if either is NaN."""
    return a if a >= b or isnan(a) else b


def minimum(a: float, b: float) -> float:
    """Return the lesser of two numbers; NaN if either is NaN."""
    return a if a <= b or isnan(a) else b


def positive_part(a: float) -> float:
    """Return the number, or 0 in place of a negative one; NaN stays."""
    return a if a > 0 or isnan(a) else type(a)(0)


def exponential(a: float) -> float:
    """Return e to the power a: an infinity if it overflows."""
    try:
        return math.exp(a)
    except OverflowError:
        return math.inf


def root(a: float) -> float:
    """Return the square root; NaN for a negative number."""
    return math.nan if a < 0 else math.sqrt(a)


def absolute(a: Any) -> float:
    """Return the magnitude; an infinity if that of a complex number overflows."""
    return math.hypot(a.real, a.imag) if isinstance(a, complex) else abs(a)


def _odd(b: float) -> bool:
    """Return whether `b` is an odd integer."""
    return float(b).is_integer() and b % 2 == 1


@dataclass(frozen=True, slots=True)
class Function:
    """An elementwise function for each backend: torch, numpy and Python numbers.

    It `compares` if its result is bool, `orders` if it needs an order (complex numbers have none),
    and `folds` if it takes more than two operands. Its result `rounds` if integers are not enough.
    """

    torch: Callable[..., Tensor]
    numpy: Callable[..., Any]
    python: Callable[..., Any]
    compares: bool = False
    orders: bool = False
    folds: bool = False
    rounds: bool = False


# Of one operand.
UNARY: Final[Mapping[str, Function]] = {
    "relu": Function(torch.relu, lambda x: np.maximum(x, 0), positive_part, orders=True),
    "exp": Function(torch.exp, np.exp, exponential, rounds=True),
    "neg": Function(torch.neg, np.negative, operator.neg),
    "abs": Function(torch.abs, np.absolute, absolute),
    "sqrt": Function(torch.sqrt, np.sqrt, root, rounds=True),
}
# Of two operands, and of more if they fold.
FUNCTIONS: Final[Mapping[str, Function]] = {
    "add": Function(torch.add, np.add, operator.add, folds=True),
    "sub": Function(torch.sub, np.subtract, operator.sub),
    "mul": Function(torch.mul, np.multiply, operator.mul, folds=True),
    "div": Function(torch.div, np.divide, divide),
    "pow": Function(torch.pow, np.power, power),
    "maximum": Function(torch.maximum, np.maximum, maximum, orders=True, folds=True),
    "minimum": Function(torch.minimum, np.minimum, minimum, orders=True, folds=True),
    "eq": Function(torch.eq, np.equal, operator.eq, compares=True),
    "ne": Function(torch.ne, np.not_equal, operator.ne, compares=True),
    "lt": Function(torch.lt, np.less, operator.lt, compares=True, orders=True),
    "le": Function(torch.le, np.less_equal, operator.le, compares=True, orders=True),
    "gt": Function(torch.gt, np.greater, operator.gt, compares=True, orders=True),
    "ge": Function(torch.ge, np.greater_equal, operator.ge, compares=True, orders=True),
}
# The greatest magnitude of a result, by the magnitudes of its operands; that of one operand stays.
BOUNDS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add,
    "sub": operator.add,
    "mul": operator.mul,
    "div": lambda a, b: a,
    "pow": lambda a, b: a ** (min(b, 64) if isinstance(b, int) else b),
    "neg": max,
    "abs": max,
}
INTEGER_DIVISION: Final = Function(
    lambda a, b: torch.div(a, b, rounding_mode="trunc"), np.floor_divide, divide
)
EXPANSION: Final = Function(torch.clone, lambda x: x.copy(), lambda x: x)
