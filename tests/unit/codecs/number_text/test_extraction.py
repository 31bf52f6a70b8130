"""Arrays of any shape and layout, read in one or more threads and pieces, as they arrive."""

import json
from collections.abc import Callable
from random import Random
from typing import Final

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codecs.number_text import Array
from tests.rigs.number_text import (
    are_same,
    arrays_by_place,
    extract,
    extract_growing,
    is_same,
)
from tests.rigs.requirements import needs
from tests.unit.codecs.number_text.extraction_oracle import array_of
from tests.unit.codecs.number_text.mutated_bodies import BODIES, NAMES, ODD, Names, bodies
from tests.unit.codecs.number_text.number_texts import sample
from tests.unit.codecs.number_text.settings import IS_LONG, NUMBERS, SEED

pytestmark = needs("compiled code")

Write = Callable[[Array], str]
THREADS: Final = (1, 2, 5)
SPACES: Final = (" ", "\t", "\n", "\r", "\r\n", "  \t ")
# Both sides of the 64 bytes that the walk takes at once, and of the 32 of a number.
PIECES: Final = (1, 7, 31, 64, 100, 500)


def joined(array: Array, form: str) -> str:
    """Return nested lists with each number in a format of printf."""
    if array.ndim == 0:
        return str(form % array.item())
    return f"[{','.join(joined(each, form) for each in array)}]"


WRITERS: Final[dict[str, Write]] = {
    "json": lambda array: json.dumps(array.tolist()),
    "json, indented": lambda array: json.dumps(array.tolist(), indent=3),
    "json, compact": lambda array: json.dumps(array.tolist(), separators=(",", ":")),
    "json, spaced": lambda array: json.dumps(array.tolist(), separators=(" , ", ": ")),
    "orjson": lambda array: orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
    "%.17g": lambda array: joined(array, "%.17g"),
    "%.17e": lambda array: joined(array, "%.17e"),
    "%.30f": lambda array: joined(array, "%.30f"),
}


def shapes(random: Random) -> list[tuple[int, ...]]:
    """Return shapes of 1 to 16 axes, of some hundred numbers at most."""
    found = [(1,) * rank for rank in range(1, 17)]
    for rank in range(1, 17):
        for _ in range(6):
            sizes = [1] * rank
            while np.prod(sizes) < random.choice((2, 20, 200)):
                sizes[random.randrange(rank)] += random.choice((1, 1, 2, 9))
            found.append(tuple(sizes))
    return found


@pytest.mark.parametrize("write", [pytest.param(each, id=name) for name, each in WRITERS.items()])
def test_arrays_of_any_rank_by_any_writer(write: Write) -> None:
    """Floats come back as they were, and integers as integers where they are written so."""
    random, rng = Random(SEED), np.random.default_rng(SEED)
    for shape in shapes(random):
        floats = rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 8, shape)
        found = array_of(write(floats))
        assert found is not None
        assert is_same(found, floats), shape
        whole = rng.integers(-(10 ** random.randint(1, 15)), 10**15, shape)
        found = array_of(write(whole))
        assert found is not None
        assert found.shape == shape
        assert (found == whole).all()


def spaced(random: Random, text: str, share: float) -> str:
    """Return a text of an array with white space at any place that may have it."""
    tokens = text.replace("[", " [ ").replace("]", " ] ").replace(",", " , ").split()
    spaces = ("".join(random.choices(SPACES, k=random.choice((1, 1, 2, 40)))) for _ in tokens)
    return "".join(
        each + (space if random.random() < share else "")
        for each, space in zip(tokens, spaces, strict=False)
    )


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_white_space_changes_nothing(share: float) -> None:
    """At any place between brackets, commas and numbers."""
    random = Random(SEED)
    for shape in shapes(random):
        array = np.arange(np.prod(shape)).reshape(shape) * random.choice((1, 0.37))
        text = json.dumps(array.tolist(), separators=(",", ":"))
        for _ in range(5):
            found = array_of(spaced(random, text, share))
            assert found is not None, shape
            assert is_same(found, array), shape


def test_no_other_character_is_white_space() -> None:
    """A form feed or a zero stands for nothing, wherever it is."""
    text = "[[1.5,2],[3,4.25]]"
    for space in ("\f", "\v", "\0", "\x1f", "\x85", "\xa0", "\u2028", "\ufeff"):
        for place in range(1, len(text)):
            assert array_of(text[:place] + space + text[place:]) is None


def test_the_rank_is_bounded() -> None:
    """Deep brackets are left to another reader, and take no stack."""
    for rank in (17, 31, 32):
        found = array_of("[" * rank + "1,2" + "]" * rank)
        assert found is None or found.shape == (1,) * (rank - 1) + (2,)
    for rank in (33, 64, 65, 1_000, 10**6):
        assert array_of("[" * rank + "1" + "]" * rank) is None
        assert array_of("[" * rank) is None
        assert array_of("[" * 5 + "1" + "]" * rank) is None


def large_body(seed: int) -> bytes:
    """Return two arrays of some 100 KB, with white space here and there, and another field."""
    random, rng = Random(seed), np.random.default_rng(seed)
    a, x = rng.standard_normal((60, 3, 20)), rng.integers(-(10**9), 10**9, (2, 40, 5))
    texts = [spaced(random, json.dumps(each.tolist()), 0.05) for each in (a, x)]
    mixed = random.choices(sample(seed, 30), k=400)
    return (
        f'{{"a": {texts[0]}, "note": "[1, 2]\\"", "x": {{"data": {texts[1]}}}, '
        f'"b": [{",".join(mixed)}]}}'
    ).encode()


@pytest.mark.parametrize("threads", THREADS)
def test_threads_and_pieces_change_nothing(threads: int) -> None:
    """Also where the dtype changes in the last piece, and in bodies that are not plain."""
    texts: list[tuple[bytes, Names]] = [(large_body(SEED + each), NAMES) for each in range(2)]
    texts += [(body, names) for body in BODIES for names in (NAMES, None)]
    texts += list(bodies(SEED + 3, 300))
    texts += [(f'{{"a":{each}}}'.encode(), NAMES) for each in ODD]
    texts += [(b'{"x":[' + b"1," * count + b"0.5]}", NAMES) for count in (1, 40, 300)]
    texts += [(b'{"x":[' + b"9007199254740993," * 50 + b"0.5]}", NAMES)]
    taken = 0
    for body, names in texts:
        right = extract(body, names)
        taken += right is not None
        for piece_bytes in PIECES:
            found = extract(body, names, threads=threads, piece_bytes=piece_bytes)
            assert are_same(found, right), (body[:300], names, piece_bytes)
    assert taken > len(texts) / 5


ANY_BODY: Final = st.sampled_from(
    [*((body, names) for body in BODIES for names in (NAMES, None)), *bodies(SEED + 4, 200)]
)


@settings(max_examples=NUMBERS // 100 if IS_LONG else 150)
@given(st.data())
def test_any_cut_of_what_arrives_changes_nothing(data: st.DataObject) -> None:
    """In numbers, strings and brackets, once or often, with any pieces and threads."""
    body, names = data.draw(ANY_BODY)
    ends = data.draw(st.lists(st.integers(0, len(body)), max_size=12))
    piece_bytes = data.draw(st.sampled_from(PIECES))
    threads = data.draw(st.sampled_from((0, *THREADS)))
    found = extract_growing(body, names, ends, threads=threads, piece_bytes=piece_bytes)
    assert are_same(found, extract(body, names))


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("body", BODIES)
def test_each_cut_alone(body: bytes, threads: int) -> None:
    """At every byte, and one byte after the other."""
    for names in (NAMES, None):
        right = extract(body, names)
        for end in range(len(body)):
            found = extract_growing(body, names, [end], threads=threads, piece_bytes=32)
            assert are_same(found, right), end
        every = range(1, len(body))
        assert are_same(extract_growing(body, names, every, threads=threads), right)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_large_body_arrives_in_many_parts(threads: int) -> None:
    """As from a network, in parts of one to some thousand bytes."""
    random = Random(SEED)
    for index in range(6):
        body = large_body(SEED + index)
        right = extract(body, NAMES)
        assert right is not None
        ends, end = [], 0
        while end < len(body):
            ends.append(end)
            end += random.choice((1, 63, 64, 65, 1_448, 5_000))
        found = extract_growing(body, NAMES, ends, threads=threads, piece_bytes=2_000)
        assert are_same(found, right)


def test_an_array_outlives_its_text() -> None:
    """Its numbers are memory of its own, which may be written to."""
    body = bytearray(large_body(SEED))
    found = extract(body, NAMES)
    assert found is not None
    kept = arrays_by_place(found, NAMES)["a",]
    right = kept.copy()
    del found
    body[:] = b"]" * len(body)
    assert is_same(kept, right)
    kept += 1
