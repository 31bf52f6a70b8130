"""Samples of a result's elements: a grid of indices, spread over each axis."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Final

import numpy as np

from service.compare.reference.evaluation import BUDGET_NS, LIMIT_NS, Array, Evaluation
from service.core.call import Shape

# For each axis of the result the indices that are checked, in rising order.
Grid = tuple[Array, ...]

# More elements than this are not read, because the copies of operands would take much memory.
MOST_CHECKED: Final = 2**20


def spread(shape: Shape, counts: Sequence[int]) -> Grid:
    """Return indices of each axis at equal distances, with the first and the last."""
    return tuple(
        np.round(np.linspace(0, max(size - 1, 0), count)).astype(np.int64)
        for size, count in zip(shape, counts, strict=True)
    )


def affordable(
    shape: Shape, evaluate: Callable[[Grid], Evaluation]
) -> tuple[Grid, Evaluation] | None:
    """Return the largest grid whose evaluation is quick enough; None if there is none."""
    counts = _fewer(shape, min(1.0, MOST_CHECKED / max(prod(shape), 1)))
    while True:
        grid = spread(shape, counts)
        evaluation = evaluate(grid)
        if evaluation.cost_ns <= BUDGET_NS:
            return grid, evaluation
        fewer = _fewer(counts, BUDGET_NS / evaluation.cost_ns)
        if fewer == counts:
            return (grid, evaluation) if evaluation.cost_ns <= LIMIT_NS else None
        counts = fewer


def _fewer(counts: Sequence[int], share: float) -> list[int]:
    """Return counts with at most that share of the product, each at least 2 unless it is less.

    The greatest is reduced first, because more indices of one axis say less than those of two.
    """
    fewer = list(counts)
    while prod(fewer) > share * prod(counts) and max(fewer, default=0) > 2:
        axis = fewer.index(max(fewer))
        fewer[axis] = max(2, min(fewer[axis] - 1, fewer[axis] * 15 // 16))
    return fewer
