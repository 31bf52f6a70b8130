"""JSON text to Python values, by orjson for small documents and by simdjson for large ones.

Both return arrays of numbers among the operands as numpy arrays of int64 or float64, in the shape
of the lists, if no number changes by it. The reader of large documents returns None for anything
but a plain well-formed request. The reader of small documents then reads the same text, so that
errors come from one of them alone.
"""

from collections.abc import Collection, Iterator
from math import prod
from typing import Any, Final

import numpy as np
import orjson
import simdjson

from service.codecs.base import Body
from service.codecs.json.negative_zeros import state_negative_zeros
from service.codecs.json.numbers import is_ambiguous
from service.codecs.json.rounding import Array

# At 2 KB both take the same time, at 40 KB (two of 32 x 32) orjson takes twice as long.
LARGE_BYTES: Final = 2048
# The length of an array that simdjson reports does not exceed this.
MAX_ARRAY_LENGTH: Final = 2**24 - 1
MAX_DEPTH: Final = 32
# More than any operation has fields.
MAX_KEYS: Final = 64
CACHED_BYTES: Final = 262_144  # fits in the processor's cache
MANY_ARRAYS: Final = 16
BOM: Final = b"\xef\xbb\xbf"
NUMBERS: Final = (np.dtype(np.float64), np.dtype(np.int64))


class OverflowedFloat(float):
    """An infinity in place of a number beyond float64, to tell it from a written "Infinity"."""

    __slots__ = ()


def read_small(
    body: Body, operands: Collection[str] | None, list_field: str = "operands"
) -> object:
    """Return the document, read by orjson, or raise orjson.JSONDecodeError.

    Keys that appear twice keep their last value; integers beyond 64 bits become floats.
    `operands` and `list_field` are those of `read_large`.
    """
    document = orjson.loads(body)
    if b"-0" in body and (stated := state_negative_zeros(body)) is not None:
        document = orjson.loads(stated)
    # numpy converts a boolean among numbers to 0 or 1. It also makes all strings as long as the
    # longest, which for a large document may exceed the memory.
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
    """Return an operand, with its list as an array if that holds numbers alone."""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value["data"] = _pack(value["data"])
    if not isinstance(value, list):
        return value
    try:
        array = np.array(value)
    except ValueError:  # ragged, or more than numpy's 64 axes
        return value
    return array if array.dtype in NUMBERS and not is_ambiguous(array) else value


# A reused parser has its memory mapped, twice the size of its largest document: a new one takes
# 1.5 times as long. Each is used by one thread at a time.
_PARSERS: Final[list[simdjson.Parser]] = []


def drop_parsers() -> None:
    """Free the memory of the parsers kept for reuse."""
    _PARSERS.clear()


def read_large(
    body: Body,
    operands: Collection[str] | None,
    list_field: str = "operands",
    *,
    max_values: int = MAX_ARRAY_LENGTH,
) -> dict[str, object] | None:
    """Return the fields of the document, read by simdjson, or None if it is not plain.

    `operands` names the fields that are operands; if None, the operands are the items of the list
    in the field `list_field`. A document with more than `max_values` values that become Python
    objects, such as rows, is not plain either.
    """
    if body[: len(BOM)] == BOM:  # simdjson skips it
        return None
    reader = _DocumentReader(max_values)
    try:
        parser = _PARSERS.pop()
    except IndexError:
        parser = simdjson.Parser()
    try:
        fields = reader.fields(parser.parse(body), operands, list_field)
    except (_UnsupportedError, ValueError, TypeError, RuntimeError, KeyError):
        return None  # KeyError: simdjson lists a key with a zero character, and does not find it
    _PARSERS.append(parser)
    if reader.has_zeros and (stated := state_negative_zeros(body)) is not None:
        return read_large(stated, operands, list_field, max_values=max_values)
    # An array where a number should be has not been visited: its bracket is not in the count.
    # Objects need no count, because an array with one in it has no buffer of numbers.
    return fields if _has(body, b"[", reader.arrays) else None


def _has(body: Body, byte: bytes, count: int) -> bool:
    """Return whether a rare byte occurs `count` times at most.

    `find` takes 0.4 ms in 10 MB, where `bytes.count` takes 4.4. For many occurrences in a small
    body numpy takes half the time.
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
    """The document is not plain."""


class _DocumentReader:
    """Reads values out of a simdjson document, and counts the arrays that it visits.

    If an operand has no zeros, none of its numbers is written `-0`.
    """

    def __init__(self, max_values: int):
        self.arrays = 0
        self.has_zeros = False
        self._values_left = max_values

    def _count_values(self, count: int) -> None:
        """Subtract so many values, each of which becomes a Python object, from those allowed."""
        self._values_left -= count
        if self._values_left < 0:
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
        if isinstance(value, simdjson.Array):
            return self._array(value)
        self.has_zeros |= value == 0
        return self._plain(value)

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
        # simdjson searches all keys for each of them: 50 000 would take seconds.
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
        """Return the array if all rows of a level have one length.

        Arrays deeper than a number are found by the count of brackets.
        """
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
        # As integers, which -0.0 is not 0 among. For half a million floats this takes 0.1 ms.
        self.has_zeros |= int(np.count_nonzero(items.view(np.int64))) < items.size
        return items.reshape(shape)


def _numbers(array: simdjson.Array, *, whole: bool) -> Array:
    """Return all numbers of a nested array, as int64 if all of them are integers."""
    if whole:
        try:
            return np.frombuffer(array.as_buffer(of_type="i"), dtype=np.int64)
        except TypeError:  # a fraction among them
            pass
    items = np.frombuffer(array.as_buffer(of_type="d"), dtype=np.float64)
    if is_ambiguous(items):
        raise _UnsupportedError
    return items
