"""JSON text to Python values. Two engines: one for small documents, one for large ones.

Both give the arrays of numbers among the operands as numpy arrays of int64 or float64, in the
shape that the lists have, when nothing is lost by it. The large one gives up, returning None, on
anything that it cannot prove to be a plain well-formed request: the small one then reads the same
text, and what it gives is what errors are worded from.
"""

from collections.abc import Collection, Iterator
from math import prod
from typing import Any, Final

import numpy as np
import orjson
import simdjson

from service.codecs.base import Body
from service.codecs.json.numbers import Array, is_ambiguous

# At 2 KB the two take the same time, at 40 KB (32 x 32 twice) the small one takes twice as long.
LARGE_BYTES: Final = 2048
# simdjson's length of an array saturates here.
MAX_ARRAY_LENGTH: Final = 2**24 - 1
MAX_DEPTH: Final = 32
# No operation has as many fields.
MAX_KEYS: Final = 64
CACHED_BYTES: Final = 262_144
MANY_ARRAYS: Final = 16
BOM: Final = b"\xef\xbb\xbf"
NUMBERS: Final = (np.dtype(np.float64), np.dtype(np.int64))


class OverflowedFloat(float):
    """A number of the text that no float64 holds: an infinity that nobody wrote."""

    __slots__ = ()


def read_small(
    body: Body, operands: Collection[str] | None, list_field: str = "operands"
) -> object:
    """The document; orjson.JSONDecodeError if there is none.

    Keys that appear twice keep their last value; integers beyond 64 bits become floats.
    """
    document = orjson.loads(body)
    # numpy would take a boolean among numbers for 0 or 1, and makes all strings as long as the
    # longest, which in a large document is more than there is memory.
    if len(body) < LARGE_BYTES and b"true" not in body and b"false" not in body:
        _pack_operands(document, operands, list_field)
    return document


def _pack_operands(document: object, operands: Collection[str] | None, list_field: str) -> None:
    if not isinstance(document, dict):
        return
    if operands is not None:
        for name in operands:
            if name in document:
                document[name] = _pack(document[name])
    elif isinstance(values := document.get(list_field), list):
        document[list_field] = [_pack(each) for each in values]


def _pack(value: object) -> object:
    """An operand, with its list as an array if numpy sees nothing but numbers in it."""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value["data"] = _pack(value["data"])
    if not isinstance(value, list):
        return value
    try:
        array = np.array(value)
    except ValueError:  # ragged, or more than numpy's 64 axes
        return value
    return array if array.dtype in NUMBERS and not is_ambiguous(array) else value


# A parser that is kept has its memory mapped, twice the size of its largest document: a new one
# takes half as long again. One is taken by one thread at a time.
_PARSERS: Final[list[simdjson.Parser]] = []


def drop_parsers() -> None:
    """Free the memory of the parsers that are kept."""
    _PARSERS.clear()


def read_large(
    body: Body,
    operands: Collection[str] | None,
    list_field: str = "operands",
    *,
    patience: int = MAX_ARRAY_LENGTH,
) -> dict[str, object] | None:
    """The fields of the document, or None in any doubt.

    `operands` names the fields that are; if None, they are listed in the field `list_field`. With
    more than `patience` rows to look at, it doubts.
    """
    if body[: len(BOM)] == BOM:  # simdjson skips it
        return None
    reader = _DocumentReader(patience)
    try:
        parser = _PARSERS.pop()
    except IndexError:
        parser = simdjson.Parser()
    try:
        fields = reader.fields(parser.parse(body), operands, list_field)
    except (_UnsupportedError, ValueError, TypeError, RuntimeError, KeyError):
        return None  # KeyError: it does not find a key with a zero character that it has listed
    _PARSERS.append(parser)
    # An array that was not walked, inside what should be numbers, still has its bracket.
    # No object does: an array with one in it has no buffer of numbers.
    return fields if _has(body, b"[", reader.arrays) else None


def _has(body: Body, byte: bytes, count: int) -> bool:
    """Whether a rare byte occurs no more often: 0.4 ms in 10 MB, where `bytes.count` takes 4.4.

    In a small body it is numpy that counts many in half the time.
    """
    if count >= MANY_ARRAYS and len(body) < CACHED_BYTES:
        return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(byte))) == count
    left = count
    for start in range(0, len(body), CACHED_BYTES):
        piece = bytes(body[start : start + CACHED_BYTES])
        position = piece.find(byte)
        while position >= 0 and left >= 0:
            left -= 1
            position = piece.find(byte, position + 1)
    return left >= 0


class _UnsupportedError(Exception):
    """The document is not proved to be plain."""


class _DocumentReader:
    """Reads values out of a simdjson document, and counts the arrays it opened."""

    def __init__(self, patience: int):
        self.arrays = 0
        self._patience = patience

    def _count_values(self, count: int) -> None:
        """Spend patience on so many values, each of which becomes an object of Python."""
        self._patience -= count
        if self._patience < 0:
            raise _UnsupportedError

    def fields(
        self, root: object, operands: Collection[str] | None, list_field: str
    ) -> dict[str, object]:
        fields: dict[str, object] = {}
        for key, value in self._items(root):
            if operands is None and key == list_field:
                fields[key] = [self._operand(each) for each in self._list(value)]
            elif operands is not None and key in operands:
                fields[key] = self._operand(value)
            else:
                fields[key] = self._plain(value)
        return fields

    def _operand(self, value: object) -> object:
        if isinstance(value, simdjson.Object):
            return {
                key: self._data(each) if key == "data" else self._plain(each)
                for key, each in self._items(value)
            }
        return self._data(value)

    def _data(self, value: object) -> object:
        return self._array(value) if isinstance(value, simdjson.Array) else self._plain(value)

    def _plain(self, value: object, depth_left: int = MAX_DEPTH) -> object:
        if not isinstance(value, simdjson.Array | simdjson.Object):
            return value
        if depth_left == 0:
            raise _UnsupportedError
        if isinstance(value, simdjson.Array):
            return [self._plain(each, depth_left - 1) for each in self._list(value)]
        return {key: self._plain(each, depth_left - 1) for key, each in self._items(value)}

    def _items(self, value: object) -> Iterator[tuple[str, object]]:
        if not isinstance(value, simdjson.Object):
            raise _UnsupportedError
        # Each key is looked for among all: of 50 000 that would take seconds.
        if len(value) > MAX_KEYS:
            raise _UnsupportedError
        self._count_values(len(value))
        keys = list(value.keys())
        if len(set(keys)) < len(keys):
            raise _UnsupportedError
        return ((key, value[key]) for key in keys)

    def _list(self, value: object) -> simdjson.Array:
        if not isinstance(value, simdjson.Array):
            raise _UnsupportedError
        self.arrays += 1
        self._count_values(len(value))
        return value

    def _array(self, array: simdjson.Array) -> Array:
        """The array if all rows of a level have one length; what is deeper shows in the count."""
        shape: list[int] = []
        level: list[Any] = [array]
        while True:
            sizes = set(map(len, level))
            size = sizes.pop()
            if sizes or size >= MAX_ARRAY_LENGTH or len(shape) == MAX_DEPTH:
                raise _UnsupportedError
            self.arrays += len(level)
            shape.append(size)
            if size == 0 or not isinstance(level[0][0], simdjson.Array):
                break
            self._count_values(len(level) * size)
            level = [row for rows in level for row in rows]
        items = _numbers(array, whole=size > 0 and isinstance(level[0][0], int))
        if items.size != prod(shape):
            raise _UnsupportedError
        return items.reshape(shape)


def _numbers(array: simdjson.Array, *, whole: bool) -> Array:
    """All numbers of a nested array: int64 when every one of them is an integer."""
    if whole:
        try:
            return np.frombuffer(array.as_buffer(of_type="i"), dtype=np.int64)
        except TypeError:  # a fraction among them
            pass
    items = np.frombuffer(array.as_buffer(of_type="d"), dtype=np.float64)
    if is_ambiguous(items):
        raise _UnsupportedError
    return items
