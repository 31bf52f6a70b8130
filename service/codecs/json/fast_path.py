"""Plain requests, read in one go.

A request is plain when its fields are words and numbers and its operands nested lists of moderate
numbers, to be read in float32 or float64. Anything else is None here: the general way reads it,
and words what is wrong. Both ways give the same call.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import torch

from service.codecs.base import Body, DecodeContext
from service.codecs.json.numbers import extremes
from service.codecs.request import COMMON, MAX_OPERANDS, Fields, parse_fields
from service.core.call import Call
from service.core.dtypes import Dtype
from service.errors import ServiceError
from service.registry import Op

# Above, the general way costs no more.
SMALL_BYTES: Final = 2048
# Below, every whole number is exact in float32, and none becomes infinite.
MODERATE: Final = 2**24
FLOATS: Final = ("float32", "float64")
# A matrix.
DEEPEST: Final = 2
# The body and a list of operands, which are around an array.
OUTSIDE: Final = 2
Array = npt.NDArray[Any]
Items = tuple[tuple[str, object], ...]


def read_quick(body: Body, op: Op[Any], context: DecodeContext) -> Call | None:
    """The call that a small plain body asks for, or None."""
    document = _document(body)
    return plain_call(document, op, context) if document else None


def plain_call(document: dict[str, Any], op: Op[Any], context: DecodeContext) -> Call | None:
    """The call that a plain document asks for, or None. Its operands are lists or arrays.

    They are taken out of it.
    """
    values = _take(document, op)
    if not values or context.shapes:
        return None
    try:
        # 1, 1.0 and true are equal, and different fields.
        types = tuple(map(type, document.values()))
        fields = _fields(op, tuple(document.items()), types, context)
    except TypeError:  # a list among them
        return None
    if fields is None:
        return None
    dtype = fields.dtype or context.dtype
    if dtype.name not in FLOATS:
        return None
    tensors = []
    for value in values:
        if type(value) is np.ndarray:
            array = _moderate(value, dtype, context)
        else:
            array = _array(value, dtype, context)
        if array is None:
            return None
        tensors.append(torch.from_numpy(array))
    return fields.call(op, tuple(tensors))


def _document(body: Body) -> dict[str, Any]:
    """The fields of the body, whose operands may be lists; none in any doubt."""
    if len(body) > SMALL_BYTES or isinstance(body, memoryview) or b"\\" in body:
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    # As many colons as keys: no object within, no key twice, no colon in a word.
    plain = type(document) is dict and body.count(b":") == len(document)
    return document if plain else {}


def _take(document: dict[str, Any], op: Op[Any]) -> list[Any]:
    """The operands, taken out of the document; None for one that is not there."""
    if op.operands is None:
        listed = document.pop("operands", None)
        return listed if type(listed) is list and len(listed) <= MAX_OPERANDS else []
    return [document.pop(name, None) for name in op.operands]


@lru_cache(maxsize=256)
def _fields(
    op: Op[Any], items: Items, types: tuple[type, ...], context: DecodeContext
) -> Fields | None:
    """The fields, if they are right; None to have the general way say what is wrong."""
    if context.max_rank < DEEPEST or context.max_nesting < DEEPEST + OUTSIDE:
        return None
    known = {*COMMON, *(param.name for param in (*op.params, *context.params))}
    missing = {param.name for param in op.params if param.required}.difference(dict(items))
    if missing or not known.issuperset(dict(items)):
        return None
    try:
        return parse_fields(op, dict(items), context)
    except ServiceError:
        return None


def _moderate(array: Array, dtype: Dtype, context: DecodeContext) -> Array | None:
    """The array in another dtype, within the limits and without any loss, or None."""
    if array.size > context.max_elements or array.ndim > context.max_rank:
        return None
    if array.ndim + OUTSIDE > context.max_nesting:
        return None
    if array.dtype == dtype.numpy or not array.size:
        return array.astype(dtype.numpy, copy=False)
    least, greatest = extremes(array)
    return array.astype(dtype.numpy) if -MODERATE < least <= greatest < MODERATE else None


def _array(value: Any, dtype: Dtype, context: DecodeContext) -> Array | None:
    """A vector or a matrix of moderate numbers, or None."""
    if type(value) is not list or not value:
        return None
    rows = value if type(value[0]) is list else (value,)
    for row in rows:
        if type(row) is not list:
            return None
        for item in row:
            kind = type(item)
            if (kind is not float and kind is not int) or not -MODERATE < item < MODERATE:
                return None
    try:
        array = np.array(value, dtype.numpy)
    except ValueError:  # ragged
        return None
    return array if array.size <= context.max_elements else None
