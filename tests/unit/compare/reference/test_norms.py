"""Tests of references of norms: every order, axis and dtype, and numbers of any size."""

from math import inf, isnan, nan
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.compare.reference import singular
from service.compare.reference.evaluation import LONG_BITS
from tests.unit.compare.reference import oracle
from tests.unit.compare.reference.oracle import assert_holds, elements, reference, tensors

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.floats(-2, 2),
    st.sampled_from([0.0, 1.0, 1e200, -1e200, 1e-200, 1.7e308]),
)
# Bits of a sum of powers that long floats hold at least.
LONG = LONG_BITS - 6


@settings(max_examples=40)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 2), st.integers(1, 4)), elements=FLOATS),
    st.sampled_from([2, 1, 0, inf, -inf]),
    st.booleans(),
)
def test_norms_of_vectors_are_exact(x: Any, ord: float, keepdim: bool) -> None:
    """Squares neither overflow nor underflow."""
    raw = {"ord": str(ord) if abs(ord) == inf else ord, "dim": 1, "keepdim": keepdim}
    found = reference("norm", tensors(x), **raw)
    assert found.basis.method == "exact arithmetic"
    assert found.high.shape == ((len(x), 1) if keepdim else (len(x),))
    for index, high, whole in elements(found):
        assert_holds(high, whole, oracle.vector_norm(x[index[0]], ord), bits=100)


@settings(max_examples=40)
@given(
    hnp.arrays(np.float64, st.integers(1, 5), elements=FLOATS),
    st.sampled_from([3, 0.5, 1.5, -1, -2, 7, 30]),
)
def test_norms_of_other_orders_have_the_bits_of_long_floats(x: Any, ord: float) -> None:
    """Powers are scaled, so that none overflows that matters."""
    found = reference("norm", tensors(x), ord=ord)
    assert found.basis.method == f"floats of {LONG_BITS} bits"
    for _, high, whole in elements(found):
        assert_holds(high, whole, oracle.vector_norm(x, ord), bits=LONG)


@settings(max_examples=30)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(2)), elements=FLOATS),
    st.sampled_from([2, 1, 0, inf, -inf, 3, -1]),
)
def test_norms_of_complex_vectors(parts: Any, ord: float) -> None:
    """By their magnitudes, none of which overflows."""
    x = parts.view(np.complex128)[:, 0]
    found = reference("norm", tensors(x), ord=str(ord) if abs(ord) == inf else ord)
    assert found.high.dtype == np.float64
    for _, high, whole in elements(found):
        assert_holds(high, whole, oracle.vector_norm(x, ord), bits=LONG)


@settings(max_examples=20)
@given(
    hnp.arrays(np.float64, (2, 2, 3, 2), elements=st.floats(-2, 2).filter(lambda x: abs(x) > 1e-9)),
    st.sampled_from(["fro", "nuc", inf, -inf, 1, -1, 2, -2]),
    st.booleans(),
)
def test_norms_of_matrices(parts: Any, ord: float | str, is_complex: bool) -> None:
    """Over two axes that are not the last, in the other order too."""
    x = parts.view(np.complex128)[..., 0] if is_complex else parts[..., 0]
    raw = {"ord": ord if isinstance(ord, str) or abs(ord) != inf else str(ord), "kind": "matrix"}
    for dim, order in (((0, 2), (1, 0, 2)), ((2, 0), (1, 2, 0))):
        found = reference("norm", tensors(x), **raw, dim=list(dim))
        for index, high, whole in elements(found):
            matrix = x.transpose(order)[index]
            # The least singular value has the error of the greatest.
            least = 2.0**-LONG * float(np.abs(matrix).sum())
            assert_holds(high, whole, oracle.matrix_norm(matrix, ord), bits=LONG, least=least)


@pytest.mark.parametrize("ord", ["nuc", 2, -2])
@pytest.mark.parametrize("shape", [(5, 5), (6, 3), (2, 7), (1, 4), (3, 1)])
@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_singular_values_of_any_size(
    ord: float | str, shape: tuple[int, int], scale: float
) -> None:
    """Rotations of all pairs, also of an odd number of columns."""
    x = np.random.default_rng(7).standard_normal(shape) * scale
    found = reference("norm", tensors(x), ord=ord)
    for _, high, whole in elements(found):
        least = 2.0**-LONG * float(np.abs(x).sum())
        assert_holds(high, whole, oracle.matrix_norm(x, ord), bits=LONG, least=least)


def test_rotations_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a number of sweeps, even if the last bits do not settle."""
    monkeypatch.setattr(singular, "MAX_SWEEPS", 3)
    x = np.random.default_rng(7).standard_normal((6, 6))
    assert singular.singular_values(x).sum() == pytest.approx(np.linalg.norm(x, "nuc"), rel=1e-2)


def test_singular_values_of_dependent_columns() -> None:
    """Of rank one, and of nothing but zeros."""
    found = reference("norm", tensors(np.ones((4, 3))), ord="nuc")
    assert float(found.high) == pytest.approx(12**0.5, rel=1e-15)
    assert float(reference("norm", tensors(np.ones((3, 3))), ord=-2).high) < 1e-15
    assert float(reference("norm", tensors(np.zeros((3, 3))), ord=2).high) == 0


@pytest.mark.parametrize(
    ("x", "raw", "expected"),
    [
        ([inf, 1], {}, inf),
        ([-inf, 1], {"ord": 1}, inf),
        ([nan, inf], {}, nan),
        ([nan, inf], {"ord": 3}, nan),
        ([inf, 1], {"ord": 3}, inf),
        ([inf, 1], {"ord": -1}, 1),
        ([0, 1], {"ord": -1}, 0),
        ([0, 0], {"ord": 3}, 0),
        ([nan, 1], {"ord": "inf"}, nan),
        ([nan, 0], {"ord": 0}, 1),
        ([[1, nan], [2, 3]], {"ord": 1}, nan),
        ([[1, nan], [2, 3]], {"ord": -1}, nan),
        ([[1, inf], [2, 3]], {"ord": 1}, inf),
        ([[1, inf], [2, 3]], {"ord": "nuc"}, nan),
        ([1e308, 1e308, 1e308, 1e308], {}, inf),
    ],
)
def test_special_values(x: Any, raw: dict[str, Any], expected: float) -> None:
    """NaN and infinities, and zeros under negative powers."""
    high = float(reference("norm", tensors(np.array(x, np.float64)), **raw).high)
    assert isnan(high) if isnan(expected) else high == expected


@pytest.mark.parametrize(
    ("shape", "raw", "expected"),
    [
        ((0,), {}, 0.0),
        ((0,), {"ord": 3}, 0.0),
        ((2, 0), {"dim": 1}, [0.0, 0.0]),
        ((0, 3), {"ord": "nuc"}, 0.0),
        ((3, 0), {"ord": 2}, 0.0),
        ((0, 3), {"ord": "inf"}, 0.0),
        ((0, 3), {"ord": 1}, 0.0),
        ((3, 0), {"ord": 1}, 0.0),
        ((), {}, 1.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_norms_of_nothing(
    shape: tuple[int, ...], raw: dict[str, Any], expected: object, dtype: torch.dtype
) -> None:
    """A sum of no numbers is 0; a single number is its own norm."""
    assert reference("norm", [torch.ones(shape, dtype=dtype)], **raw).high.tolist() == expected


def test_integers_become_floats_first() -> None:
    """As in every strategy: the reference of 2**53 + 1 is that of 2**53."""
    found = reference("norm", [torch.tensor([2**53 + 1])], ord=1)
    assert (float(found.high), float(found.low)) == (2.0**53, 0)
    assert found.dtype == torch.float64


def test_many_matrices_are_sampled() -> None:
    """Their singular values take longer than there is time for."""
    x = torch.randn(4000, 8, 8, generator=torch.Generator().manual_seed(3)).double()
    found = reference("norm", [x], ord="nuc", dim=[1, 2])
    assert 2 <= found.basis.checked < 4000
    assert found.grid[0][[0, -1]].tolist() == [0, 3999]
    last = oracle.matrix_norm(x[3999].numpy(), "nuc")
    assert abs(mpmath.mpf(float(found.high[-1])) - last) < 1e-14


def test_a_large_matrix_is_judged_in_float64() -> None:
    """And it is said by what."""
    found = reference("norm", [torch.ones(200, 200)], ord="nuc")
    assert found.basis.method == "float64 by the strategy torch"
    assert float(found.high) == pytest.approx(200)
