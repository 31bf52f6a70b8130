"""Tests of samples: which elements are checked, and when a reference is given up."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from service.compare.reference.evaluation import BUDGET_NS, LIMIT_NS, Evaluation, exactly
from service.compare.reference.sampling import MOST_CHECKED, Grid, affordable, spread
from tests.unit.compare.reference.oracle import reference


def costing(ns_of_each: float) -> Callable[[Grid], Evaluation]:
    """Return an evaluation of grids that takes this time for each element."""

    def evaluate(grid: Grid) -> Evaluation:
        count = int(np.prod([len(indices) for indices in grid]))
        return exactly(ns_of_each * count, lambda: np.zeros(count))

    return evaluate


def test_all_elements_are_checked_if_there_is_time() -> None:
    """The grid is the whole result, of any rank."""
    for shape in ((), (5,), (2, 0), (3, 4, 5)):
        found = affordable(shape, costing(1))
        assert found is not None
        assert [indices.tolist() for indices in found[0]] == [list(range(n)) for n in shape]


@pytest.mark.parametrize("shape", [(1000,), (1000, 10), (10, 1000, 3), (2, 2, 500)])
def test_a_sample_has_the_ends_of_each_axis(shape: tuple[int, ...]) -> None:
    """Its indices rise, and the longest axes are thinned first."""
    each = BUDGET_NS / 100
    found = affordable(shape, costing(each))
    assert found is not None
    grid, evaluation = found
    assert evaluation.cost_ns <= BUDGET_NS
    assert np.prod([len(indices) for indices in grid]) > 50
    for indices, size in zip(grid, shape, strict=True):
        assert (indices[0], indices[-1]) == (0, size - 1)
        assert (np.diff(indices) > 0).all()


def test_more_elements_than_memory_allows_are_not_read() -> None:
    """Even if they would be quick."""
    found = affordable((4000, 4000), costing(0))
    assert found is not None
    assert MOST_CHECKED / 2 < np.prod([len(indices) for indices in found[0]]) <= MOST_CHECKED


def test_a_few_elements_may_take_longer() -> None:
    """Up to a limit, beyond which there is no reference."""
    assert affordable((1,), costing(LIMIT_NS)) is not None
    assert affordable((1,), costing(LIMIT_NS + 1)) is None
    assert affordable((9, 9), costing(LIMIT_NS)) is None


def test_indices_are_at_equal_distances() -> None:
    """One index is the first."""
    assert [each.tolist() for each in spread((9, 4), (3, 1))] == [[0, 4, 8], [0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_a_sum_that_is_too_long_is_judged_by_a_strategy(dtype: torch.dtype) -> None:
    """In float64 or complex128, and the method says so."""
    x = torch.ones(8_000_000, dtype=dtype)
    found = reference("norm", [x])
    name = "complex128" if dtype.is_complex else "float64"
    assert found.basis.method == f"{name} by the strategy torch"
    assert float(found.high) == pytest.approx(8_000_000**0.5)
    assert (found.basis.checked, found.basis.elements) == (1, 1)
    assert float(found.pick(torch.ones(()))) == 1


def test_a_large_product_is_sampled() -> None:
    """The elements of the sample are exact, and picked from a result at the same places."""
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(1100, 1100, generator=generator).double() for _ in range(2))
    found = reference("matmul", [a, b])
    assert found.basis.method == "exact arithmetic"
    assert 1000 < found.basis.checked < found.basis.elements == 1100**2
    rows, columns = found.grid
    assert (rows[-1], columns[-1]) == (1099, 1099)
    np.testing.assert_allclose(found.high, (a @ b).numpy()[np.ix_(rows, columns)], atol=1e-10)
    assert found.pick(a).tolist() == a.numpy()[np.ix_(rows, columns)].tolist()
