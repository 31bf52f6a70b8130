"""Singular values by one-sided Jacobi rotations in numpy's longest floats."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from service.compare.reference.evaluation import LONG_NS, Array, lengthen

# A sweep rotates each pair of columns once. Convergence is quadratic after the first few.
MAX_SWEEPS: Final = 30
USUAL_SWEEPS: Final = 9
OPERATIONS: Final = 20
CALLS_NS: Final = 60_000


def singular_values_ns(count: int, rows: int, columns: int) -> float:
    """Estimate the time for `count` matrices."""
    long, short = max(rows, columns), min(rows, columns)
    work = count * long * short**2 / 2 * OPERATIONS * LONG_NS
    return USUAL_SWEEPS * (work + short * CALLS_NS)


def singular_values(x: Array) -> Array:
    """Return the singular values (..., min(m, n)) of matrices (..., m, n), in ascending order.

    Rotations make the columns orthogonal; their lengths are then the singular values. Pairs that
    have no column in common are rotated together.
    """
    if x.shape[-2] < x.shape[-1]:
        x = x.swapaxes(-2, -1)
    columns = lengthen(x)
    if columns.shape[-1] % 2:
        columns = np.concatenate([columns, np.zeros_like(columns[..., :1])], -1)
    for _ in range(MAX_SWEEPS):
        rotated = [_rotate(columns, left, right) for left, right in _rounds(columns.shape[-1])]
        if not any(rotated):
            break
    lengths = np.sqrt(_squares(columns))
    return np.sort(lengths, -1)[..., columns.shape[-1] - x.shape[-1] :]


def _rounds(count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the rounds of a tournament of an even number: all pairs, each once."""
    order = list(range(count))
    for _ in range(count - 1):
        yield order[: count // 2], order[: count // 2 - 1 : -1]
        order[1:] = [order[-1], *order[1:-1]]


def _squares(columns: Array) -> Array:
    """Return the sum of squares of each column."""
    squares: Array = np.sum(columns.real**2 + columns.imag**2, -2)
    return squares


def _rotate(columns: Array, left: list[int], right: list[int]) -> bool:
    """Make columns `left` and `right` orthogonal, in pairs; return whether any was not."""
    p, q = columns[..., left], columns[..., right]
    alpha, beta = _squares(p), _squares(q)
    product = np.sum(p.conj() * q, -2)
    size = np.abs(product)
    due = size > np.finfo(np.longdouble).eps * np.sqrt(alpha) * np.sqrt(beta)
    if not due.any():
        return False
    safe = np.where(due, size, 1)
    phase = np.where(due, product / safe, 1)
    zeta = (beta - alpha) / (2 * safe)
    tangent = np.where(zeta < 0, -1, 1) / (np.abs(zeta) + np.sqrt(1 + zeta * zeta))
    tangent = np.where(due, tangent, 0)[..., None, :]
    cosine = 1 / np.sqrt(1 + tangent * tangent)
    q = q * phase.conj()[..., None, :]
    columns[..., left] = cosine * (p - tangent * q)
    columns[..., right] = cosine * (tangent * p + q)
    return True
