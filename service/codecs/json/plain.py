"""Fast path for plain JSON requests.

A request is plain when its fields are words and numbers, and its operands nested lists of moderate
numbers that are read in float32 or float64. For anything else the functions here return None, and
the general way decodes the body or words its errors. Both ways give the same call.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
import torch

from service.codecs.base import Body, DecodeContext
from service.codecs.json.negative_zeros import state_negative_zeros
from service.codecs.json.numbers import extremes
from service.codecs.json.rounding import TO_25_BITS, Array, TieError, is_tie, round_to_float32
from service.codecs.request import COMMON, MAX_OPERANDS, Fields, parse_fields
from service.core.call import Call
from service.core.dtypes import Dtype
from service.errors import ServiceError
from service.registry import Op

# Larger bodies cost no more on the general way; errors of smaller ones are worded in a millisecond.
PLAIN_BYTES: Final = 2048
# Smaller whole numbers are exact in float32, and do not become infinite.
MODERATE: Final = 2**24
FLOATS: Final = ("float32", "float64")
# A matrix.
DEEPEST: Final = 2
# The body and a list of operands, which are around an array.
OUTSIDE: Final = 2
Items = tuple[tuple[str, object], ...]


def read_plain_body(body: Body, op: Op[Any], context: DecodeContext) -> Call | None:
    """Return the call of a small plain body, or None."""
    if len(body) > PLAIN_BYTES or isinstance(body, memoryview) or b"\\" in body:
        return None
    text = (state_negative_zeros(body) if b"-0" in body else None) or body
    is_whole = not (b"." in body or b"-" in body)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    # As many colons as keys: no object within, no key twice, no colon in a word.
    if type(document) is not dict or body.count(b":") != len(document):
        return None
    call = plain_call(document, op, context, is_whole=is_whole)
    if call is not None:
        call.is_moderate = True  # as each number of a list has been found to be
    return call


def plain_call(
    document: dict[str, Any], op: Op[Any], context: DecodeContext, *, is_whole: bool = False
) -> Call | None:
    """Return the call of a plain document, or None; the operands are taken out of it.

    They are lists or arrays. With `is_whole`, none of their numbers has a fraction.
    """
    if op.operands is None:
        values = document.pop("operands", None)
        if type(values) is not list or len(values) > MAX_OPERANDS:
            return None
    else:
        values = [document.pop(name, None) for name in op.operands]
    if not values:
        return None
    try:
        # 1, 1.0 and true are equal, and different fields.
        types = tuple(map(type, document.values()))
        fields = _fields(op, tuple(document.items()), types, context)
    except TypeError:  # a list among them
        return None
    dtype = (fields and fields.dtype) or context.dtype
    if fields is None or dtype.name not in FLOATS:
        return None
    tensors = []
    for value in values:
        if type(value) is np.ndarray:
            array = _moderate(value, dtype, context)
        else:
            array = _array(value, dtype, context, is_whole=is_whole)
        if array is None:
            return None
        tensors.append(torch.from_numpy(array))
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
    if context.shapes:
        call.operand_specs, call.operands = call.specs, ()
    return call


@lru_cache(maxsize=256)
def _fields(
    op: Op[Any], items: Items, types: tuple[type, ...], context: DecodeContext
) -> Fields | None:
    """Return the checked fields, or None where the general way has to word an error."""
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
    """Return the array in another dtype, within the limits and without any loss, or None."""
    if array.size > context.max_elements or array.ndim > context.max_rank:
        return None
    if array.ndim + OUTSIDE > context.max_nesting:
        return None
    if array.dtype == dtype.numpy or not array.size:
        return array.astype(dtype.numpy, copy=False)
    least, greatest = extremes(array)
    if not -MODERATE < least <= greatest < MODERATE:
        return None
    try:
        return round_to_float32(array) if array.dtype == np.float64 else array.astype(dtype.numpy)
    except TieError:
        return None


def _array(value: Any, dtype: Dtype, context: DecodeContext, *, is_whole: bool) -> Array | None:
    """Return a vector or a matrix of moderate numbers, or None."""
    if type(value) is not list or not value:
        return None
    rows = value if type(value[0]) is list else (value,)
    is_rounded = dtype.name == "float32" and not is_whole
    for row in rows:
        if type(row) is not list:
            return None
        for item in row:
            kind = type(item)
            if (kind is not float and kind is not int) or not -MODERATE < item < MODERATE:
                return None
            if is_rounded:
                # Whether 25 bits are enough for it is found in 0.1 us, a tie among those in 1 us.
                split = item * TO_25_BITS
                if split - (split - item) == item and is_tie(item):
                    return None
    try:
        array = np.array(value, dtype.numpy)
    except ValueError:  # ragged
        return None
    return array if array.size <= context.max_elements else None
