"""Bits of a tensor from the text of a number, by exact arithmetic.

The oracle is independent of the parsers and of numpy's and torch's conversions: a number is a
fraction, and rounds to the nearest number of the dtype, ties to even.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A binary format: bits of the significand (with the first one), and of the exponent."""

    precision: int
    exponent_bits: int

    @property
    def top(self) -> int:
        """Exponent of the first power of two that is out of range."""
        return 1 << (self.exponent_bits - 1)

    @property
    def least(self) -> int:
        """Exponent of the least number, the last place of subnormal ones."""
        return 3 - self.top - self.precision


# No text of a test has so many digits.
HUGE: Final = 100_000

FORMATS: Final = {
    "float64": FloatFormat(53, 11),
    "float32": FloatFormat(24, 8),
    "float16": FloatFormat(11, 5),
    "bfloat16": FloatFormat(8, 8),
}


def is_number(text: str) -> bool:
    """Return whether RFC 8259 has the text as a number."""
    return NUMBER.fullmatch(text) is not None


def rounded(text: str, dtype: str) -> float | None:
    """Return the float of the dtype that is nearest to a number, or None if that is infinite."""
    made = FORMATS[dtype]
    sign = -1.0 if text.startswith("-") else 1.0
    digits, _, power = text.lower().partition("e")
    if not digits.strip("-0.") or int(power or 0) < -HUGE:
        return sign * 0.0
    if int(power or 0) > HUGE:
        return None
    value = abs(exact(text))
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= value < Fraction(2) ** exponent
    last = max(exponent - made.precision + 1, made.least)
    places = round(value / Fraction(2) ** last)  # ties to even
    nearest = places * Fraction(2) ** last
    return None if nearest >= 2**made.top else sign * float(nearest)


def exact(text: str) -> Fraction:
    """Return a number as a fraction."""
    digits, _, power = text.lower().partition("e")
    before, _, after = digits.partition(".")
    scale = Fraction(10) ** (int(power or 0) - len(after))
    return scale * int_of(before + after)


def int_of(digits: str) -> int:
    """Return the integer of any number of digits: Python's own conversion stops at 4300."""
    pieces = [digits.lstrip("-")[i : i + 1000] for i in range(0, len(digits.lstrip("-")), 1000)]
    value = 0
    for piece in pieces:
        value = value * 10 ** len(piece) + int(piece)
    return -value if digits.startswith("-") else value
