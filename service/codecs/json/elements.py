"""JSON values to a tensor of a given dtype, strictly.

An element that is no value of the dtype raises an error with the pointer of the first such one.
"""

import math
import re
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Final, NoReturn

import numpy as np
import torch

from service.codecs.base import DecodeContext
from service.codecs.json.nested import NestedArray, check_size, flatten, nesting_error
from service.codecs.json.numbers import (
    MAX_EXACT_INTEGER,
    PART_DTYPES,
    PointerAt,
    convert,
    is_ambiguous,
    refuse_fraction,
    refuse_integer,
    refuse_kind,
    refuse_value,
    to_floats,
)
from service.codecs.json.rounding import (
    Array,
    OverflowedFloat,
    TieError,
    WrittenFloat,
    settle_ties,
)
from service.codecs.json_pointer import kind_of, name_of, pointer_to
from service.core.call import Shape, Tensor
from service.core.dtypes import Dtype
from service.errors import InvalidElementError, Place, ShapeMismatchError, counted, quote

NONFINITE_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]*)")


def read_elements(
    value: object,
    dtype: Dtype,
    pointer: str,
    context: DecodeContext,
    *,
    stated: Shape | None = None,
    casts: bool = False,
) -> tuple[Tensor, str | None]:
    """Return the tensor of a nested array, and a warning if a whole number lost digits.

    With a `stated` shape the array may be flat, in row-major order. With `casts` an array of
    booleans alone becomes one of 1 and 0.
    """
    nested = value if isinstance(value, np.ndarray) else flatten(value, pointer)
    parts = 2 if dtype.kind == "complex" else 1
    if pointer.count("/") + len(nested.shape) > context.max_nesting:
        raise nesting_error(context)
    check_size(nested.shape, pointer, context, parts=parts)
    pointer_at = partial(pointer_to, pointer, shape=nested.shape)
    if stated and isinstance(nested, NestedArray):
        _check_lists(nested, dtype, pointer_at)
    shape = _shape(nested.shape, stated, parts, pointer)
    if casts and isinstance(nested, NestedArray) and _is_cast(nested, dtype):
        booleans = torch.from_numpy(np.array(nested.items, np.bool_))
        tensor, lost = booleans.to(dtype.torch), None
    elif isinstance(nested, NestedArray):
        tensor, lost = _read_list(nested, dtype, pointer_at, is_exact=context.exact)
    else:
        tensor, lost = convert(nested, dtype, pointer_at)
    if parts == 2:
        tensor = torch.view_as_complex(tensor.reshape(-1, 2))
    return tensor if tensor.shape == shape else tensor.reshape(shape), lost


def _shape(found: Shape, stated: Shape | None, parts: int, pointer: str) -> Shape:
    """Return the shape of the tensor; in `found`, that of the lists, complex numbers are pairs."""
    if stated is None:
        if parts == 1 or 0 in found:
            return found
        if found[-1:] != (2,):
            last = f"has size {found[-1]}" if found else "is missing"
            raise InvalidElementError(
                f"complex numbers are pairs [re, im] on a last axis; in {name_of(pointer)} "
                f"that axis {last}",
                hint='{"dtype": "float32", "data": ...} states real numbers',
                places=[Place(pointer, "expected pairs [re, im]")],
            )
        return found[:-1]
    numbers = prod(stated)
    whole = stated if parts == 1 else (*stated, 2)
    flat = (numbers * parts,)
    fitting = {whole, flat} if parts == 1 else {whole, flat, (numbers, 2)}
    # Lists end at an axis of size 0: (2, 0, 3) is written [[], []].
    if found in fitting or (0 in found and found == whole[: len(found)]):
        return stated
    pairs = "" if parts == 1 else ", with a pair [re, im] for each number"
    expected = " or ".join(dict.fromkeys((str(whole), str(flat))))
    raise ShapeMismatchError(
        f"{name_of(pointer)} states shape {stated}; its data has shape {found}, not {expected}",
        hint=f"data is nested like the shape{pairs}, or one flat list of "
        f"{counted(flat[0], 'number')}",
        places=[Place(pointer, f"shape {found}, expected {expected}")],
    )


def _check_lists(nested: NestedArray, dtype: Dtype, pointer_at: PointerAt) -> None:
    """Raise InvalidElementError for an object or a word in place of lists."""
    item = nested.items[0] if nested.shape == () else None
    if isinstance(item, dict) or (isinstance(item, str) and not DECIMAL.fullmatch(item)):
        _refuse(item, 0, nested, dtype, pointer_at)


def _numbers(nested: NestedArray) -> Array | None:
    """Return all elements as int64 or float64, or None if one is no number or would change."""
    items: Array
    try:
        if nested.kinds == {int}:
            items = np.array(nested.items, np.int64)
        elif nested.kinds <= {int, float}:
            items = np.array(nested.items, np.float64)
            if int in nested.kinds and is_ambiguous(items):
                return None
        else:
            return None
    except OverflowError:
        return None
    return items.reshape(nested.shape)


def _read_list(
    nested: NestedArray, dtype: Dtype, pointer_at: PointerAt, *, is_exact: bool
) -> tuple[Tensor, str | None]:
    """Convert the elements at once if they are plain numbers, else one by one.

    The latter are strings, booleans, large integers, numbers with their text, and wrong elements.
    With `is_exact` all floats have their text. Without, TieError for a float that may have been an
    integer: orjson reads those beyond 64 bits as floats.
    """
    if not is_exact and float in nested.kinds and _has_large_float(nested.items):
        raise TieError
    numbers = _numbers(nested)
    if numbers is not None:
        return convert(numbers, dtype, pointer_at)
    if dtype.kind == "bool":
        _check_booleans(nested, dtype, pointer_at)
        return torch.from_numpy(np.array(nested.items, np.bool_)), None
    if dtype.kind == "integer":
        integers = [
            _integer(item, i, nested, dtype, pointer_at) for i, item in enumerate(nested.items)
        ]
        return torch.from_numpy(np.array(integers, dtype.numpy)), None
    part = PART_DTYPES.get(dtype.name, dtype)
    floats = [
        item if type(item) is float else _float(item, i, nested, dtype, pointer_at)
        for i, item in enumerate(nested.items)
    ]
    written = {
        i: number
        for i, item in enumerate(nested.items)
        if abs(number := _written_integer(item)) > MAX_EXACT_INTEGER["float64"]
    }
    items = np.array(floats, np.float64)
    if is_exact and part.name != "float64":
        settle_ties(items, nested.items, part)
    return to_floats(items, part, pointer_at, written=written, is_settled=is_exact)


def _has_large_float(items: Sequence[object]) -> bool:
    return any(type(item) is float and not -(2.0**63) < item < 2.0**64 for item in items)


def _written_integer(item: object) -> int:
    """Return the integer that an element was written as; 0 for any other element."""
    if isinstance(item, WrittenFloat) and DECIMAL.fullmatch(item.text):
        return int(item.text)
    return item if isinstance(item, int) else 0


def _is_cast(nested: NestedArray, dtype: Dtype) -> bool:
    """Return whether booleans become numbers of the dtype; complex ones are pairs."""
    return nested.kinds == {bool} and dtype.kind in {"float", "integer"}


def _check_booleans(nested: NestedArray, dtype: Dtype, pointer_at: PointerAt) -> None:
    if nested.kinds != {bool}:
        index = next(i for i, item in enumerate(nested.items) if not isinstance(item, bool))
        _refuse(nested.items[index], index, nested, dtype, pointer_at)


def _integer(
    item: object, index: int, nested: NestedArray, dtype: Dtype, pointer_at: PointerAt
) -> int:
    """Return an element as an integer in the range of the dtype."""
    if type(item) is int:
        value = item
    elif isinstance(item, str) and DECIMAL.fullmatch(item):
        value = int(item[:100])  # out of range, as more digits would be
    elif isinstance(item, float) and not isinstance(item, OverflowedFloat):
        if not item.is_integer() or abs(item) >= MAX_EXACT_INTEGER["float64"]:
            refuse_fraction(pointer_at(index), item, dtype)
        value = int(item)
    else:
        _refuse(item, index, nested, dtype, pointer_at)
    if not dtype.low <= value <= dtype.high:
        refuse_integer(pointer_at(index), value, dtype)
    return value


def _float(
    item: object, index: int, nested: NestedArray, dtype: Dtype, pointer_at: PointerAt
) -> float:
    """Return an integer, or the word for a nonfinite number, as a float64."""
    if type(item) is int or isinstance(item, WrittenFloat):
        return float(item)
    if not isinstance(item, str) or item not in NONFINITE_WORDS:
        _refuse(item, index, nested, dtype, pointer_at)
    return NONFINITE_WORDS[item]


def typed_array_hint(value: dict[str, object]) -> str | None:
    """Return the hint for an object that JSON.stringify makes of a Float32Array, or None."""
    if "0" not in value:
        return None
    return "Array.from(x) makes a list of a typed array, which JSON.stringify writes as an object"


def _refuse(
    item: object, index: int, nested: NestedArray, dtype: Dtype, pointer_at: PointerAt
) -> NoReturn:
    """Raise the error for an element that is no value of the dtype."""
    hint = None
    found = kind_of(item)
    numeric = dtype.kind in {"float", "complex"}
    if isinstance(item, OverflowedFloat):
        refuse_value(
            pointer_at(index), "a number beyond 1.8e308", "is in no dtype's range", hint=None
        )
    if isinstance(item, dict):
        hint = typed_array_hint(item)
    elif isinstance(item, str):
        found = f"the string {quote(item)}"
        if numeric:
            hint = 'numbers stand without quotes; the others are "NaN", "Infinity", "-Infinity"'
    elif item is None and numeric:
        hint = 'a number that is missing can be the string "NaN"'
    elif nested.kinds == {bool}:
        hint = '"dtype": "bool" takes booleans, and "dtype": "float32" makes them 1 and 0'
    elif isinstance(item, bool):
        hint = "an array has booleans or numbers, not both"
    refuse_kind(pointer_at(index), found, dtype, hint=hint)
