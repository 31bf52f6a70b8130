"""The elementwise functions on Python numbers, held against numpy and torch."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.operations.elementwise import (
    BOUNDS,
    EXPANSION,
    FUNCTIONS,
    INTEGER_DIVISION,
    UNARY,
    Function,
    divide,
    maximum,
    minimum,
    power,
)

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -3.0, 1e308, -1e308, 5e-324, math.inf, math.nan)
FLOATS = st.one_of(st.sampled_from([*SPECIAL, -math.inf]), st.floats(), st.floats(-9, 9))
each_function = pytest.mark.parametrize("name", FUNCTIONS)


def same(a: float, b: float) -> bool:
    """Return whether two numbers are nearly equal or both NaN; zeros need equal signs."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    signs = math.copysign(1, a) == math.copysign(1, b)
    return signs and (a == b or math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-320))


@settings(max_examples=400)
@given(FLOATS, FLOATS)
@example(-1e200, 3.0)
@example(-1e200, 2.0)
@example(1e200, -3.0)
@example(-8.0, 1 / 3)
@example(-0.0, -3.0)
@example(-0.0, -2.0)
@example(0.0, -0.5)
@example(-0.0, -math.inf)
@example(-0.0, 0.5)
@example(-math.inf, 0.5)
def test_divide_and_power(a: float, b: float) -> None:
    """Zeros, infinities, overflow and roots of negative numbers give what IEEE 754 gives."""
    with np.errstate(all="ignore"):
        assert same(divide(a, b), np.divide(a, b))
        # For one exponent of 0.5 alone numpy takes a root, which differs for -0.0 and -inf.
        assert same(power(a, b), np.power([a, a], [b, 1.0])[0])


@settings(max_examples=200)
@given(FLOATS, FLOATS)
def test_maximum_and_minimum(a: float, b: float) -> None:
    """NaN takes precedence over numbers, as in numpy and torch."""
    # Zeros of either sign are equal: which one comes back is left open.
    assert same(maximum(a, b) + 0.0, float(np.maximum(a, b)) + 0.0)
    assert same(minimum(a, b) + 0.0, float(np.minimum(a, b)) + 0.0)


@given(st.integers(-50, 50), st.integers(-50, 50).filter(bool))
def test_integers_divide_exactly(quotient: int, divisor: int) -> None:
    """An exact quotient of integers is an integer, with each backend."""
    dividend = quotient * divisor
    assert divide(dividend, divisor) == quotient
    assert type(divide(dividend, divisor)) is int
    assert INTEGER_DIVISION.torch(torch.tensor(dividend), torch.tensor(divisor)) == quotient
    assert INTEGER_DIVISION.numpy(np.array(dividend), np.array(divisor)) == quotient
    assert INTEGER_DIVISION.python(dividend, divisor) == quotient


@pytest.mark.parametrize(("a", "b"), [(0, 0), (-3, 3), (7, 0), (2, 62), (-1, 1_000_001)])
def test_integers_to_a_power(a: int, b: int) -> None:
    """A power of integers is an integer, without rounding."""
    assert power(a, b) == a**b
    assert type(power(a, b)) is int


@settings(max_examples=100)
@given(st.sampled_from(sorted(UNARY)), FLOATS)
@example("exp", 710.0)
@example("relu", math.nan)
@example("sqrt", -0.0)
@example("sqrt", -1.0)
def test_functions_of_one_operand(name: str, a: float) -> None:
    """Overflow, roots of negative numbers and NaN give what numpy and torch give."""
    function, x = UNARY[name], np.array([a])
    with np.errstate(all="ignore"):
        expected = float(function.numpy(x)[0]) + 0.0  # zeros of either sign are equal
    assert same(function.python(a) + 0.0, expected)
    assert same(function.torch(torch.from_numpy(x)).item() + 0.0, expected)


def test_integers_and_complex_numbers_of_one_operand() -> None:
    """Integers stay integers; a magnitude beyond the range is an infinity."""
    assert [UNARY["relu"].python(x) for x in (-3, 4)] == [0, 4]
    assert type(UNARY["relu"].python(-3)) is int
    assert UNARY["abs"].python(complex(1.5e308, 1.5e308)) == math.inf
    assert UNARY["abs"].python(3 - 4j) == 5.0


@each_function
def test_worlds_agree(name: str) -> None:
    """A function is the same in torch, in numpy and on Python numbers."""
    function = FUNCTIONS[name]
    for a in (-2.0, 0.5, 3.0):
        for b in (-2.0, 1.0, 3.0):
            one = function.torch(torch.tensor(a, dtype=torch.float64), torch.tensor(b)).item()
            assert one == function.numpy(a, b) == pytest.approx(function.python(a, b))


@each_function
def test_what_a_function_takes(name: str) -> None:
    """Comparisons give bool; order needs real numbers; what folds is associative."""
    function = FUNCTIONS[name]
    x = torch.ones(2)
    assert (function.torch(x, x).dtype == torch.bool) == function.compares
    assert function.folds == (name in ("add", "mul", "maximum", "minimum"))
    if function.orders:
        with pytest.raises(RuntimeError):
            function.torch(x.to(torch.complex64), x.to(torch.complex64))
    else:
        function.torch(x.to(torch.complex64), x.to(torch.complex64))


@given(st.sampled_from(["add", "sub", "mul", "pow", "div"]), st.integers(-9, 9), st.integers(-9, 9))
def test_bounds(name: str, a: int, b: int) -> None:
    """A bound by magnitudes holds for every result."""
    if name == "pow":
        b = abs(b)
        a = a or 1
    if name == "div":
        a, b = a * (b or 1), b or 1
    function: Function = INTEGER_DIVISION if name == "div" else FUNCTIONS[name]
    result: Any = function.python(a, b)
    assert abs(result) <= BOUNDS[name](abs(a), abs(b))
    assert BOUNDS[name](np.float64(abs(a)), np.float64(abs(b))) == BOUNDS[name](abs(a), abs(b))


def test_bound_of_a_large_power() -> None:
    """The bound of a power is limited, so that it does not fill the memory."""
    assert BOUNDS["pow"](2, 10**9) == 2**64
    assert BOUNDS["pow"](1, 10**9) == 1


def test_expansion_copies() -> None:
    """Expanding computes nothing; torch and numpy return new memory."""
    x = torch.arange(3).expand(2, 3)
    assert EXPANSION.torch(x).tolist() == EXPANSION.numpy(x.numpy()).tolist() == x.tolist()
    assert EXPANSION.torch(x).data_ptr() != x.data_ptr()
    assert EXPANSION.python(5) == 5
