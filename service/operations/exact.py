"""Sums of products, and quotients, of floats as integers: nothing is rounded or leaves a range.

A float is an integer divided by a power of two. One multiplication of such numbers takes about a
microsecond, so that this is for a few numbers of a result.
"""

from collections.abc import Iterable, Sequence
from math import inf, isfinite

from service.core.call import Tensor

Index = tuple[int, ...]
Number = float | complex
# A complex integer, and the exponent of the power of two that it is divided by.
Scaled = tuple[int, int, int]


def sums_of_products(factors: Sequence[Tensor], indices: Iterable[Index]) -> list[Number | None]:
    """Return numbers of a result, each the sum of the products of its factors.

    A factor has the axes of the result, then one for each that is summed. A number with a factor
    that is not finite is None.
    """
    found: list[Number | None] = []
    for index in indices:
        columns = [factor[index].reshape(-1).tolist() for factor in factors]
        if not all(_is_finite(item) for column in columns for item in column):
            found.append(None)
            continue
        total = (0, 0, 0)
        for row in zip(*columns, strict=True):
            term = (1, 0, 0)
            for item in row:
                term = _times(term, _scaled(item))
            total = _plus(total, term)
        found.append(_number(total, is_complex=factors[0].is_complex()))
    return found


def quotients(a: Tensor, b: Tensor, indices: Iterable[Index]) -> list[Number | None]:
    """Return numbers of the quotient of complex tensors of one shape; None for the others."""
    found: list[Number | None] = []
    for index in indices:
        x, y = a[index].item(), b[index].item()
        if not (_is_finite(x) and _is_finite(y) and y):
            found.append(None)
            continue
        (u, v, n), (s, t, m) = _scaled(x), _scaled(y)
        square = s * s + t * t
        up, down = max(0, m - n), max(0, n - m)
        parts = ((u * s + v * t) << up, (v * s - u * t) << up)
        found.append(complex(*(_divide(part, square << down) for part in parts)))
    return found


def _is_finite(item: Number) -> bool:
    return isfinite(item.real) and isfinite(item.imag)


def _scaled(item: Number) -> Scaled:
    (real, below), (imag, under) = item.real.as_integer_ratio(), item.imag.as_integer_ratio()
    exponent = max(below, under).bit_length() - 1
    scale = 1 << exponent
    return real * (scale // below), imag * (scale // under), exponent


def _times(x: Scaled, y: Scaled) -> Scaled:
    (a, b, n), (c, d, m) = x, y
    return a * c - b * d, a * d + b * c, n + m


def _plus(x: Scaled, y: Scaled) -> Scaled:
    if x[2] < y[2]:
        x, y = y, x
    shift = x[2] - y[2]
    return x[0] + (y[0] << shift), x[1] + (y[1] << shift), x[2]


def _number(x: Scaled, *, is_complex: bool) -> Number:
    real, imag = (_divide(part, 1 << x[2]) for part in x[:2])
    return complex(real, imag) if is_complex else real


def _divide(numerator: int, denominator: int) -> float:
    """Return the nearest float64 of a quotient; an infinity beyond them."""
    try:
        return numerator / denominator
    except OverflowError:
        return inf if numerator > 0 else -inf
