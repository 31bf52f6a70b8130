"""Numbers into a dtype: rounded once, never to infinity, and integers exactly or not at all."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import orjson
import torch

from service.core.call import Tensor
from service.core.dtypes import DTYPES, Dtype
from service.errors import InvalidElementError, Place, ValueOutOfRangeError

Array = npt.NDArray[Any]
# The pointer of the element at a position.
PointerAt = Callable[[int], str]

# Every whole number up to here is a value of the dtype, and none of them is too large for it.
MAX_EXACT_INTEGER: Final = {"float64": 2**53, "float32": 2**24, "float16": 2**11, "bfloat16": 2**8}
# Wider dtypes to propose, the narrowest first.
INTEGER_DTYPES: Final = tuple(DTYPES[name] for name in ("uint8", "int8", "int16", "int32", "int64"))
FLOAT_DTYPES: Final = ("float32", "float64")
PART_DTYPES: Final = {"complex64": DTYPES["float32"], "complex128": DTYPES["float64"]}


def extremes(items: Array) -> tuple[float, float]:
    """The least and the greatest number; NaN twice if there is one.

    By position, since `min` and `max` pass through Python: 0.7 us instead of 2.1 for four numbers.
    """
    return items.item(items.argmin()), items.item(items.argmax())


def is_ambiguous(items: Array) -> bool:
    """Whether a float64 among them may have been an integer with more digits.

    From 2^64 on, no engine reads digits as an integer.
    """
    if items.dtype.kind == "i" or items.size == 0:
        return False
    least, greatest = extremes(items)
    if least > -(2**53) and greatest < 2**53:
        return False
    sizes = np.abs(items)
    return bool(((sizes >= 2.0**53) & (sizes <= 2.0**64)).any())


def convert(items: Array, dtype: Dtype, pointer_at: PointerAt) -> tuple[Tensor, str | None]:
    """Finite int64 or float64 numbers as a tensor, and a sentence on one that lost digits.

    For a complex dtype they are the parts of its numbers, and so is what comes back.
    """
    if dtype.kind == "bool":
        if items.size:
            refuse_kind(pointer_at(0), "a number", dtype, hint="booleans are true and false")
        return torch.empty(items.shape, dtype=torch.bool), None
    if dtype.kind == "integer":
        return torch.from_numpy(_to_integers(items, dtype, pointer_at)), None
    return to_floats(items, PART_DTYPES.get(dtype.name, dtype), pointer_at)


def refuse_kind(pointer: str, found: str, dtype: Dtype, *, hint: str | None = None) -> NoReturn:
    """Raise the error for an element that is no value of the dtype whatever its size."""
    wanted = {"bool": "true or false", "integer": "a whole number"}.get(dtype.kind, "a number")
    raise InvalidElementError(
        f"{dtype.name} needs {wanted}; {pointer} is {found}",
        hint=hint,
        places=[Place(pointer, f"{found}, expected {wanted}")],
    )


def refuse_value(pointer: str, found: str, why: str, *, hint: str | None) -> NoReturn:
    """Raise the error for a number that the dtype cannot hold."""
    raise ValueOutOfRangeError(
        f"{found} {why}", hint=hint, places=[Place(pointer, f"{found} {why}")]
    )


def refuse_integer(pointer: str, value: int, dtype: Dtype, *, exact: bool = True) -> NoReturn:
    """Raise the error for an integer out of the dtype's range, be it `exact` or rounded."""
    # One that holds all of the first dtype too: other elements may be in its range alone.
    low, high = min(value, dtype.low), max(value, dtype.high)
    holding = (each.name for each in INTEGER_DTYPES if each.low <= low and high <= each.high)
    wider = next(holding, None) if exact else None
    found = str(value) if abs(value) < 2**128 else f"an integer beyond {'-' * (value < 0)}2^128"
    refuse_value(
        pointer,
        found,
        f"is not in the range of {dtype.name}, {dtype.low} to {dtype.high}",
        hint=f'"dtype": "{wider}" holds it' if wider else '"dtype": "float64" holds it, rounded',
    )


def refuse_fraction(pointer: str, value: float, dtype: Dtype) -> NoReturn:
    """Raise the error for a float that is not exactly an integer, as far as can be told."""
    if value.is_integer():
        if not dtype.low <= value <= dtype.high or abs(value) >= 2**63:
            refuse_integer(
                pointer, int(value), dtype, exact=abs(value) < MAX_EXACT_INTEGER["float64"]
            )
        refuse_value(
            pointer,
            repr(value),
            f"is 2^53 or beyond, where {dtype.name} needs every digit",
            hint="write it in digits, or as a string of digits",
        )
    refuse_value(
        pointer,
        repr(value),
        f"has a fraction, which {dtype.name} does not",
        hint='"dtype": "float64" holds it',
    )


def to_floats(
    items: Array, dtype: Dtype, pointer_at: PointerAt, *, written: Mapping[int, int] | None = None
) -> tuple[Tensor, str | None]:
    """Numbers rounded to a float dtype, and a sentence on a whole one that it cannot hold.

    `written` gives by position the integers of which `items` has only a rounded float64.
    """
    limit = MAX_EXACT_INTEGER[dtype.name]
    if not written:
        if items.size == 0 or items.dtype == dtype.numpy:
            return _round(items, dtype), None
        least, greatest = extremes(items)
        if -limit <= least and greatest <= limit:
            return _round(items, dtype), None
    with np.errstate(over="ignore", under="ignore"):
        tensor = _round(items, dtype)
    held = tensor.to(torch.float64).numpy()
    infinite = np.isinf(held) & np.isfinite(items)
    if infinite.any():
        index = int(infinite.argmax())
        with np.errstate(over="ignore"):
            wider = next(
                each for each in FLOAT_DTYPES if np.isfinite(items.flat[index].astype(each))
            )
        refuse_value(
            pointer_at(index),
            repr(items.flat[index].item()),
            f"would become infinite in {dtype.name}",
            hint=f'"dtype": "{wider}" holds it, and "complex128" as a part of a complex number',
        )
    loss = _first_loss(items, held, written or {})
    if loss is None:
        return tensor, None
    value = (written or {}).get(loss, int(items.flat[loss]))
    return tensor, (
        f"{dtype.name} cannot hold the whole number {value} at {pointer_at(loss)}: "
        f"{int(held.flat[loss])} was used instead"
    )


def _to_integers(items: Array, dtype: Dtype, pointer_at: PointerAt) -> Array:
    if items.dtype == np.float64:
        whole = (np.rint(items) == items) & (np.abs(items) < MAX_EXACT_INTEGER["float64"])
        if not whole.all():
            index = int(whole.argmin())
            refuse_fraction(pointer_at(index), items.flat[index].item(), dtype)
        items = items.astype(np.int64)
    if items.size == 0:
        return items.astype(dtype.numpy)
    least, greatest = extremes(items)
    if least < dtype.low or greatest > dtype.high:
        index = int(((items > dtype.high) | (items < dtype.low)).argmax())
        refuse_integer(pointer_at(index), int(items.flat[index]), dtype)
    return items.astype(dtype.numpy, copy=False)


def _round(items: Array, dtype: Dtype) -> Tensor:
    """Each number to the nearest of the dtype, ties to even."""
    if dtype.name == "bfloat16":
        return torch.from_numpy(_round_to_odd(items.astype(np.float64))).to(torch.bfloat16)
    return torch.from_numpy(items.astype(dtype.numpy, copy=False))


def _round_to_odd(items: Array) -> Array:
    """float32 in which an inexact number has its last bit set, never a tie of a shorter format.

    numpy has no bfloat16, and torch reaches it from float64 by two roundings: 1 + 2^-8 + 2^-40
    would first become the tie 1 + 2^-8, and then 1.
    """
    near = items.astype(np.float32)
    bits = near.view(np.uint32)
    bits -= np.abs(near) > np.abs(items)
    bits |= (near != items) & ~np.isnan(near)
    return near


def _first_loss(items: Array, held: Array, written: Mapping[int, int]) -> int | None:
    """Where a whole number first became another one.

    Every float64 beyond 2^53 is whole: only digits written as an integer tell more. A whole one
    that the shortest text of the held number gives again, as 34603010 does that of the float32
    34603008, comes from such a text.
    """
    items, held = items.reshape(-1), held.reshape(-1)
    if items.dtype == np.int64:
        fits = held < 2.0**63  # the greatest int64 rounds up to 2^63, which is none
        lost = ~fits | (np.where(fits, held, 0).astype(np.int64) != items)
    else:
        whole = (np.rint(items) == items) & (np.abs(items) < MAX_EXACT_INTEGER["float64"])
        lost = (held != items) & whole
        text = orjson.dumps(held[lost].astype(np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
        lost[lost] = items[lost] != orjson.loads(text)
    for index, value in written.items():
        lost[index] = int(held[index]) != value
    return int(lost.argmax()) if lost.any() else None
