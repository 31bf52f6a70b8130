"""Random mutations of a valid body that keep most of it."""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

NUMBER: Final = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
WORD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]+")
EDGES: Final = (
    b"0", b"-0", b"1", b"-1", b"2", b"3", b"0.1", b"1e3", b"127", b"128", b"255", b"256",
    b"65520", b"16777217", b"2147483647", b"2147483648", b"4294967296", b"9007199254740993",
    b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808",
    b"18446744073709551615", b"18446744073709551616", b"1e308", b"1e309", b"-1e309",
    b"3.4028234e38", b"3.4028236e38", b"1e39", b"5e-324", b"1e-400", b"1e-45", b"1" * 400,
    b"0." + b"3" * 40, b"null", b"true", b"false", b'"NaN"', b'"-Infinity"', b"NaN", b'"1"',
    b"[]", b"{}", b"[1]", b"1.", b"01", b"1e", b"+1", b"0x1",
)  # fmt: skip
# What may stand in a word's place and leave the body valid, or nearly so.
WORDS: Final = (
    b"float32", b"float64", b"float16", b"bfloat16", b"int8", b"int16", b"int32", b"int64",
    b"uint8", b"bool", b"complex64", b"complex128", b"F32", b"F64", b"I64", b"BF16", b"FP32",
    b"INT8", b"BOOL", b"ij", b"jk", b"ii", b"i", b"add", b"sub", b"mul", b"div", b"pow",
    b"maximum", b"eq", b"lt", b"fro", b"nuc", b"inf", b"vector", b"matrix", b"shape", b"data",
    b"dtype", b"b64", b"operands", b"torch", b"numpy", b"loops", b"python", b"einsum",
    b"elementwise", b"x", b"a", b"b", b"op", b"to", b"true", b"null",
)  # fmt: skip
PIECES: Final = (
    b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b" ", b"\n", b"\x00", b"\xff", b"\xc3",
    b"[[", b"]]", b"},{", b"],[", b"\\u0000", b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"...", b"->", b"-", b".", b"e9", b"1,", b"[],", b"[1],", b'"x":1,', b'"dtype":"int8",',
    b'"output":"flat",', b"PK\x03\x04", b"\x00" * 8, b"\xff" * 8,
)  # fmt: skip
INTEGERS: Final = (0, 1, 2**7 - 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1,
                   2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
Change = Callable[[Random, bytes, bytes], bytes]


def span(random: Random, body: bytes) -> tuple[int, int]:
    """Return a part of the body, mostly a short one."""
    begin = random.randint(0, len(body))
    longest = random.choice((1, 4, 16, len(body)))
    return begin, min(len(body), begin + random.randint(0, longest))


def flip(random: Random, body: bytes, other: bytes) -> bytes:
    """Flip a few bits."""
    changed = bytearray(body)
    for _ in range(random.randint(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(random: Random, body: bytes, other: bytes) -> bytes:
    """Cut off the end."""
    return body[: random.randint(0, len(body))]


def drop(random: Random, body: bytes, other: bytes) -> bytes:
    """Remove a part."""
    begin, end = span(random, body)
    return body[:begin] + body[end:]


def again(random: Random, body: bytes, other: bytes) -> bytes:
    """Repeat a part."""
    begin, end = span(random, body)
    return body[:begin] + body[begin:end] * random.randint(2, 5) + body[end:]


def splice(random: Random, body: bytes, other: bytes) -> bytes:
    """Replace a part by one of another body."""
    begin, end = span(random, body)
    first, last = span(random, other)
    return body[:begin] + other[first:last] + body[end:]


def insert(random: Random, body: bytes, other: bytes) -> bytes:
    """Insert a piece."""
    at = random.randint(0, len(body))
    return body[:at] + random.choice(PIECES) + body[at:]


def number(random: Random, body: bytes, other: bytes) -> bytes:
    """Replace a number in digits."""
    return _replace(random, body, NUMBER, EDGES)


def word(random: Random, body: bytes, other: bytes) -> bytes:
    """Replace a word."""
    return _replace(random, body, WORD, WORDS)


def integer(random: Random, body: bytes, other: bytes) -> bytes:
    """Replace an integer in bytes."""
    size: int = random.choice((1, 2, 4, 8))
    at = random.randint(0, max(0, len(body) - size))
    value: int = random.choice(INTEGERS) % (1 << 8 * size)
    return body[:at] + value.to_bytes(size, "little") + body[at + size :]


def late(random: Random, body: bytes, other: bytes) -> bytes:
    """Flip a bit near the end, where files have their data."""
    at = len(body) - random.randint(1, 16)
    if at < 0 or body.endswith(b"}"):
        return number(random, body, other)
    return body[:at] + bytes([body[at] ^ 1 << random.randrange(8)]) + body[at + 1 :]


def _replace(
    random: Random, body: bytes, pattern: re.Pattern[bytes], choices: Sequence[bytes]
) -> bytes:
    found = [match.span() for match in pattern.finditer(body)]
    if not found:
        return body
    begin, end = random.choice(found)
    return body[:begin] + random.choice(choices) + body[end:]


CHANGES: Final[tuple[Change, ...]] = (
    flip, cut, drop, again, splice, insert, number, number, number, word, word, integer,
)  # fmt: skip

# Most of what comes of these is still a request.
GENTLE: Final[tuple[Change, ...]] = (number, word, late, late)


def mutated(random: Random, body: bytes, other: bytes) -> bytes:
    """Return the body after one to three mutations, which may take a part of `other`."""
    changes = random.choice((CHANGES, GENTLE))
    for _ in range(random.choice((1, 1, 2, 3))):
        body = random.choice(changes)(random, body, other)
    return body
