"""Exact sums of products: numbers cut into short integers, whose products BLAS adds without error.

A number is the sum of its digits, each an integer of `bits` bits times a power of two. A product of
two digits, and a sum of many, is an integer below 2**53, which float64 holds: torch.einsum gives
it exactly, in any order of additions. The sums of digits of equal weight are added as int64. No
exponent is too large or too small, because exponents are kept apart. The parts of complex numbers
are on a last axis.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from service.operations.equation import Equation

Array = npt.NDArray[Any]

MANTISSA_BITS: Final = 53
# The rounded value of a sum takes this many bits of it: those of two float64.
ROUNDED_BITS: Final = 2 * MANTISSA_BITS
# Exponents of the bits of float64.
LOWEST_BIT: Final = -1074
HIGHEST_BIT: Final = 1024
BLOCK: Final = 2**14


def digit_bits(summed: int, *, parts: bool) -> int:
    """Return the length of digits whose products may be added `summed` times.

    A product of complex numbers adds two products of their parts, and may do so by way of sums.
    """
    return (MANTISSA_BITS - ceil(log2(max(summed, 1))) - 3 * parts) // 2


@dataclass(frozen=True, slots=True)
class Digits:
    """Numbers as sums of `values[i] * 2**(exponent + bits * positions[i])`.

    `values` (digit, *shape) are integers in float64.
    """

    values: Array
    positions: Array
    exponent: int


@dataclass(frozen=True, slots=True)
class DigitSums:
    """Numbers as sums of `values[i] * 2**(exponent + bits * i)`; `values` are int64."""

    values: Array
    exponent: int


def occupied(x: Array, bits: int) -> tuple[int, Array]:
    """Return the exponent of the last bit in `x`, and the positions of digits that are not zero.

    Positions are counted in digits from that bit. `x` is int64 or float64, and finite.
    """
    if x.dtype.kind == "i":
        low, high = int(x.min(initial=0)), int(x.max(initial=0))
        length = max(high.bit_length(), (~low).bit_length())
        return 0, np.arange(length // bits + 1)
    # At each bit, the numbers that begin there less those that end there.
    changes = np.zeros(HIGHEST_BIT - LOWEST_BIT + 1, np.int64)
    for block in _blocks(x.reshape(-1)):
        mantissas, tops = np.frexp(block[block != 0])
        mantissa = np.ldexp(mantissas, MANTISSA_BITS).astype(np.int64)
        last = np.frexp((mantissa & -mantissa).astype(np.float64))[1] - 1
        lows = tops - MANTISSA_BITS + last
        changes += np.bincount(lows - LOWEST_BIT, minlength=len(changes))
        changes -= np.bincount(tops - LOWEST_BIT, minlength=len(changes))
    found = np.flatnonzero(np.cumsum(changes))
    if found.size == 0:
        return 0, np.zeros(1, np.int64)
    return int(found[0]) + LOWEST_BIT, np.unique((found - found[0]) // bits)


def _blocks(x: Array) -> Iterator[Array]:
    """Yield views of the last axis that fit into a processor's cache."""
    for start in range(0, x.shape[-1], BLOCK):
        yield x[..., start : start + BLOCK]


def split(x: Array, bits: int) -> Digits:
    """Return the digits of int64 or float64 numbers, which are finite."""
    exponent, positions = occupied(x, bits)
    values = np.empty((len(positions), *x.shape))
    if x.dtype.kind == "i":
        for position in positions[:-1]:
            values[position] = (x >> bits * position) & (2**bits - 1)
        values[-1] = x >> bits * positions[-1]
        return Digits(values, positions, exponent)
    flat = values.reshape(len(values), x.size)
    for block, digits in zip(_blocks(x.reshape(-1)), _blocks(flat), strict=True):
        rest, sign = np.abs(block), np.sign(block)
        for row in reversed(range(len(positions))):
            unit = exponent + bits * int(positions[row])
            digit = np.floor(np.ldexp(rest, -unit))
            rest -= np.ldexp(digit, unit)
            np.multiply(digit, sign, out=digits[row])
    return Digits(values, positions, exponent)


def contract(equation: Equation, operands: Sequence[Digits], *, parts: bool) -> DigitSums:
    """Return the sums of products of one or two operands by `equation`."""
    numbers = [
        _stretched(equation, term, x, parts=parts)
        for term, x in zip(equation.inputs, operands, strict=True)
    ]
    exponent = sum(x.exponent for x in operands)
    count = 1 + sum(int(x.positions[-1]) for x in operands)
    shape = equation.shape(equation.output) + (2,) * parts
    sums = np.zeros((count, *shape), np.int64)
    if len(operands) == 1:
        text = f"...{equation.inputs[0]}->...{equation.output}"
        sums[operands[0].positions] = _integers(torch.einsum(text, numbers[0]), parts=parts)
        return DigitSums(sums, exponent)
    left, right = equation.inputs
    text = f"{left},...{right}->...{equation.output}"
    for digit, position in zip(numbers[0], operands[0].positions, strict=True):
        products = _integers(torch.einsum(text, digit, numbers[1]), parts=parts)
        sums[position + operands[1].positions] += products
    return DigitSums(sums, exponent)


def _stretched(equation: Equation, term: str, x: Digits, *, parts: bool) -> torch.Tensor:
    """Return the digits as a tensor, each axis of size 1 stretched to the size of its letter."""
    values = x.values.view(np.complex128)[..., 0] if parts else x.values
    shape = (len(x.positions), *equation.shape(term))
    return torch.from_numpy(values).expand(shape)


def _integers(x: torch.Tensor, *, parts: bool) -> Array:
    """Return int64 of a tensor, the parts of complex numbers on a last axis."""
    integers: Array = (torch.view_as_real(x) if parts else x).to(torch.int64).numpy()
    return integers


def carry(sums: DigitSums, bits: int) -> Digits:
    """Return sums as digits from 0 to 2**bits - 1, but for the last, which has the sign."""
    values, rest = [], np.zeros(sums.values.shape[1:], np.int64)
    for value in sums.values:
        total = value + rest
        values.append(total & (2**bits - 1))
        rest = total >> bits
    while rest.size and max(-int(rest.min()), int(rest.max())) >> bits:
        values.append(rest & (2**bits - 1))
        rest = rest >> bits
    digits = np.array([*values, rest], np.float64)
    return Digits(digits, np.arange(len(digits)), sums.exponent)


@dataclass(frozen=True, slots=True)
class Rounded:
    """Numbers as `(high + low) * 2**exponent`, with 106 bits; |high| is 0, or from 1 to 2**27."""

    high: Array
    low: Array
    exponent: Array

    def root(self) -> "Rounded":
        """Return the square roots."""
        odd = self.exponent % 2
        high, low = np.ldexp(self.high, odd), np.ldexp(self.low, odd)
        root = np.sqrt(high)
        missing = _remainder(high, root) + low
        correction = np.divide(missing, 2 * root, out=np.zeros_like(root), where=root > 0)
        return Rounded(root, correction, (self.exponent - odd) // 2)

    def floats(self) -> tuple[Array, Array]:
        """Return each number as float64 and what it is off by; beyond float64 it is infinite."""
        with np.errstate(over="ignore", under="ignore"):
            total = self.high + self.low
            low = (self.high - total) + self.low
            high = np.ldexp(total, self.exponent)
            return high, np.where(np.isfinite(high), np.ldexp(low, self.exponent), 0.0)


def _remainder(x: Array, root: Array) -> Array:
    """Return x - root**2; the halves of the root have exact products (Dekker)."""
    shifted = root * (2.0**27 + 1)
    upper = shifted - (shifted - root)
    lower = root - upper
    square = root * root
    error = ((upper * upper - square) + 2 * upper * lower) + lower * lower
    return np.asarray((x - square) - error)


def rounded(sums: DigitSums, bits: int) -> Rounded:
    """Return sums of digits rounded to the bits of two float64."""
    negative = carry(sums, bits).values[-1] < 0
    signs = np.where(negative, -1, 1)
    digits = carry(DigitSums(sums.values * signs, sums.exponent), bits).values
    high, low = np.zeros(signs.shape), np.zeros(signs.shape)
    first = np.full(signs.shape, -1)  # position of the first digit that is not zero
    for position in reversed(range(len(digits))):
        first = np.where((first < 0) & (digits[position] != 0), position, first)
        behind = bits * (first - position)
        taken = (first >= 0) & (behind <= ROUNDED_BITS + bits)
        term = np.ldexp(np.where(taken, digits[position], 0.0), np.where(taken, -behind, 0))
        total = high + term
        low += term - (total - high)
        high = total
    exponent = sums.exponent + bits * np.maximum(first, 0)
    return Rounded(high * signs, low * signs, exponent)


def integers(sums: DigitSums, bits: int) -> Array:
    """Return sums of digits of integers, which fit into int64, modulo 2**64."""
    total = np.zeros(sums.values.shape[1:], np.int64)
    for position, value in enumerate(sums.values[: ceil(64 / bits)]):
        total += value << bits * position
    return total
