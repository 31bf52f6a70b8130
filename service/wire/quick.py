"""Small plain requests, read in one go.

A request is plain when its fields are words and its operands nested lists of moderate numbers, to
be read in float32 or float64. Anything else is None here: the general way reads it, and words what
is wrong. Both ways give the same call.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
import torch

from service.call import Call, Tensor
from service.dtypes import Dtype
from service.errors import ServiceError
from service.registry import Op
from service.wire.codec import Body, Reading
from service.wire.request import MAX_OPERANDS, Fields, parse_fields

# Above, the general way costs no more.
SMALL_BYTES: Final = 2048
# Below, every whole number is exact in float32, and none becomes infinite.
MODERATE: Final = 2**24
FLOATS: Final = ("float32", "float64")
# The body, a list of operands, a matrix.
DEEPEST: Final = 4
Items = tuple[tuple[str, str], ...]


def read_quick(body: Body, op: Op[Any], reading: Reading) -> Call | None:
    """The call that a small plain body asks for, or None."""
    document = _document(body, reading)
    values = _take(document, op)
    if not values or not all(type(word) is str for word in document.values()):
        return None
    fields = _fields(op, tuple(document.items()), reading)
    if fields is None:
        return None
    dtype = fields.dtype or reading.dtype
    tensors = []
    for value in values:
        tensor = _tensor(value, dtype, reading)
        if tensor is None:
            return None
        tensors.append(tensor)
    return fields.call(op, tuple(tensors))


def _document(body: Body, reading: Reading) -> dict[str, Any]:
    """The fields of the body, whose operands may be lists; none in any doubt."""
    if len(body) > SMALL_BYTES or b"\\" in body or reading.max_nesting < DEEPEST:
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    # As many colons as keys: no object within, no key twice, no colon in a word.
    plain = type(document) is dict and body.count(b":") == len(document)
    return document if plain else {}


def _take(document: dict[str, Any], op: Op[Any]) -> list[Any]:
    """The operands, taken out of the document; empty unless all of them are there."""
    if op.operands is None:
        listed = document.pop("operands", None)
        return listed if type(listed) is list and len(listed) <= MAX_OPERANDS else []
    values = [document.pop(name, None) for name in op.operands]
    return [] if None in values else values


@lru_cache(maxsize=256)
def _fields(op: Op[Any], items: Items, reading: Reading) -> Fields | None:
    """The fields, if they are right; None to have the general way say what is wrong."""
    known = {"strategy", "device", "dtype", "output", *(param.name for param in op.params)}
    missing = {param.name for param in op.params if param.required}.difference(dict(items))
    if missing or not known.issuperset(dict(items)):
        return None
    try:
        return parse_fields(op, dict(items), reading)
    except ServiceError:
        return None


def _tensor(value: Any, dtype: Dtype, reading: Reading) -> Tensor | None:
    """A vector or a matrix of moderate numbers, or None."""
    if type(value) is not list or not value or dtype.name not in FLOATS:
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
    if array.size > reading.max_elements or array.ndim > reading.max_rank:
        return None
    return torch.from_numpy(array)
