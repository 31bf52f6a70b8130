"""Fast path for plain JSON requests.

A request is plain when its fields are words and numbers, and its operands arrays of moderate
numbers that are read in float32 or float64. For anything else the functions here return None, and
the general way decodes the body or words its errors. Both ways give the same call.
"""

from functools import lru_cache
from typing import Any, Final

import orjson
import torch

from service.codecs.base import DecodeContext
from service.codecs.number_text import Extracted
from service.codecs.request import MAX_OPERANDS, Fields, parse_fields
from service.core.call import COMMON, Call
from service.core.dtypes import Dtype
from service.errors import ServiceError
from service.registry import Op

# Whole numbers below it are exact in float32, and none becomes infinite.
MODERATE: Final = 2**24
FLOATS: Final = ("float32", "float64")
# Text around arrays up to here is cached: names of fields, and words in them.
LONGEST: Final = 256
# The body and a list of operands, which are around an array.
OUTSIDE: Final = 2


def plain_call(extracted: Extracted, op: Op[Any], context: DecodeContext) -> Call | None:
    """Return the call of a plain request whose arrays were extracted, or None."""
    text, arrays = extracted
    found = _fields(text, op, context) if len(text) <= LONGEST else None
    if found is None or len(arrays) != found[2]:
        return None
    fields, dtype, count, max_rank = found
    tensors: list[Any] = [None] * count
    is_moderate = True
    for position, _, numbers, largest, is_doubtful in arrays:
        if numbers.size > context.max_elements or numbers.ndim > max_rank:
            return None
        if numbers.dtype == dtype.numpy:
            tensors[position] = torch.from_numpy(numbers)
        elif largest >= MODERATE or is_doubtful:
            return None  # a number may change otherwise than to the nearest
        else:
            tensors[position] = torch.from_numpy(numbers.astype(dtype.numpy))
        is_moderate &= largest < MODERATE
    call = Call(
        op.name,
        tuple(tensors),
        fields.params,
        fields.strategy,
        fields.device,
        fields.output,
        fields.deadline_ms,
        options=fields.options,
    )
    call.is_moderate = is_moderate
    if fields.arithmetic is not None:
        call.arithmetic = fields.arithmetic
    if context.shapes:
        call.operand_specs, call.operands = call.specs, ()
    return call


@lru_cache(maxsize=256)
def _fields(
    text: bytes, op: Op[Any], context: DecodeContext
) -> tuple[Fields, Dtype, int, int] | None:
    """Return checked fields, dtype, number and greatest rank of the operands of a text.

    It has `0` for each operand. None where the general way has to read it, or to word an error.
    """
    document = _flat_object(text)
    if document is None or op.optional:
        return None
    count = _take_places(document, op)
    known = {*COMMON, *(param.name for param in (*op.params, *context.params))}
    missing = {param.name for param in op.params if param.required}.difference(document)
    if not count or missing or not known.issuperset(document):
        return None
    try:
        fields = parse_fields(op, document, context)
    except ServiceError:
        return None
    dtype = fields.dtype or context.dtype
    max_rank = min(context.max_rank, context.max_nesting - OUTSIDE)
    return (fields, dtype, count, max_rank) if dtype.name in FLOATS else None


def _flat_object(text: bytes) -> dict[str, Any] | None:
    """Return the fields of an object whose values are words, numbers and lists."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    # As many colons as keys: no object within, no key twice, no colon in a word.
    is_flat = type(document) is dict and text.count(b":") == len(document)
    # A `-0` would be read as the integer 0.
    return document if is_flat and b"\\" not in text and b"-0" not in text else None


def _take_places(document: dict[str, Any], op: Op[Any]) -> int:
    """Take the operands out of the fields, and return how many they are; 0 if not all are there.

    The fields that stay are words and numbers.
    """
    if op.operands is None:
        values = document.pop("operands", None)
        count = len(values) if type(values) is list and len(values) <= MAX_OPERANDS else 0
    else:
        found = [document.pop(name, None) for name in op.operands]
        count = 0 if None in found else len(found)
    return 0 if list in map(type, document.values()) else count
