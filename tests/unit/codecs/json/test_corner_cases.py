"""Corner cases of RFC 8259, from the text of a number to the bits of a tensor, in each way."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.core.call import Tensor
from service.core.dtypes import DTYPES
from service.errors import ServiceError, ValueOutOfRangeError
from tests.unit.codecs.json.number_oracle import FORMATS, is_number, rounded
from tests.unit.codecs.json.ways_of_reading import LONG_WAYS, WAYS, Way, each_way

INTEGERS: Final = ("int8", "int16", "int32", "int64", "uint8")
# A float this large may have been written with other digits.
MAX_EXACT_FLOAT: Final = 2.0**53

# Each with its negative.
NUMBERS: Final = (
    # Zeros: `-0` is negative zero in a float dtype.
    "0", "0.0", "0e0", "0E5", "0e-5", "0.000", "0e999999999999", "0.0e-999999999999",
    # Exponents, among them those that begin like negative zeros.
    "1e0", "1e-0", "1E-00", "1e+0", "10e-1", "1e-05", "1.5E3", "5e-1", "10.0e-0", "100e-2", "1e2",
    # Values around the limits of integers.
    "1", "127", "128", "129", "255", "256", "32767", "32768", "32769", "65535", "65536",
    "2147483647", "2147483648", "2147483649", "4294967295", "4294967296",
    "9007199254740991", "9007199254740992", "9007199254740993", "9007199254740991.0",
    "9007199254740992.0", "9007199254740993.0", "9223372036854775807", "9223372036854775808",
    "9223372036854775809", "18446744073709551615", "18446744073709551616",
    "18446744073709551617", "9223372036854775807.0", "1e16", "1e18", "1e19", "1e22", "1e23",
    # Fractions, and digits beyond those of a float64.
    "0.5", "1.5", "0.1", "0.30000000000000004", "3.141592653589793238462643383279502884197",
    "0." + "1" * 1_000, "1" + "0" * 100 + "." + "0" * 100, "0." + "0" * 400 + "1", "9" * 300,
    "1." + "0" * 5_000, "1" + "0" * 300 + "e-300", "0." + "0" * 300 + "1e301",
    # The last finite numbers, and the first ones that are not.
    "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e308", "1e309",
    "1e400", "1e999999999999", "1" + "0" * 308, "1" + "0" * 309, "9" * 5_000,
    "3.4028234663852886e38", "3.4028235e38", "3.4028236e38", "3.5e38", "65504", "65519", "65520",
    "65519.99999999999999999999", "3.4028235677973366e38",
    "340282356779733661637539395458142568448", "340282356779733661637539395458142568447",
    "3.3895313892515355e38", "3.3961775292304606e38",
    # The least ones: subnormal numbers, half of them, and less.
    "5e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "2e-324", "1e-400",
    "1e-999999999999", "2.2250738585072011e-308", "2.2250738585072014e-308",
    "1.401298464324817e-45",
    "7.0064923216240854e-46", "7.006492321624085e-46", "7.0064923216240861e-46", "1e-46",
    "1.1754943508222875e-38", "1.1754942807573643e-38", "1.1754943e-38", "5.960464477539063e-8",
    "2.9802322387695312e-8", "2.98023223876953125e-8", "2.98023223876953126e-8", "1e-8",
    "9.183549615799121e-41", "4.591774807899561e-41", "4.5917748078995605e-41",
    # Halfway between two numbers of a dtype: as float64 says, and as the text says.
    "1.000000059604644775390625", "1.0000000596046448", "1.0000000596046447",
    "1.00000005960464477539062500000001", "1.00000005960464477539062499999999",
    "1.000000178813934326171875", "1.00000017881393432617187499999", "1.0000001788139343",
    "16777217", "16777217.0", "16777219", "16777217.0000000001", "16777216.9999999999",
    "0.500000029802322387695312500000001", "33554434.00000000000000001",
    "1.00390625", "1.00390625000000001", "1.00390624999999999", "1.01171875", "257", "259",
    "257.00000000000000001", "1.00048828125", "1.0004882812500000001", "1.0014648437499999999",
    "1152921573326323713", "1152921573326323712", "1152921573326323711", "1152921573326323713.0",
    "4629700416936869889", "4629700416936869888", "4629700416936869887", "100000000000000000000",
    "147573970381515653121", "147573970381515653120", "1180591691086150041602",
)  # fmt: skip
FEW: Final = (
    "-0", "0", "-0.0", "-0e5", "1e-0", "-1e-05", "0.1", "1.0000000596046448", "257.00", "9" * 20,
)  # fmt: skip
WRITTEN: Final = tuple(sign + text for text in NUMBERS for sign in ("", "-"))

NO_NUMBERS: Final = (
    "", "-", "+", ".", "+1", "--1", "-+1", "+0", "01", "-01", "00", "-00", "-00.5", "1.", "-0.",
    ".5", "-.5", "0.e1", "1e", "1e+", "1e-", "1E", "-0e", "-0e-", "1e1.5", "1e0x", "0x10", "-0x1",
    "0b1", "1_000", "1f", "1d", "1.5.5", "1-0", "-0-0", "0-", "1e-0.0", "- 0", "-\n1", "1 2",
    "NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "tru", "True", "nul", "None", "undefined",
    "1,", ",1", "1,,2", "1]]", "[1", "{", "1}", "'1'", "1//", "1/**/", "// c\n1", "#", "\x00",
    "1\x00",
    "\x0b1", "1\x0c", "\u00a01", "1\u2028", "\ufeff1", "\u0661", "\uff11", "\u22121", "0\u0661",
)  # fmt: skip
WHITE_SPACE: Final = (" -0", "-0 ", "\t-0\n", "\r\n -0\r\n", "\n-0\t", " \t\r\n-0 \t\r\n")


@cache
def expected(text: str, dtype: str) -> float | int | None:
    """Return the element that a number has to become, or None if it is refused."""
    if dtype in FORMATS:
        return rounded(text, dtype)
    if text.strip("-").isdigit():
        value = int(text) if len(text) < 100 else None
    else:
        near = float(text)
        value = int(near) if near.is_integer() and abs(near) < MAX_EXACT_FLOAT else None
    low, high = DTYPES[dtype].low, DTYPES[dtype].high
    return value if value is not None and low <= value <= high else None


def read(way: Way, text: str, dtype: str) -> float | int | None:
    """Return the element that a way makes of a number, or None if it does not fit."""
    try:
        tensor: Tensor = way(f"[{text}]", dtype)
    except ValueOutOfRangeError as error:
        return None if error.places[0].pointer.endswith("/0") else math.nan
    assert (tuple(tensor.shape), tensor.dtype) == ((1,), DTYPES[dtype].torch)
    element: float | int = tensor.item()
    return element


def differences(way: Way, texts: tuple[str, ...], dtypes: tuple[str, ...]) -> Iterator[str]:
    """Yield the cases in which a way and the oracle differ."""
    for text in texts:
        for dtype in dtypes:
            found, right = read(way, text, dtype), expected(text, dtype)
            if repr(found) != repr(right):  # -0.0 is not 0.0, and 1.0 is not 1
                yield f"{text[:60]} in {dtype}: {found}, not {right}"


@each_way(WAYS)
def test_a_number_becomes_the_nearest_float(way: Way) -> None:
    """Rounded once, ties to even, and with its sign; or refused, because it would be infinite."""
    assert list(differences(way, WRITTEN, tuple(FORMATS))) == []


@each_way(WAYS)
def test_a_number_becomes_the_integer_that_it_is(way: Way) -> None:
    """Or it is refused with its place; -0 is 0, and 1.0 and 1e2 are integers."""
    assert list(differences(way, WRITTEN, INTEGERS)) == []


@each_way(LONG_WAYS)
def test_a_number_in_a_long_text(way: Way) -> None:
    """At each size where another way begins."""
    assert list(differences(way, FEW, ("float32", "bfloat16", "int64"))) == []


@each_way(WAYS)
def test_what_is_no_number_is_malformed(way: Way) -> None:
    """In each place of a grammar that other languages extend."""
    taken = []
    for text in NO_NUMBERS:
        try:
            way(f"[1,{text}]", "float32")
            taken.append(text)
        except ServiceError as error:
            if error.code != "malformed-json":
                taken.append(f"{text}: {error.code}")
    assert taken == []


@each_way(WAYS)
def test_white_space_is_that_of_the_grammar(way: Way) -> None:
    """Space, tab, line feed and carriage return, on both sides of a negative zero."""
    found = {text: repr(way(f"[{text}]", "float32").item()) for text in WHITE_SPACE}
    assert found == dict.fromkeys(WHITE_SPACE, "-0.0")


DIGITS: Final = st.text("0123456789", max_size=25)
SPELLINGS: Final = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "-"]),
    st.sampled_from(["0", "", "1", "9"]) | DIGITS,
    st.sampled_from(["", "", ".", ".0", "."]),
    DIGITS,
    st.sampled_from(["", "", "e", "E-", "e+", "e-0"]),
    st.sampled_from(["", "0", "5", "20", "46", "309", "324"]),
)
# Halfway between two numbers of float32, or next to that in more digits than float64 has.
TIES: Final = st.builds(
    lambda number, scale, offset: (
        f"{(2 * number + 1) * 5**25 * 10**12 + offset}e{scale - 37}"
        if scale == 0
        else f"{(2 * number + 1) * 2**scale * 10**12 + offset}e-12"
    ),
    st.integers(2**23, 2**24 - 1),
    st.integers(0, 60),
    st.sampled_from([-1, 0, 1]),
)
FAST_WAYS: Final = (
    "small", "small, not compiled", "large object", "large, one by one", "as it arrives",
    "by the text", "inference", "inference, not compiled",
)  # fmt: skip


@pytest.mark.parametrize("name", FAST_WAYS)
@given(SPELLINGS, st.sampled_from(list(FORMATS)))
@example("-0", "float32")
def test_any_spelling_is_read_as_the_grammar_says(name: str, text: str, dtype: str) -> None:
    """Texts outside the grammar of RFC 8259 are malformed; numbers are rounded rightly."""
    way = WAYS[name]
    if is_number(text):
        assert list(differences(way, (text,), (dtype,))) == []
    else:
        with pytest.raises(ServiceError) as caught:
            way(f"[1,{text}]", dtype)
        assert caught.value.code == "malformed-json"


@pytest.mark.parametrize("name", FAST_WAYS)
@given(TIES)
def test_the_text_decides_between_neighbours(name: str, text: str) -> None:
    """Also where float64 is halfway between them."""
    assert list(differences(WAYS[name], (text,), ("float32", "float64"))) == []


@given(SPELLINGS.filter(is_number))
def test_the_oracle_is_right_about_float64(text: str) -> None:
    """Python's own conversion rounds to the nearest, too."""
    right = rounded(text, "float64")
    infinite = math.copysign(math.inf, float(text))
    assert repr(float(text)) == repr(infinite if right is None else right)
