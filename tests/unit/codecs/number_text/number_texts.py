"""Texts of numbers that are hard to read: random ones of many kinds, and those next to ties.

Each kind is a function from a source of randomness and a count to so many texts. All texts of a
kind are float64 or all are int64, so that they can be the elements of one array.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice, takewhile
from math import isfinite, prod
from random import Random
from typing import Final

import numpy as np

from service.codecs.number_text import KINDS, Array

Kind = Callable[[Random, int], list[str]]

LEAST_EXPONENT: Final = -1074  # of the least float64, 2^-1074
MAX_FLOAT: Final = (2**53 - 1) * 2**971
BATCH: Final = 5_000
# A reader of 64-bit significands takes them this far.
MAX_SIGNIFICAND: Final = 2**64


def bit_patterns(random: Random, count: int) -> list[str]:
    """Return the shortest texts of any finite floats."""
    bits = np.frombuffer(random.randbytes(8 * count), np.float64)
    return [repr(each) if isfinite(each) else "0.0" for each in bits.tolist()]


def uniform(random: Random, count: int) -> list[str]:
    """Return texts of 16 or 17 digits from 0 to 1."""
    return [repr(random.random()) for _ in range(count)]


def normal(random: Random, count: int) -> list[str]:
    """Return standard normal numbers, as most requests have them."""
    rng = np.random.default_rng(random.getrandbits(32))
    return list(map(repr, rng.standard_normal(count).tolist()))


def short(random: Random, count: int) -> list[str]:
    """Return numbers of few digits, written with a point."""
    return [f"{random.randint(-999, 999) / 10 ** random.randint(0, 3)!r}" for _ in range(count)]


def usual(random: Random, count: int) -> list[str]:
    """Return up to 7 digits before the point, and up to 22 behind it."""
    found = []
    for _ in range(count):
        before = random.choice(("0", str(random.randrange(10 ** random.randint(1, 7)))))
        zeros = "0" * random.choice((0, 0, 0, random.randint(1, 10)))
        after = _digits(random, random.randint(1, 22))
        found.append(f"{random.choice(('', '-'))}{before}.{zeros}{after}")
    return found


def mixed(random: Random, count: int) -> list[str]:
    """Return floats with and without exponents, and integers among them."""
    kinds = [usual(random, count), short(random, count), small_powers(random, count)]
    kinds += [[str(random.getrandbits(random.randint(1, 53)))] * count, bit_patterns(random, count)]
    return ["0.5", *(random.choice(each) for each in zip(*kinds, strict=True))][:count]


def subnormal(random: Random, count: int) -> list[str]:
    """Return floats below 2^-1022."""
    return [repr(random.getrandbits(random.randint(1, 52)) * 2.0**-1074) for _ in range(count)]


def spelling(random: Random, digits: str, power: int) -> str:
    """Return a text of digits * 10^power, with its point and exponent anywhere."""
    places = random.choice((0, 0, random.randint(0, len(digits)), random.randint(0, 30)))
    digits = digits.rjust(places + 1, "0")
    before, after = digits[: len(digits) - places], digits[len(digits) - places :]
    text = before.lstrip("0") or "0"
    if after:
        text += f".{after}"
    power += places
    if power == 0 and after and random.random() < 0.7:
        return text
    sign = "-" if power < 0 else random.choice(("", "", "+"))
    zeros = "0" * random.choice((0, 0, 0, 1, 2, 30))
    return f"{text}{random.choice('eE')}{sign}{zeros}{abs(power)}"


def _signed(random: Random, digits: str, power: int) -> str:
    """Return a spelling with a sign, which is less than the greatest float64."""
    excess = len(digits.lstrip("0")) + power - 308
    return random.choice(("", "-")) + spelling(random, digits, power - max(0, excess))


def _digits(random: Random, count: int) -> str:
    return f"{random.randrange(10**count):0{count}}"


def digit_strings(random: Random, count: int) -> list[str]:
    """Return 1 to 40 digits, with any exponent and position of the point."""
    return [
        _signed(random, _digits(random, random.randint(1, 40)), random.randint(-360, 308))
        for _ in range(count)
    ]


def long_significands(random: Random, count: int) -> list[str]:
    """Return 19 and 20 digits, around the end of 64 bits."""
    found = []
    for _ in range(count):
        near = (random.randrange(10**18, 10**20), MAX_SIGNIFICAND + random.randint(-5, 5), 10**19)
        significand = random.choice(near) + random.choice((0, 0, -1, 1))
        found.append(_signed(random, str(significand), random.randint(-345, 290)))
    return found


def small_powers(random: Random, count: int) -> list[str]:
    """Return numbers around those for which one multiplication or division is exact."""
    return [
        _signed(random, str(random.getrandbits(random.randint(1, 56))), random.randint(-25, 25))
        for _ in range(count)
    ]


def _float(random: Random) -> tuple[int, int]:
    """Return the significand and the exponent of a random finite float."""
    exponent = random.choice((random.randint(LEAST_EXPONENT, 970), random.randint(-60, 60)))
    if random.random() < 0.1:
        return random.getrandbits(52), LEAST_EXPONENT
    significand = random.choice((2**52, 2**53 - 1, 2**52 + random.getrandbits(52)))
    return significand, exponent


def _decimal(value: Fraction) -> tuple[int, int]:
    """Return digits and power of a fraction whose denominator is a power of two."""
    places = value.denominator.bit_length() - 1
    return value.numerator * 5**places, -places


def ties(random: Random, count: int) -> list[str]:
    """Return all digits of the middle of two floats, and its neighbours in the last digit."""
    found = []
    for _ in range(count):
        significand, exponent = _float(random)
        digits, power = _decimal(Fraction(2 * significand + 1) * Fraction(2) ** (exponent - 1))
        longer = random.choice((0, 0, 1, 25))
        digits = digits * 10**longer + random.choice((-1, 0, 0, 1))
        found.append(_signed_as_is(random, str(digits), power - longer))
    return found


def _signed_as_is(random: Random, digits: str, power: int) -> str:
    return random.choice(("", "-")) + spelling(random, digits, power)


def cut_ties(random: Random, count: int) -> list[str]:
    """Return the first 17 to 25 digits of ties, rounded up or down."""
    found = []
    for _ in range(count):
        significand, exponent = _float(random)
        digits, power = _decimal(Fraction(2 * significand + 1) * Fraction(2) ** (exponent - 1))
        excess = max(0, len(str(digits)) - random.randint(17, 25))
        cut = digits // 10**excess + random.randint(0, 1)
        found.append(_signed_as_is(random, str(cut), power + excess))
    return found


def near_ties(random: Random, count: int) -> list[str]:
    """Return w * 10^q next to a tie, for w of up to 64 bits.

    A tie is M * 2^e with an odd M of 54 bits. w * 10^q is near to it where M / w is near to
    10^q / 2^e, as convergents of its continued fraction are, and small multiples of them.
    """
    found: list[str] = []
    while len(found) < count:
        power = random.randint(-342, 308)
        found += [_signed(random, str(each), power) for each in _next_to_ties(random, power)]
    return found[:count]


def usual_near_ties(random: Random, count: int) -> list[str]:
    """Return the same without exponents, with a few digits before the point."""
    found: list[str] = []
    while len(found) < count:
        places = random.randint(13, 19)
        for each in _next_to_ties(random, -places):
            digits = str(each).rjust(places + 1, "0")
            found.append(f"{digits[:-places]}.{digits[-places:]}")
    return found[:count]


def _next_to_ties(random: Random, power: int) -> list[int]:
    """Return some w for which w * 10^power is next to a tie."""
    # w = M / ratio, of 50 to 64 bits
    exponent = _floor_log2_of_power(power) + random.randint(-1, 11)
    if not LEAST_EXPONENT - 1 <= exponent <= 969:
        return []
    ratio = Fraction(10) ** power / Fraction(2) ** exponent
    convergents = list(takewhile(lambda pair: pair[0] < 2**54, _convergents(ratio)))
    pairs = [
        (above * factor, below * factor)
        for above, below in convergents[-3:]
        if above > 0
        for factor in range(-(-(2**53) // above), min(2**54 // above, 2**53 // above + 6))
    ]
    return [each for middle, each in pairs if middle % 2 and 0 < each < MAX_SIGNIFICAND]


def _floor_log2_of_power(power: int) -> int:
    value = Fraction(10) ** power
    return value.numerator.bit_length() - value.denominator.bit_length()


def _convergents(ratio: Fraction) -> Iterator[tuple[int, int]]:
    """Yield numerator and denominator of each convergent of a continued fraction."""
    above, below = ratio.numerator, ratio.denominator
    last, this = (0, 1), (1, 0)
    while below:
        quotient, rest = divmod(above, below)
        last, this = this, (quotient * this[0] + last[0], quotient * this[1] + last[1])
        yield this
        above, below = below, rest


def greatest(random: Random, count: int) -> list[str]:
    """Return numbers up to the greatest float64, and those that round to it."""
    found = []
    for _ in range(count):
        below = random.choice((0, 1, 10 ** random.randint(1, 307)))
        # The tie itself would round to infinity.
        value = MAX_FLOAT + 2**970 - 1 - below
        found.append(_signed_as_is(random, str(value), 0))
    return found


def least(random: Random, count: int) -> list[str]:
    """Return numbers around the least float64, half of it, and less."""
    found = []
    for _ in range(count):
        value = Fraction(random.choice((1, 2, 3, 4, 5))) * Fraction(2) ** (LEAST_EXPONENT - 1)
        digits, power = _decimal(value)
        cut = random.choice((0, 0, random.randint(1, 740)))
        digits = max(0, digits // 10**cut + random.choice((-1, 0, 1)))
        found.append(_signed_as_is(random, str(digits), power + cut))
    return found


def zeros(random: Random, count: int) -> list[str]:
    """Return zeros with a point or an exponent, whose exponent has no bound."""
    texts = (
        "0.0",
        "0e5",
        "0E-5",
        "0.000",
        "0e999999999999",
        "0.0e-999999999999",
        "0e-0",
        "0.0E+00",
    )
    more = ("1e-400", "1e-999999999999", f"0.{'0' * 400}1", f"{'9' * 25}e-400")
    return [random.choice(("", "-")) + random.choice(texts + more) for _ in range(count)]


def long_texts(random: Random, count: int) -> list[str]:
    """Return numbers with many more digits than matter."""
    found = []
    for _ in range(count):
        length = random.randint(20, 900)
        digits = random.choice((_digits(random, length), "1" + "0" * length, "9" * length))
        found.append(_signed_as_is(random, digits, -random.randint(length - 300, length + 300)))
    return found


def integers(random: Random, count: int) -> list[str]:
    """Return int64 of any number of digits."""
    numbers = (random.getrandbits(random.randint(1, 63)) for _ in range(count))
    return [str(random.choice((-1, 1)) * each) if each else "0" for each in numbers]


def extreme_integers(random: Random, count: int) -> list[str]:
    """Return the ends of int64 and of the digits of a number of characters."""
    ends = (2**63 - 1 - random.randint(0, 2), -(2**63) + random.randint(0, 2))
    powers = [10**each + more for each in range(19) for more in (-1, 0, 1)]
    return [str(random.choice((*ends, *powers))) for _ in range(count)]


FLOATS: Final[dict[str, Kind]] = {
    kind.__name__: kind
    for kind in (
        bit_patterns, uniform, normal, short, usual, mixed, subnormal,
        digit_strings, long_significands, small_powers, ties, cut_ties,
        near_ties, usual_near_ties, greatest, least, zeros, long_texts,
    )
}  # fmt: skip
INTEGERS: Final[dict[str, Kind]] = {kind.__name__: kind for kind in (integers, extreme_integers)}
# Those that take exact arithmetic to find: a tenth of the others.
SLOW: Final = frozenset(
    {"ties", "cut_ties", "near_ties", "usual_near_ties", "greatest", "least", "long_texts"}
)


def batches(kind: str, count: int, seed: int) -> Iterator[list[str]]:
    """Yield so many texts of a kind, some thousands at a time."""
    random = Random(f"{kind} {seed}")
    make = (FLOATS | INTEGERS)[kind]
    left = count // 10 if kind in SLOW else count
    while left > 0:
        yield make(random, min(left, BATCH))
        left -= BATCH


def is_integer(text: str) -> bool:
    """Return whether a number is written as an integer."""
    return text.lstrip("-").isdigit()


def sample(seed: int, count: int) -> list[str]:
    """Return so many floats of each kind, for tests of other things than their values."""
    return [text for kind in FLOATS for text in islice(next(batches(kind, 100, seed)), count)]


def arrays(random: Random, count: int) -> Iterator[Array]:
    """Yield arrays of all dtypes that are written, of random bits and shapes."""
    for _ in range(count):
        dtype = random.choice(list(KINDS))
        shape = tuple(random.choice((1, 1, 2, 3, 7)) for _ in range(random.randint(1, 6)))
        size = prod(shape)
        if dtype == np.bool_:
            items = np.frombuffer(random.randbytes(size), np.uint8) % 2 == 1
        else:
            items = np.frombuffer(random.randbytes(size * dtype.itemsize), dtype)
            # Few bits make short texts, and whole numbers.
            if random.random() < 0.5:
                items = (items.view(f"i{dtype.itemsize}") % 100).astype(dtype)
        yield items.reshape(shape)
