"""Nested lists to a shape and a flat list of elements, and limits of shapes.

Elements are checked in `service.codecs.json.elements`, which has their dtype.
"""

from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Final, NoReturn

from service.codecs.base import DecodeContext
from service.codecs.json_pointer import index_of, name_of, pointer_to
from service.core.call import Shape
from service.errors import LimitExceededError, NestingError, Place, RaggedArrayError, counted, quote

MAX_SIZE_PRODUCT: Final = 2**58  # of 16-byte elements


@dataclass(frozen=True, slots=True)
class NestedArray:
    """A rectangular array: shape, elements in row-major order, and the set of their types."""

    shape: Shape
    items: list[object]
    kinds: set[type]


def flatten(value: object, pointer: str) -> NestedArray:
    """Return the array of a nested list, or of a single element, which has rank 0.

    Raises RaggedArrayError with the first place that is not rectangular.
    """
    shape: Shape = ()
    level: list[object] = [value]
    while list in (kinds := set(map(type, level))):
        if len(kinds) > 1:
            _refuse_mixed(level, pointer, shape)
        rows: list[list[object]] = level  # type: ignore[assignment]  # the one kind is list
        size = len(rows[0])
        if len(set(map(len, rows))) > 1:
            index = next(index for index, row in enumerate(rows) if len(row) != size)
            found = counted(len(rows[index]), "item")
            _refuse(pointer, shape, index, f"has {found}", f"has {size}")
        shape = (*shape, size)
        level = list(chain.from_iterable(rows))
    return NestedArray(shape, level, kinds)


def check_size(shape: Shape, pointer: str, context: DecodeContext, *, parts: int = 1) -> None:
    """Raise LimitExceededError for a shape over a limit. Nothing is allocated.

    With 2 `parts` the last axis holds the real and the imaginary part of each element.
    """
    rank = len(shape) - (parts - 1)
    if rank > context.max_rank:
        _refuse_size(f"rank {rank}", f"{context.max_rank} (SERVICE_MAX_RANK)", pointer)
    elements = prod(shape) // parts
    if elements == 0 and not context.shapes:
        check_empty(shape, pointer)
    if elements > context.max_elements:
        found = counted(elements if elements < 2**64 else "over 2^64", "element")
        _refuse_size(found, f"{context.max_elements} (SERVICE_MAX_ELEMENTS)", pointer)


def check_empty(shape: Shape, pointer: str) -> None:
    """Raise LimitExceededError for an empty shape that torch and numpy refuse.

    They multiply the sizes that are not 0 in 64 bits.
    """
    if prod(size or 1 for size in shape) >= MAX_SIZE_PRODUCT:
        _refuse_size(f"shape {quote(shape)}", "a product below 2^58", pointer)


def nesting_error(context: DecodeContext) -> NestingError:
    """Return the error for a document that is nested too deeply."""
    return NestingError(
        f"arrays and objects are nested deeper than {context.max_nesting} (SERVICE_MAX_NESTING)",
        hint='{"shape": [...], "data": [...]} takes any tensor as one flat list',
    )


def _refuse_size(found: str, limit: str, pointer: str) -> NoReturn:
    raise LimitExceededError(
        f"{name_of(pointer)} has {found}; the limit is {limit}",
        places=[Place(pointer, f"{found}, at most {limit}")],
    )


def _refuse_mixed(level: list[object], pointer: str, shape: Shape) -> NoReturn:
    """Raise RaggedArrayError for a level with lists and elements."""
    nested = isinstance(level[0], list)
    index = next(i for i, each in enumerate(level) if isinstance(each, list) is not nested)
    if nested:
        _refuse(pointer, shape, index, "is a single element", "is a list")
    _refuse(pointer, shape, index, "is a list", "is a single element")


def _refuse(pointer: str, shape: Shape, index: int, found: str, first: str) -> NoReturn:
    row = ", ".join(map(str, index_of(index, shape)))
    zero = ", ".join("0" for _ in shape)
    detail = f"row {row} {found}, row {zero} {first}"
    raise RaggedArrayError(
        f"{name_of(pointer)} is not rectangular: {detail}",
        places=[Place(pointer_to(pointer, index, shape), detail)],
    )
