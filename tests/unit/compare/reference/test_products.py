"""Tests of sums of products: exact for all numbers, orders and equations."""

from math import inf, isnan, nan, prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.core.dtypes import DTYPES
from tests.unit.compare.reference import oracle
from tests.unit.compare.reference.oracle import Array, assert_holds, elements, reference, tensors

# Equations with the shapes of their operands.
EQUATIONS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ij,jk->ik", ((2, 3), (3, 2))),
    ("ij,jk->ik", ((2, 1), (3, 2))),
    ("bij,bjk->bik", ((2, 2, 2), (1, 2, 2))),
    ("i,i->", ((5,), (5,))),
    ("i,j->ij", ((2,), (3,))),
    ("ii->i", ((3, 3),)),
    ("ii->", ((3, 3),)),
    ("ij->ji", ((2, 3),)),
    ("ij->", ((2, 3),)),
    ("ii,ij->j", ((2, 2), (2, 3))),
    ("ij,jk,kl->il", ((2, 2), (2, 2), (2, 2))),
    ("ij,jk,ki->", ((2, 2), (2, 2), (2, 2))),
    ("ij,k->i", ((2, 2), (3,))),
]
# All finite numbers, those of one size, and small integers, whose sums cancel.
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-2, 2),
    st.integers(-3, 3).map(float),
    st.sampled_from([1e16, -1e16, 1e200, -1e200, 1e-200, 5e-324, 1.7e308]),
)


@st.composite
def calls(draw: Any, dtype: type = np.float64) -> tuple[str, list[Array]]:
    """Return an equation and its operands."""
    equation, shapes = draw(st.sampled_from(EQUATIONS))
    if dtype is np.complex128:
        operands = [
            draw(hnp.arrays(np.float64, (*shape, 2), elements=FLOATS)).view(np.complex128)[..., 0]
            for shape in shapes
        ]
    else:
        operands = [draw(hnp.arrays(np.float64, shape, elements=FLOATS)) for shape in shapes]
    return equation, operands


@settings(max_examples=60)
@given(calls())
def test_sums_of_products_are_exact(call: tuple[str, list[Array]]) -> None:
    """Of any exponents, and however much of them cancels."""
    equation, operands = call
    found = reference("einsum", tensors(*operands), equation=equation)
    expected = oracle.einsum(equation, operands)
    assert found.basis.method == "exact arithmetic"
    for index, high, whole in elements(found):
        assert_holds(high, whole, expected[index], bits=100)


@settings(max_examples=25)
@given(calls(np.complex128))
def test_sums_of_complex_products_are_exact(call: tuple[str, list[Array]]) -> None:
    """In each of their parts."""
    equation, operands = call
    found = reference("einsum", tensors(*operands), equation=equation)
    expected = oracle.einsum(equation, operands)
    for index, high, _ in elements(found):
        for part in ("real", "imag"):
            value, low = getattr(high, part), getattr(found.low[index], part)
            whole = oracle.number(value) + oracle.number(low) if np.isfinite(value) else None
            assert_holds(value, whole, getattr(expected[index], part), bits=100)


@settings(max_examples=30)
@given(st.data())
def test_products_of_integers_are_exact(data: st.DataObject) -> None:
    """Up to the ends of int64."""
    edges = st.sampled_from([-(2**31), 2**31 - 1, -1, 0, 1]) | st.integers(-(2**30), 2**30)
    a = data.draw(hnp.arrays(np.int64, (2, 2), elements=edges))
    b = data.draw(hnp.arrays(np.int64, (2, 1), elements=st.integers(-(2**30), 2**30)))
    found = reference("matmul", tensors(a, b))
    assert found.high.dtype == np.int64
    assert found.high.tolist() == (a.astype(object) @ b.astype(object)).tolist()
    assert not found.low.any()


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0, -1])
def test_one_integer_is_exact(value: int) -> None:
    """Its digits are those of two's complement."""
    assert reference("matmul", tensors(np.array([value]), np.array([1]))).high == value


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {"bool"}))
def test_every_dtype_has_a_reference(dtype: str) -> None:
    """In the widest dtype of its kind."""
    kind = DTYPES[dtype]
    operands = [torch.tensor([[1, 2], [3, 4]], dtype=kind.torch)] * 2
    for found in (
        reference("matmul", operands),
        reference("einsum", operands, equation="ij,jk"),
    ):
        assert found.high.tolist() == [[7, 10], [15, 22]]
        wide = {"integer": np.int64, "complex": np.complex128}.get(kind.kind, np.float64)
        assert (found.high.dtype, found.dtype) == (np.dtype(wide), kind.torch)


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 1, 2, 3), (3, 3, 2)), ((3,), (2, 3, 2))],
)
def test_a_product_broadcasts_its_batches(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """As torch.matmul does."""
    operands = [torch.arange(prod(shape)).reshape(shape).double() for shape in (a, b)]
    assert reference("matmul", operands).high.tolist() == (operands[0] @ operands[1]).tolist()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([inf, 1], [1, 1], inf),
        ([inf, 1], [0, 1], nan),
        ([inf, 1], [-1, inf], nan),
        ([nan, 1], [0, 1], nan),
        ([-inf, 1e308], [1, 1e308], -inf),
        ([1e308, 1e308], [10, -10], 0),
        ([1e308, -1e308], [10, 10], 0),
        ([1e308, 1e308], [1, 1], inf),
        ([-1e308, -1e308], [1, 1], -inf),
        ([1e16, 1, -1e16], [1, 1, 1], 1),
        ([1e200, 1e-150, -1e200], [1e200, 1e-150, 1e200], 1e-300),
        ([5e-324, 5e-324], [0.5, 0.5], 5e-324),
    ],
)
def test_special_values_and_cancellation(a: list[float], b: list[float], expected: float) -> None:
    """NaN and infinities follow IEEE 754, but no finite number becomes one on the way."""
    found = reference("matmul", tensors(np.array(a, np.float64), np.array(b, np.float64)))
    high = float(found.high)
    if isnan(expected):
        assert isnan(high)
    else:
        assert high == pytest.approx(expected, rel=1e-15, abs=0)
    assert np.isfinite(found.low).all()


def test_parts_of_complex_numbers_are_special_alone() -> None:
    """An infinite real part leaves the imaginary part as it is."""
    x = torch.tensor([complex(inf, 2), complex(1, 3)], dtype=torch.complex128)
    found = reference("einsum", [x], equation="i->").high
    assert complex(found) == complex(inf, 5)


def test_nothing_to_add_is_zero() -> None:
    """An empty sum is 0, and an empty result has no element."""
    assert reference("matmul", [torch.ones(2, 0), torch.ones(0, 2)]).high.tolist() == [[0, 0]] * 2
    empty = reference("matmul", [torch.ones(0, 2), torch.ones(2, 3)])
    assert (empty.high.shape, empty.basis.checked) == ((0, 3), 0)


def test_a_long_sum_is_exact() -> None:
    """A hundred thousand products, of which all but one cancel."""
    x = np.random.default_rng(1).standard_normal(100_000)
    a, b = np.concatenate([x, [1e-30], x]), np.concatenate([x, [1], -x])
    found = reference("matmul", tensors(a, b))
    assert float(found.high) == 1e-30
