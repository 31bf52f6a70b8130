"""Tests of the agreement of a result with its reference: errors, tolerances, special values."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from service.compare.agreement import Agreement, agreement
from service.compare.reference import Basis, Reference
from service.compare.reference.sampling import spread
from service.core.dtypes import DTYPES


def reference_of(high: object, low: object = 0.0, dtype: torch.dtype = torch.float64) -> Reference:
    """Return a reference with these values, all of which are checked."""
    values = np.asarray(high)
    basis = Basis("by hand", values.size, values.size)
    missing = np.broadcast_to(np.asarray(low, values.dtype), values.shape)
    return Reference(values, missing, dtype, spread(values.shape, values.shape), basis)


def check(result: object, reference: object, rtol: float = 1e-3, atol: float = 1e-5) -> Agreement:
    """Return the agreement of two lists."""
    found = torch.from_numpy(np.asarray(result))
    return agreement([found], [reference_of(reference, dtype=found.dtype)], rtol=rtol, atol=atol)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("result", "reference", "expected"),
    [
        pytest.param([1.0, 2.0], [1.0, 2.0], (0, 0, 0, None), id="equal"),
        pytest.param([NAN, 1.0], [NAN, 1.0], (0, 0, 0, None), id="NaN equals NaN"),
        pytest.param([NAN, 1.0], [1.0, 1.0], (INF, INF, 1, (0,)), id="NaN for a number"),
        pytest.param([1.0, 1.0], [1.0, NAN], (INF, INF, 1, (1,)), id="a number for NaN"),
        pytest.param([INF, -INF], [INF, -INF], (0, 0, 0, None), id="infinities"),
        pytest.param([INF], [-INF], (INF, INF, 1, (0,)), id="an infinity's sign"),
        pytest.param([INF], [1.0], (INF, INF, 1, (0,)), id="overflow"),
        pytest.param([1.0], [INF], (INF, INF, 1, (0,)), id="a number for infinity"),
        pytest.param([1.0], [NAN], (INF, INF, 1, (0,)), id="only NaN"),
        pytest.param([0.0], [-0.0], (0, 0, 0, None), id="signed zeros"),
        pytest.param([1e-6], [0.0], (1e-6, INF, 0, (0,)), id="near a zero reference"),
        pytest.param([1.0], [0.0], (1, INF, 1, (0,)), id="far from a zero reference"),
        pytest.param([-1e308], [1e308], (INF, INF, 1, (0,)), id="a distance beyond float64"),
        pytest.param([], [], (0, 0, 0, None), id="empty"),
        pytest.param(1.5, 1.0, (0.5, 0.5, 1, ()), id="numbers"),
        pytest.param([[1, 2], [3, 5]], [[1, 2], [3, 4]], (1, 0.25, 1, (1, 1)), id="integers"),
        pytest.param([2**62 + 1], [2**62], (1, 2.0**-62, 0, (0,)), id="large integers"),
        pytest.param([-(2**63)], [2**63 - 1], (2.0**64, 2, 1, (0,)), id="all integers apart"),
        pytest.param([1 + 1j], [1 + 0j], (1, 1, 1, (0,)), id="complex"),
        pytest.param([complex(NAN, 1)], [complex(NAN, 1)], (0, 0, 0, None), id="complex NaN"),
    ],
)
def test_agreement_of_special_values(
    result: object, reference: object, expected: tuple[Any, ...]
) -> None:
    """Greatest absolute and relative error, how many disagree, and the index of the worst."""
    found = check(result, reference)
    figures = (found.max_abs_error, found.max_rel_error, found.disagreeing, found.worst)
    assert figures == expected
    assert found.agrees == (expected[2] == 0)


def test_the_worst_is_one_that_disagrees() -> None:
    """A large error within the tolerance of a large number does not hide a small one outside."""
    found = check([1e6 + 100, 1.5, 3.0], [1e6, 1.0, 3.0])
    assert (found.max_abs_error, found.disagreeing, found.worst) == (100, 1, (1,))
    found = check([1e6 + 100, 1.0, 3.0], [1e6, 1.0, 3.0])
    assert (found.agrees, found.worst) == (True, (0,))


def test_the_bound_itself_agrees() -> None:
    """An element disagrees where its error is more than atol + rtol * |reference|."""
    assert check([1.5], [1.0], rtol=0.25, atol=0.25).agrees
    assert not check([1.5000001], [1.0], rtol=0.25, atol=0.25).agrees
    assert not check([-1.0], [1.0]).agrees


def test_a_rounded_result_is_off_by_half_a_unit_at_most() -> None:
    """The low part of the reference counts: 1 of 1 + 2**-54 is off by a quarter of an ulp."""
    found = agreement(
        [torch.ones(1).double()], [reference_of([1.0], 2.0**-54)], rtol=0, atol=2.0**-54
    )
    assert (found.max_abs_error, found.max_ulp_error) == (2.0**-54, 0.25)
    assert found.agrees
    exact = agreement([torch.ones(1).double()], [reference_of([1.0], 2.0**-54)], rtol=0, atol=0)
    assert not exact.agrees


@pytest.mark.parametrize(
    ("dtype", "ulp"),
    [
        ("float64", 2.0**-51),
        ("float32", 2.0**-22),
        ("float16", 2.0**-9),
        ("bfloat16", 2.0**-6),
        ("complex128", 2.0**-51),
        ("complex64", 2.0**-22),
        ("int8", 1),
        ("int64", 1),
    ],
)
def test_a_unit_in_the_last_place_is_of_the_result(dtype: str, ulp: float) -> None:
    """Of its dtype, at the reference: numbers from 2 to 4 are apart by 2**-51 in float64."""
    kind = DTYPES[dtype]
    wide = {"integer": "int64", "complex": "complex128"}.get(kind.kind, "float64")
    result = torch.tensor([3, 3, 3, 7], dtype=kind.torch)
    found = agreement(
        [result], [reference_of(np.array([3, 3, 3, 6], wide), 0, kind.torch)], rtol=0, atol=0
    )
    higher = 2 * ulp if ulp < 1 else 1  # 6 is from 4 to 8
    assert found.max_ulp_error == 1 / higher
    assert (found.median_ulp_error, found.median_abs_error, found.median_rel_error) == (0, 0, 0)


def test_bool_differs_by_one() -> None:
    """An error of one, also in units in the last place."""
    found = agreement(
        [torch.tensor([True, True])],
        [reference_of([True, False], False, torch.bool)],
        rtol=0,
        atol=0,
    )
    assert (found.max_abs_error, found.max_ulp_error, found.disagreeing) == (1, 1, 1)
    assert found.worst == (1,)


def test_units_end_at_the_least_normal_number() -> None:
    """Below it, numbers are apart by the same distance as there."""
    tiny = torch.finfo(torch.float32).tiny
    result = torch.tensor([0.0, tiny / 4])
    found = agreement(
        [result], [reference_of([tiny / 2, tiny / 4], 0, torch.float32)], rtol=0, atol=0
    )
    assert found.max_ulp_error == 2.0**22


def test_medians_are_beside_the_greatest() -> None:
    """Errors of 0, 1 and 3 have the median 1; infinite ones count as such."""
    found = check([1.0, 3.0, 7.0], [1.0, 2.0, 4.0])
    assert (found.max_abs_error, found.median_abs_error) == (3, 1)
    assert (found.max_rel_error, found.median_rel_error) == (0.75, 0.5)
    found = check([NAN, NAN, 7.0], [1.0, 2.0, 4.0])
    assert (found.median_abs_error, found.median_rel_error, found.median_ulp_error) == (INF,) * 3


def test_the_worst_of_a_sample_is_an_index_of_the_result() -> None:
    """The grid of the sample gives the index; elements outside it do not count."""
    result = torch.zeros(7, 9).double()
    result[6, 4], result[1, 1] = 1, 5
    grid = spread((7, 9), (2, 3))
    zero = np.zeros((2, 3))
    reference = Reference(zero, zero, torch.float64, grid, Basis("by hand", 6, 63))
    found = agreement([result], [reference], rtol=0, atol=0)
    assert (found.worst, found.disagreeing, found.max_abs_error) == ((6, 4), 1, 1)


def test_several_results() -> None:
    """Errors are those of all elements together, and the worst names its result."""
    x = reference_of([[1.0, 2.0], [3.0, 4.0]])
    empty, y = reference_of(np.zeros((0, 3))), replace(reference_of([8.0, 8.0]), name="y")
    exact = [torch.from_numpy(each.high) for each in (x, empty, y)]
    found = agreement(exact, [x, empty, y], rtol=0, atol=0)
    assert (found.agrees, found.worst, found.worst_result) == (True, None, "")
    assert found.basis == Basis("by hand", 6, 6)
    wrong = [*exact[:2], torch.tensor([8.0, 9.0])]
    found = agreement(wrong, [x, empty, y], rtol=0, atol=0.5)
    assert (found.worst_result, found.worst, found.disagreeing) == ("y", (1,), 1)
    assert (found.max_abs_error, found.max_rel_error, found.median_abs_error) == (1, 0.125, 0)
    wrong[0] = exact[0] + torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    found = agreement(wrong, [x, empty, y], rtol=0, atol=0.5)
    assert (found.worst_result, found.worst, found.disagreeing) == ("", (1, 0), 2)
