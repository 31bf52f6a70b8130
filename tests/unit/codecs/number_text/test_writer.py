"""The compiled writer against orjson and `repr`, in all ranges and to the last byte."""

import itertools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codecs.number_text import compiled

if compiled is None:
    pytest.skip("the extension module was not built", allow_module_level=True)

Array = npt.NDArray[Any]
# In the order of writer.h.
KINDS: Final = [
    *("float64", "float32", "float16"),
    *("int64", "int32", "int16", "int8", "uint8"),
    "bool",
]
INTEGERS: Final = [name for name in KINDS if "int" in name]
FLOATS: Final = KINDS[:3]
RANDOM: Final = 200_000
GUARD: Final = b"\xa5" * 64


def write(array: Array, first: int = 0, last: int | None = None, *, quoted: bool = False) -> bytes:
    """Return the text of a range of elements, all by default."""
    kind = KINDS.index(array.dtype.name)
    end = array.size if last is None else last
    text: bytes = compiled.write(array, kind, array.shape, first, end, quoted)
    return text


def orjson_text(array: Array) -> bytes:
    """Return the text of today: that of orjson."""
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


def finite(array: Array) -> Array:
    """Return the finite numbers."""
    return array[np.isfinite(array)]


def assert_as_orjson(array: Array) -> None:
    """Assert that the text is that of orjson."""
    found, expected = write(array), orjson_text(array)
    if found != expected:  # the first difference says more than megabytes of both
        pairs = zip(found.split(b","), expected.split(b","), strict=True)
        assert next(pair for pair in pairs if pair[0] != pair[1]) is None
    assert found == expected


def neighbours(array: Array, reach: int) -> Array:
    """Return the numbers up to some steps from these, with both signs."""
    bits = array.view(f"i{array.itemsize}")
    steps = np.arange(-reach, reach + 1, dtype=bits.dtype)
    near = (bits[:, None] + steps).reshape(-1).view(array.dtype)
    near = finite(near)
    return np.concatenate([near, -near])


def random_floats(name: str) -> Array:
    """Return the finite ones of random bit patterns."""
    dtype = np.dtype(name)
    bits = np.random.default_rng(0).bytes(RANDOM * dtype.itemsize)
    return finite(np.frombuffer(bits, dtype))


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_random_bits_are_written_as_orjson_writes_them(name: str) -> None:
    """The text of random bit patterns, which mix all exponents."""
    assert_as_orjson(random_floats(name))


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_processors_without_avx512_write_the_same(name: str) -> None:
    """The other way to split numbers into digits."""
    assert not compiled.allow_avx512(False)
    try:
        assert_as_orjson(random_floats(name))
        assert_as_orjson(np.arange(-5000, 5000).astype(name))
    finally:
        compiled.allow_avx512(True)


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_random_bits_have_the_digits_of_repr(name: str) -> None:
    """Digits against numpy's own algorithm (Dragon4), in case that orjson is wrong too."""
    array = random_floats(name)[:20_000]
    for text, number in zip(write(array)[1:-1].split(b","), array, strict=True):
        expected = np.format_float_scientific(number, unique=True, trim="-")
        assert digits_of(text) == digits_of(expected.encode())
        assert array.dtype.type(text.decode()) == number


def digits_of(text: bytes) -> bytes:
    """Return the digits of a number without zeros around them."""
    mantissa = text.partition(b"e")[0].lstrip(b"-").replace(b".", b"")
    return mantissa.strip(b"0")


def test_every_float16() -> None:
    """All 65,536 float16, written with the digits of float32."""
    assert_as_orjson(finite(np.arange(2**16, dtype=np.uint16).view(np.float16)))


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_powers_of_two_and_their_neighbours(name: str) -> None:
    """Powers of two, below which the gap is half as wide as above."""
    info = np.finfo(name)
    least = int(info.minexp) - int(info.nmant)
    powers = [math.ldexp(1.0, exponent) for exponent in range(least, int(info.maxexp))]
    assert_as_orjson(neighbours(np.array(powers, name), 3))


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_powers_of_ten_and_their_neighbours(name: str) -> None:
    """Powers of ten, among them the ends of the notation without an exponent."""
    # All thresholds between the notations are among them.
    least, most = (-323, 309) if name == "float64" else (-45, 39)
    powers = [float(f"{lead}e{exponent}") for exponent in range(least, most) for lead in (1, 3, 5)]
    with np.errstate(over="ignore"):
        assert_as_orjson(neighbours(finite(np.array(powers, name)), 3))


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_subnormals(name: str) -> None:
    """Subnormal numbers, which have fewer digits."""
    mantissa = np.finfo(name).nmant
    random = np.random.default_rng(1).integers(0, 2**mantissa, 20_000)
    bits = np.concatenate([np.arange(2000), 2**mantissa - np.arange(2000), random])
    assert_as_orjson(bits.astype(f"u{np.dtype(name).itemsize}").view(name))


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_short_decimals_and_ties(name: str) -> None:
    """Numbers of few digits, and those halfway between two decimals."""
    count = np.arange(100_000)
    assert_as_orjson((count * 0.01).astype(name))
    assert_as_orjson((count - 50_000).astype(name))
    # Halves and quarters of the last digit that is written.
    large = 2.0 ** np.arange(20, 56).repeat(1000)
    assert_as_orjson((large + np.tile(np.arange(1000), 36) / 8).astype(name))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (9.5e-323, "9.4e-323"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
        (2.225073858507201e-308, "2.225073858507201e-308"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740993.0, "9007199254740992.0"),
        (2251799813685248.5, "2251799813685248.5"),
        (9.007199254740991e15, "9007199254740991.0"),
        (1e23, "1e+23"),
        (9.5367431640625e-07, "9.5367431640625e-7"),  # 2^-20: the gap below is half
        (2.9802322387695312e-08, "2.9802322387695312e-8"),
        (9.999999999999999e-6, "9.999999999999999e-6"),
        (1e-5, "0.00001"),
        (9999999999999998.0, "9999999999999998.0"),
        (1e16, "1e+16"),
        (0.1 + 0.2, "0.30000000000000004"),
        (5.764607523034235e39, "5.764607523034235e+39"),
        (1.152921504606847e40, "1.152921504606847e+40"),
        (2.305843009213694e40, "2.305843009213694e+40"),
        (4.708356024711512e18, "4.708356024711512e+18"),
        (9.409340012568248e18, "9.409340012568248e+18"),
        (1.8531501765868567e21, "1.8531501765868567e+21"),
        (3.347727380279489e33, "3.347727380279489e+33"),
        (8.5e-323, "8.4e-323"),
    ],
)
def test_hard_numbers(number: float, text: str) -> None:
    """Numbers that have found errors in other algorithms."""
    assert write(np.array([number])) == f"[{text}]".encode()
    assert float(text) == number
    assert_as_orjson(np.array([number]))


@pytest.mark.parametrize("name", FLOATS)
def test_nonfinite_numbers_are_words(name: str) -> None:
    """NaN and infinities as strings."""
    array = np.array([1, math.nan, -math.nan, math.inf, -math.inf, -2], name)
    assert write(array) == b'[1.0,"NaN","NaN","Infinity","-Infinity",-2.0]'


def integers(name: str) -> Array:
    """Return numbers at all counts of digits, and the extremes."""
    info = np.iinfo(name)
    near = {
        sign * 10**power + step for power in range(19) for sign in (1, -1) for step in (-1, 0, 1)
    }
    random = np.random.default_rng(0)
    near |= {
        int(random.integers(-(10**power), 10**power)) for power in range(19) for _ in range(50)
    }
    chosen = {number for number in near if info.min <= number <= info.max}
    return np.array(sorted(chosen | {info.min, info.max}), name)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name: str) -> None:
    """Integers of each count of digits."""
    array = integers(name)
    assert write(array) == json.dumps(array.tolist(), separators=(",", ":")).encode()


@pytest.mark.parametrize("name", INTEGERS)
def test_quoted_integers(name: str) -> None:
    """Integers as strings, for readers that keep 53 bits."""
    array = integers(name)
    strings = [str(number) for number in array.tolist()]
    assert write(array, quoted=True) == json.dumps(strings, separators=(",", ":")).encode()


def test_only_integers_are_quoted() -> None:
    """Floats and bool without quotes."""
    assert write(np.array([1.5]), quoted=True) == b"[1.5]"
    assert write(np.array([True]), quoted=True) == b"[true]"


def test_bool() -> None:
    """Words for bool."""
    assert write(np.array([[True, False], [False, True]])) == b"[[true,false],[false,true]]"


@pytest.mark.parametrize("rank", range(1, 33))
def test_nested_lists_of_each_rank(rank: int) -> None:
    """Brackets of all ranks that are allowed."""
    shape = tuple((1, 2, 1, 3)[axis % 4] if axis < 16 else 1 for axis in range(rank))
    array = np.arange(math.prod(shape)).reshape(shape)
    assert write(array) == json.dumps(array.tolist(), separators=(",", ":")).encode()


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=6).map(tuple)


@settings(max_examples=200)
@given(shape=shapes, name=st.sampled_from(KINDS), quoted=st.booleans(), data=st.data())
def test_texts_of_ranges_join_to_the_text_of_the_whole(
    shape: tuple[int, ...], name: str, quoted: bool, data: st.DataObject
) -> None:
    """Any split into ranges, which threads write apart."""
    count = math.prod(shape)
    array = np.random.default_rng(count).integers(-300, 300, count).astype(name).reshape(shape)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=5)))
    edges = [0, *cuts, count]
    pieces = [write(array, first, last, quoted=quoted) for first, last in itertools.pairwise(edges)]
    assert b"".join(pieces) == write(array, quoted=quoted)
    as_strings = quoted and name in INTEGERS
    expected = array.astype(str).tolist() if as_strings else array.tolist()
    assert json.loads(b"".join(pieces)) == expected


def longest(name: str) -> Array:
    """Return numbers of the longest text of a kind."""
    if name == "float64":
        return np.array([-1.2345678901234567e-308, -1.2345678901234567e-5, -1.2345678901234567e300])
    if name in FLOATS:
        return np.array([-1.2345679e-6, -1.2345679e-38, -1.2345679e-5]).astype(name)
    return np.array([False]) if name == "bool" else np.array([np.iinfo(name).min], name)


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(1,), (3,), (200,), (1,) * 32, (5, 1, 1), (7, 11), (2,) * 6])
def test_no_byte_beyond_the_bound_is_written(
    name: str, quoted: bool, shape: tuple[int, ...]
) -> None:
    """A guard on both sides of a buffer that is exactly as long as the bound."""
    array = np.resize(longest(name), shape)
    kind = KINDS.index(name)
    edges = sorted({0, array.size // 3, array.size // 2, array.size})
    for first in edges:
        for last in (edge for edge in edges if edge >= first):
            bound = compiled.text_bound(kind, shape, first, last)
            out = bytearray(GUARD + b"\xa5" * bound + GUARD)
            inner = memoryview(out)[len(GUARD) : -len(GUARD)]
            end = compiled.write_into(array, kind, shape, first, last, quoted, inner, 0)
            assert end <= bound
            assert inner[:end] == write(array, first, last, quoted=quoted)
            assert out.startswith(GUARD)
            assert out.endswith(GUARD)
            if bound:
                with pytest.raises(ValueError, match="text of up to"):
                    compiled.write_into(array, kind, shape, first, last, quoted, inner[1:], 0)


def test_pieces_are_written_at_once_to_one_buffer() -> None:
    """Ranges on several threads, each at its own place in one buffer."""
    array = np.random.default_rng(2).standard_normal((64, 100))
    cuts = range(0, array.size + 1, 800)
    ranges = list(itertools.pairwise(cuts))
    room = [compiled.text_bound(0, array.shape, *piece) for piece in ranges]
    starts = [sum(room[:index]) for index in range(len(room))]
    out = memoryview(bytearray(sum(room)))

    def write_piece(piece: tuple[int, int], start: int) -> memoryview:
        end = compiled.write_into(array, 0, array.shape, *piece, False, out, start)
        return out[start:end]

    with ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(write_piece, ranges, starts))
    assert b"".join(pieces) == orjson_text(array)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((b"12345678", 0, (2,), 0, 1), "a buffer of 8 bytes for 2 elements of 8 bytes"),
        ((b"123456789", 0, (1,), 0, 1), "a buffer of 9 bytes for 1 elements of 8 bytes"),
        ((b"12345678", 0, (1,), 0, 2), "elements 0 to 2 of an array of 1"),
        ((b"12345678", 0, (1,), -1, 1), "elements -1 to 1 of an array of 1"),
        ((b"12345678", 0, (1,), 1, 0), "elements 1 to 0 of an array of 1"),
        ((b"12345678", 9, (1,), 0, 1), "kind 9 of numbers, not 0 to 8"),
        ((b"12345678", -1, (1,), 0, 1), "kind -1 of numbers, not 0 to 8"),
        ((b"12345678", 0, (), 0, 1), "an array of 0 axes, not 1 to 32"),
        ((b"12345678", 0, (1,) * 33, 0, 1), "an array of 33 axes, not 1 to 32"),
        ((b"", 0, (0,), 0, 0), "an axis of 0 elements, not 1 or more"),
        ((b"12345678", 0, (2**40, 2**40), 0, 1), "more elements than memory can hold"),
        ((b"12345678", 0, (2**61,), 0, 1), "a buffer of 8 bytes for"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    """Sizes that do not agree, before anything is read."""
    with pytest.raises(ValueError, match=message):
        compiled.write(*arguments, False)
    with pytest.raises(ValueError, match=message):
        compiled.write_into(*arguments, False, bytearray(200), 0)


@pytest.mark.parametrize("at", [-1, 200, 201, 2**62])
def test_a_place_outside_the_buffer_is_refused(at: int) -> None:
    """Places before and behind the buffer."""
    with pytest.raises(ValueError, match=f"at {at} of a buffer of 200"):
        compiled.write_into(b"12345678", 0, (1,), 0, 1, False, bytearray(200), at)


def test_unaligned_items() -> None:
    """Elements at odd addresses, as in a slice of a body."""
    array = np.random.default_rng(3).standard_normal(50)
    shifted = memoryview(b"x" + array.tobytes())[1:]
    assert compiled.write(shifted, 0, array.shape, 0, array.size, False) == orjson_text(array)


def test_a_read_only_buffer_is_not_written() -> None:
    """A refusal to write to bytes."""
    with pytest.raises(TypeError, match="read-write"):
        compiled.write_into(b"12345678", 0, (1,), 0, 1, False, bytes(200), 0)
