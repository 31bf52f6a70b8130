"""References of norms."""

import math
from math import prod
from typing import Final

import numpy as np

from service.compare.reference.evaluation import (
    LONG_NS,
    LONG_POWER_NS,
    Array,
    Evaluation,
    Pair,
    exactly,
    in_long,
    lengthen,
)
from service.compare.reference.products import sum_of_products
from service.compare.reference.singular import singular_values, singular_values_ns
from service.operations.norm.definition import SINGULAR_VALUE_ORDS, InferredNorm

# The C library computes powers up to this by products.
WHOLE: Final = 3
WHOLE_NS: Final = 40


def norm(inferred: InferredNorm, x: Array) -> Evaluation:
    """Return the evaluation of the norms of `x` (..., *reduced axes), which is no integer."""
    kept = x.shape[: x.ndim - len(inferred.dim)]
    if not inferred.matrix or inferred.ord == "fro":
        rows = x.reshape(prod(kept), inferred.reduced)
        return _vector_norms(rows, 2 if inferred.ord == "fro" else inferred.ord)
    matrices = x.reshape(prod(kept), *x.shape[x.ndim - 2 :])
    if inferred.ord in SINGULAR_VALUE_ORDS:
        cost_ns = singular_values_ns(*matrices.shape)
        return in_long(cost_ns, lambda: _of_singular_values(matrices, inferred.ord))
    return _matrix_norms(matrices, inferred.ord)


def _vector_norms(rows: Array, ord: object) -> Evaluation:
    """Return the evaluation of the norm of each row."""
    if ord == 2:
        parts = _parts(rows)
        return sum_of_products("ij,ij->i", [parts, parts], lambda sums: sums.root().floats())
    if ord == 0:
        return exactly(rows.size, lambda: np.asarray(np.sum(rows != 0, -1, dtype=np.float64)))
    if rows.dtype.kind == "f":
        if ord == 1:
            return sum_of_products("ij->i", [np.abs(rows)])
        if ord in (math.inf, -math.inf):
            return exactly(rows.size, lambda: _extremes(np.abs(rows), greatest=ord == math.inf))
    assert isinstance(ord, int | float)  # noqa: S101  # words are norms of matrices
    power = float(ord)
    each_ns = LONG_POWER_NS
    if power.is_integer() and abs(power) <= WHOLE:
        each_ns = WHOLE_NS
    if abs(power) == math.inf:
        each_ns = LONG_NS
    return in_long(rows.size * each_ns, lambda: _powers(_magnitudes(rows), power))


def _parts(rows: Array) -> Array:
    """Return real numbers of which the squares have the same sum."""
    if rows.dtype.kind != "c":
        return rows
    parts: Array = np.ascontiguousarray(rows).view(np.float64)
    return parts.reshape(len(rows), 2 * rows.shape[1])


def _magnitudes(x: Array) -> Array:
    """Return long magnitudes, of which none overflows."""
    long = lengthen(x)
    return np.hypot(long.real, long.imag) if x.dtype.kind == "c" else np.abs(long)


@np.errstate(all="ignore")
def _powers(rows: Array, ord: float) -> Array:
    """Return the norms of long magnitudes; divided by the one that matters most first."""
    if abs(ord) == math.inf:
        return _extremes(rows, greatest=ord > 0)
    if rows.size == 0:
        return np.zeros(len(rows), np.longdouble)
    scale = (np.max if ord > 0 else np.min)(rows, -1, keepdims=True)
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1)
    power = np.longdouble(ord)
    sums = np.sum((rows / scale) ** power, -1)
    return np.asarray(scale[..., 0] * sums ** (1 / power))


def _of_singular_values(matrices: Array, ord: object) -> Array:
    """Return the sum, the greatest or the least of the singular values of each matrix."""
    if not np.isfinite(matrices).all():  # strategies refuse them
        return np.full(len(matrices), np.nan)
    values = singular_values(matrices)
    if ord == "nuc":
        return np.asarray(np.sum(values, -1))
    return _extremes(values, greatest=ord == 2)


def _extremes(rows: Array, *, greatest: bool) -> Array:
    """Return the greatest of each row of magnitudes, 0 if it is empty; or the least."""
    return np.asarray(np.max(rows, -1, initial=0) if greatest else np.min(rows, -1))


def _matrix_norms(matrices: Array, ord: object) -> Evaluation:
    """Return the evaluation of the greatest or least sum of a column, or of a row, of each."""
    columns = ord in (1, -1)
    greatest = ord in (1, math.inf)
    if matrices.dtype.kind == "f":
        sums = sum_of_products("bij->bj" if columns else "bij->bi", [np.abs(matrices)])
        return Evaluation(
            sums.method, sums.cost_ns, lambda: _extreme_sums(sums.compute(), greatest=greatest)
        )
    return in_long(
        matrices.size * LONG_NS * 2,
        lambda: _extremes(np.sum(_magnitudes(matrices), 1 if columns else 2), greatest=greatest),
    )


def _extreme_sums(sums: Pair, *, greatest: bool) -> Pair:
    """Return the greatest or the least of each row; NaN if there is one."""
    high, low = sums
    if high.shape[1] == 0:
        return np.zeros(len(high)), np.zeros(len(high))
    sign = 1 if greatest else -1
    order = np.lexsort((sign * low, sign * high), -1)  # NaN is the last
    last = order[:, -1:]
    return tuple(np.take_along_axis(x, last, 1)[:, 0] for x in (high, low))  # type: ignore[return-value]  # two
