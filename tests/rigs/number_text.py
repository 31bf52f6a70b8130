"""The compiled reader and writer of numbers, with defaults of their parameters."""

from collections.abc import Iterable
from typing import Final

import numpy as np

from service.codecs import number_text
from service.codecs.number_text import (
    KINDS,
    PIECE_BYTES,
    PIECE_NUMBERS,
    Array,
    Extracted,
    OperandNames,
    Text,
    compiled,
)

Found = Extracted | None
Place = tuple[str | int, ...]

LIST_FIELD: Final = "operands"


def extract(
    body: Text,
    names: tuple[str, ...] | None,
    *,
    threads: int = 0,
    piece_bytes: int = PIECE_BYTES,
) -> Found:
    """Read a whole body; with 0 threads in the caller's own."""
    number_text.set_threads(threads)
    operands = OperandNames(names, LIST_FIELD)
    return number_text.extract(body, operands, piece_bytes=piece_bytes, threaded=threads > 0)


def extract_growing(
    body: bytes,
    names: tuple[str, ...] | None,
    ends: Iterable[int],
    *,
    threads: int = 0,
    piece_bytes: int = PIECE_BYTES,
) -> Found:
    """Read a body that is there up to each of the ends, one after the other.

    What is not there yet is filled with brackets, which would change the result.
    """
    number_text.set_threads(threads)
    buffer = bytearray(b"]" * len(body))
    reading = number_text.begin(buffer, OperandNames(names, LIST_FIELD), piece_bytes=piece_bytes)
    assert reading is not None
    known = 0
    for end in (*sorted(ends), len(body)):
        buffer[known:end] = body[known:end]
        reading.feed(end)
        known = end
    found: Found = reading.finish()
    return found


def arrays_by_place(found: Found, names: tuple[str, ...] | None) -> dict[Place, Array]:
    """Return the arrays by their place in the document; two in one place are an error."""
    if found is None:
        return {}
    places = {}
    for operand, in_object, array, _, _ in found[1]:
        place: Place = (LIST_FIELD, operand) if names is None else (names[operand],)
        place = (*place, "data") if in_object else place
        assert place not in places
        places[place] = array
    return places


def is_same(found: Array, right: Array | None) -> bool:
    """Return whether two arrays have the same numbers bit for bit, of one dtype and shape."""
    return (
        right is not None
        and (found.dtype, found.shape) == (right.dtype, right.shape)
        and np.array_equal(found.view(np.int64), right.view(np.int64))
    )


def are_same(found: Found, right: Found) -> bool:
    """Return whether two results are the same."""
    if found is None or right is None:
        return found is right
    return (
        found[0] == right[0]
        and len(found[1]) == len(right[1])
        and all(
            one[:2] == other[:2] and one[3:] == other[3:] and is_same(one[2], other[2])
            for one, other in zip(found[1], right[1], strict=True)
        )
    )


def write(
    array: Array,
    *,
    is_quoted: bool = False,
    threads: int = 0,
    piece_numbers: int = PIECE_NUMBERS,
) -> bytes:
    """Return the text of an array."""
    return b"".join(
        write_pieces(array, is_quoted=is_quoted, threads=threads, piece_numbers=piece_numbers)
    )


def write_pieces(
    array: Array,
    *,
    is_quoted: bool = False,
    threads: int = 0,
    piece_numbers: int = PIECE_NUMBERS,
) -> list[bytes]:
    """Return the text of an array in pieces; with 0 threads by the caller's own."""
    number_text.set_threads(threads)
    kind = KINDS[array.dtype]
    pieces: list[bytes] = compiled.write_pieces(
        array, kind, array.shape, piece_numbers, is_quoted, threads > 0
    )
    return pieces
