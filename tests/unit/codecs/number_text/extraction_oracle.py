"""The arrays of a body by Python's own strict parser, and comparison of a reader with it."""

import json
from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Never

import numpy as np
import orjson

from service.codecs.number_text import Array
from tests.rigs.number_text import (
    LIST_FIELD,
    Found,
    Place,
    arrays_by_place,
    extract,
    is_same,
)

MAX_EXACT: Final = 2**53
BEYOND_FLOAT32: Final = 2.0**128 - 2.0**103
# Python refuses to convert more digits to an integer.
MAX_INTEGER_DIGITS: Final = 4_000


class Number(str):
    """The text of a number."""

    __slots__ = ()


class Outcome(Enum):
    """Result of comparing a body."""

    EXTRACTED = "extracted, and equal"
    LEFT = "left to another reader"
    REFUSED = "refused for what is outside of the arrays"


def strict(body: bytes) -> object:
    """Return the document with the text of each number; ValueError if any parser refuses it."""

    def refuse(word: str) -> Never:
        raise ValueError(word)

    text = body.decode()
    document: object = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=refuse)
    return document


def expected_array(value: object) -> Array | None:
    """Return the array of a rectangular list of numbers, or None if it is anything else.

    Integers are int64, and all are float64 if one is written with a point or an exponent, or is
    -0. An integer beyond 2^53 would then be rounded, so that there is no array.
    """
    shape, level = [], [value]
    while isinstance(level[0], list):
        sizes = {len(each) if isinstance(each, list) else -1 for each in level}
        if len(sizes) > 1 or min(sizes) < 1:
            return None
        shape.append(sizes.pop())
        level = [each for row in level for each in row]  # type: ignore[attr-defined]
    if not shape or not all(isinstance(each, Number) for each in level):
        return None
    items = expected_items([str(each) for each in level])
    return None if items is None else items.reshape(shape)


def expected_items(texts: Sequence[str]) -> Array | None:
    """Return the numbers of texts, or None if one cannot be held."""
    whole = [_integer(text) for text in texts]
    if None not in whole:
        integers = [each for each in whole if each is not None]
        if min(integers) < -(2**63) or max(integers) >= 2**63:
            return None
        return np.array(integers, np.int64)
    if any(each is not None and abs(each) > MAX_EXACT for each in whole):
        return None
    floats = np.array(list(map(float, texts)), np.float64)
    return None if np.isinf(floats).any() else floats


def _integer(text: str) -> int | None:
    digits = text.lstrip("-")
    if text == "-0" or not digits.isdigit():
        return None
    return int(text) if len(digits) < MAX_INTEGER_DIGITS else 2**64


def array_of(text: str) -> Array | None:
    """Return the array that a text becomes as the operand "a", or None if it is no array."""
    found = extract(f'{{"a":{text}}}'.encode(), ("a",))
    if found is None or b"".join(found[0].split()) != b'{"a":0}' or len(found[1]) != 1:
        return None
    return arrays_by_place(found, ("a",))["a",]


def is_plain(body: bytes, names: tuple[str, ...] | None) -> bool:
    """Return whether a reader has to take a body.

    It is well-formed and an object, no name is doubled, there is no escape, and each operand that
    is a list, or has a list as its data, is an array of numbers.
    """
    try:
        document = strict(body)
        orjson.loads(body)
    except ValueError:
        return False
    if not isinstance(document, dict) or b"\\" in body or _has_doubled(body):
        return False
    operands = document.get(LIST_FIELD) if names is None else [document.get(each) for each in names]
    if not isinstance(operands, list):
        return True
    data = [each.get("data") if isinstance(each, dict) else each for each in operands]
    return all(expected_array(each) is not None for each in data if isinstance(each, list))


def _has_doubled(body: bytes) -> bool:
    found = []

    def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.append(len({key for key, _ in pairs}) < len(pairs))
        return dict(pairs)

    json.loads(body, object_pairs_hook=note, parse_int=Number)
    return any(found)


def outcome(body: bytes, names: tuple[str, ...] | None, found: Found) -> Outcome:
    """Compare what a reader has found in a body with the strict parser; AssertionError if wrong.

    A reader may leave any body. Only what it takes has to be right.
    """
    if found is None:
        return Outcome.LEFT
    try:
        document = orjson.loads(found[0])
    except orjson.JSONDecodeError:
        return Outcome.REFUSED
    if b"\\" in found[0] or _has_doubled(found[0]):
        return Outcome.LEFT  # as its caller does
    right = strict(body)  # what the skeleton has passed has to pass as a whole
    orjson.loads(body)
    assert_same(document, right, arrays_by_place(found, names))
    exact = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    for (place, array), (*_, largest, is_doubtful) in zip(
        arrays_by_place(found, names).items(), found[1], strict=True
    ):
        assert largest == float(max(map(abs, array.reshape(-1).tolist())))
        assert is_doubtful or not has_inexact_ties(array, value_at(exact, place))
    return Outcome.EXTRACTED


def value_at(document: Any, place: Place) -> Any:
    """Return the value at a place of a document."""
    for key in place:
        document = document[key]
    return document


def has_inexact_ties(array: Array, exact: Any) -> bool:
    """Return whether a float64 is halfway between two of float32, and the exact number is not."""
    if array.dtype != np.float64:
        return False
    items = array.reshape(-1)
    numbers = np.array(exact, object).reshape(-1)
    found = np.flatnonzero(are_ties(items)).tolist()
    return any(Decimal(items[each].item()) != numbers[each] for each in found)


def are_ties(items: Array) -> Array:
    """Return which float64 are halfway between two of float32."""
    with np.errstate(over="ignore", under="ignore"):
        near = items.astype(np.float32)
        sides = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
        apart = np.abs(near - items)
        found: Array = (
            np.abs(items) == BEYOND_FLOAT32
        )  # halfway to 2^128, from which on all is infinite
        for side in sides:
            found |= (apart > 0) & (np.abs(side - items) == apart)
        return found & (np.abs(items) <= BEYOND_FLOAT32)


def assert_same(document: object, right: object, arrays: dict[Place, Array]) -> None:
    """Compare a document, with 0 in the place of each array, with that of Python's parser."""
    left = dict(arrays)

    def same(value: object, wanted: object, place: Place) -> bool:
        if place in left:
            assert (type(value), value) == (int, 0)
            return is_same(left.pop(place), expected_array(wanted))
        if isinstance(value, dict):
            return (
                isinstance(wanted, dict)
                and value.keys() == wanted.keys()
                and all(same(each, wanted[key], (*place, key)) for key, each in value.items())
            )
        if isinstance(value, list):
            return (
                isinstance(wanted, list)
                and len(value) == len(wanted)
                and all(
                    same(each, other, (*place, index))
                    for index, (each, other) in enumerate(zip(value, wanted, strict=True))
                )
            )
        if isinstance(wanted, Number):
            return isinstance(value, int | float) and float(value) == float(wanted)
        return type(value) is type(wanted) and value == wanted

    assert same(document, right, ())
    assert not left
