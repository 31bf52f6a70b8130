"""Tests of references of elementwise operations."""

from functools import reduce
from math import inf, nan
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.compare.reference.evaluation import LONG_BITS
from service.core.dtypes import DTYPES
from tests.unit.compare.reference.oracle import (
    assert_holds,
    elements,
    number,
    reference,
    tensors,
)

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.floats(-2, 2, allow_subnormal=False),
    st.sampled_from([1e200, -1e200, 1e-200, 1e16, 1.0]),
)
ARRAYS = hnp.arrays(np.float64, 3, elements=FLOATS)
FUNCTIONS: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


@settings(max_examples=40)
@given(st.sampled_from(sorted(FUNCTIONS)), ARRAYS, ARRAYS)
def test_arithmetic(op: str, a: Any, b: Any) -> None:
    """Sums and products are exact; quotients have the bits of long floats."""
    b = np.where(b == 0, 1, b)
    found = reference("broadcast", tensors(a, b), op=op)
    for (index,), high, whole in elements(found):
        expected = FUNCTIONS[op](number(a[index]), number(b[index]))
        assert_holds(high, whole, expected, bits=LONG_BITS - 1 if op == "div" else 100)


@settings(max_examples=25)
@given(st.sampled_from(["add", "mul"]), ARRAYS, ARRAYS, ARRAYS)
def test_folds(op: str, a: Any, b: Any, c: Any) -> None:
    """Three operands are combined exactly, also where two of them cancel or overflow."""
    found = reference("broadcast", tensors(a, b, c), op=op)
    for (index,), high, whole in elements(found):
        expected = reduce(FUNCTIONS[op], (number(x[index]) for x in (a, b, c)))
        assert_holds(high, whole, expected, bits=100)


@settings(max_examples=30)
@given(
    hnp.arrays(np.float64, 3, elements=st.floats(0.01, 100)),
    hnp.arrays(np.float64, 3, elements=st.floats(-50, 50)),
)
def test_powers(a: Any, b: Any) -> None:
    """With the bits of long floats."""
    found = reference("broadcast", tensors(a, b), op="pow")
    with mpmath.workprec(300):
        for (index,), high, whole in elements(found):
            assert_holds(high, whole, number(a[index]) ** number(b[index]), bits=LONG_BITS - 3)


@settings(max_examples=40)
@given(st.sampled_from(sorted(FUNCTIONS)), st.data())
def test_complex_arithmetic(op: str, data: st.DataObject) -> None:
    """In both parts, relative to the magnitude."""
    parts = hnp.arrays(np.float64, (3, 2), elements=st.floats(0.5, 2))
    a, b = (data.draw(parts).view(np.complex128)[:, 0] for _ in range(2))
    found = reference("broadcast", tensors(a, b), op=op)
    for (index,), high, whole in elements(found):
        expected = FUNCTIONS[op](number(a[index]), number(b[index]))
        assert_holds(high, whole, expected, bits=LONG_BITS - 4, least=1e-18)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize(
    "op", ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "lt", "eq"]
)
def test_every_operation_and_dtype(op: str, dtype: str) -> None:
    """The reference is what torch computes of small integers."""
    kind = DTYPES[dtype]
    ordered = op in ("maximum", "minimum", "lt")
    if (kind.kind == "bool" and op not in ("lt", "eq")) or (kind.kind == "complex" and ordered):
        return
    a = torch.tensor([[4, 2], [8, 6]]).to(kind.torch)
    b = torch.tensor([2, 1]).to(kind.torch)
    found = reference("broadcast", [a, b], op=op)
    function = getattr(torch, op)
    np.testing.assert_allclose(found.high, function(a, b).to(torch.complex128).numpy(), rtol=1e-6)
    assert found.basis.checked == 4


def test_indexed_and_expanded_operands() -> None:
    """Views and `to` as the call has them."""
    x, y = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([1.0, 2.0])
    found = reference("broadcast", [x, y], op="mul", views=[None, ":,None"], to=[2, 2, 3])
    assert found.high.tolist() == [[[10, 20, 30], [20, 40, 60]]] * 2
    assert reference("broadcast", [y], to=[2, 2]).high.tolist() == [[1, 2]] * 2
    assert reference("broadcast", [torch.tensor(True)], to=[2]).high.tolist() == [True, True]


@pytest.mark.parametrize(
    ("op", "a", "b", "expected"),
    [
        ("add", inf, -inf, nan),
        ("add", inf, 1e308, inf),
        ("mul", 0.0, inf, nan),
        ("mul", -2.0, inf, -inf),
        ("div", 1.0, 0.0, inf),
        ("div", 0.0, 0.0, nan),
        ("pow", -8.0, 1 / 3, nan),
        ("pow", 1e200, 2.0, inf),
        ("maximum", nan, 1.0, nan),
        ("sub", nan, 1.0, nan),
    ],
)
def test_special_values(op: str, a: float, b: float, expected: float) -> None:
    """As IEEE 754 has them."""
    found = reference("broadcast", tensors(np.array([a]), np.array([b])), op=op)
    np.testing.assert_array_equal(found.high, [expected])
    assert np.isfinite(found.low).all()


def test_a_large_result_is_sampled() -> None:
    """Spread over both axes, with the first and the last; each is what the whole result has."""
    generator = torch.Generator().manual_seed(5)
    a = torch.randn(1500, 1500, generator=generator).double()
    b = torch.randn(1500, generator=generator).double()
    found = reference("broadcast", [a, b], op="add")
    rows, columns = found.grid
    assert found.basis.elements == 1500**2
    assert 1000 < found.basis.checked == len(rows) * len(columns) < 1500**2
    assert rows[[0, -1]].tolist() == columns[[0, -1]].tolist() == [0, 1499]
    sums = (a + b).numpy()[np.ix_(rows, columns)]
    np.testing.assert_array_equal(found.high, sums)
    np.testing.assert_array_equal(found.pick(a + b), sums)


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64", "complex128"])
@pytest.mark.parametrize("op", ["relu", "exp", "neg", "abs", "sqrt"])
def test_functions_of_one_operand(op: str, dtype: str) -> None:
    """Exact, or with the bits of long floats."""
    kind = DTYPES[dtype]
    if (op == "relu" and kind.kind == "complex") or (op in ("exp", "sqrt") and dtype == "int8"):
        return
    a = torch.tensor([4, 1, 0]).to(kind.torch)
    found = reference("broadcast", [a if op == "sqrt" else a - 2], op=op)
    expected = getattr(torch, op)(a if op == "sqrt" else a - 2)
    np.testing.assert_allclose(found.high, expected.to(torch.complex128).numpy(), rtol=1e-6)
    rounds = op in ("exp", "sqrt") or (op == "abs" and kind.kind == "complex")
    assert ("exact" in found.basis.method) != rounds
