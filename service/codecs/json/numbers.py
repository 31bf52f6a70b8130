"""Conversion of numbers to a dtype.

Numbers are rounded once, and never to infinity. Integer dtypes take exact values alone.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, NoReturn

import numpy as np
import orjson
import torch

from service.codecs.json.rounding import Array, round_parsed, round_to
from service.core.call import Tensor
from service.core.dtypes import DTYPES, Dtype
from service.errors import (
    MAX_QUOTED,
    InvalidElementError,
    Place,
    ValueOutOfRangeError,
    clip,
)

# A function from the position of an element to its pointer.
PointerAt = Callable[[int], str]

# Whole numbers up to this magnitude are exact in the dtype.
MAX_EXACT_INTEGER: Final = {"float64": 2**53, "float32": 2**24, "float16": 2**11, "bfloat16": 2**8}
# Dtypes to propose in hints, the narrowest first.
INTEGER_DTYPES: Final = tuple(DTYPES[name] for name in ("uint8", "int8", "int16", "int32", "int64"))
FLOAT_DTYPES: Final = ("float32", "float64")
PART_DTYPES: Final = {"complex64": DTYPES["float32"], "complex128": DTYPES["float64"]}


def extremes(items: Array) -> tuple[float, float]:
    """Return the least and the greatest number; NaN twice if there is one.

    `argmin` and `argmax` take 0.7 us for four numbers; `min` and `max`, which pass through Python,
    take 2.1.
    """
    return items.item(items.argmin()), items.item(items.argmax())


def is_ambiguous(items: Array) -> bool:
    """Return whether a float64 among them may have been an integer with more digits.

    Integers of 2^64 and beyond were read as floats.
    """
    least, greatest = extremes(items)
    if least > -(2**53) and greatest < 2**53:
        return False
    sizes = np.abs(items)
    return bool(((sizes >= 2.0**53) & (sizes <= 2.0**64)).any())


def convert(items: Array, dtype: Dtype, pointer_at: PointerAt) -> tuple[Tensor, str | None]:
    """Return finite int64 or float64 numbers as a tensor, and a warning if one lost digits.

    For a complex dtype, `items` and the tensor are the real and imaginary parts.
    """
    if dtype.kind == "bool":
        if items.size:
            refuse_kind(pointer_at(0), "a number", dtype, hint="booleans are true and false")
        return torch.empty(items.shape, dtype=torch.bool), None
    if dtype.kind == "integer":
        return torch.from_numpy(_to_integers(items, dtype, pointer_at)), None
    return to_floats(items, PART_DTYPES.get(dtype.name, dtype), pointer_at)


def refuse_kind(pointer: str, found: str, dtype: Dtype, *, hint: str | None = None) -> NoReturn:
    """Raise InvalidElementError for an element of a kind that the dtype does not have."""
    wanted = {"bool": "true or false", "integer": "a whole number"}.get(dtype.kind, "a number")
    raise InvalidElementError(
        f"{dtype.name} needs {wanted}; {pointer} is {found}",
        hint=hint,
        places=[Place(pointer, f"{found}, expected {wanted}")],
    )


def refuse_value(pointer: str, found: str, why: str, *, hint: str | None) -> NoReturn:
    """Raise ValueOutOfRangeError for a number that the dtype cannot hold."""
    raise ValueOutOfRangeError(
        f"{found} {why}", hint=hint, places=[Place(pointer, f"{found} {why}")]
    )


def refuse_integer(pointer: str, value: int, dtype: Dtype, *, exact: bool = True) -> NoReturn:
    """Raise ValueOutOfRangeError for an integer out of the dtype's range.

    The hint proposes a wider integer dtype if the value is `exact`, not rounded.
    """
    # The proposed dtype holds all values of the first, because other elements may need them.
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
    """Raise ValueOutOfRangeError for a float that has a fraction, or is too large to be exact."""
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
    items: Array,
    dtype: Dtype,
    pointer_at: PointerAt,
    *,
    written: Mapping[int, int] | None = None,
    is_settled: bool = False,
) -> tuple[Tensor, str | None]:
    """Return numbers rounded to a float dtype, and a warning if a whole one changes by it.

    `written` has the integers, by position, that are rounded to float64 in `items`. Raises TieError
    if the text of a number has to decide how it is rounded, unless the ties are settled.
    """
    rounded = round_to if is_settled else round_parsed
    limit = MAX_EXACT_INTEGER[dtype.name]
    if not written:
        if items.size == 0 or items.dtype == dtype.numpy:
            return round_to(items, dtype), None
        least, greatest = extremes(items)
        if -limit <= least and greatest <= limit:
            return rounded(items, dtype), None
    with np.errstate(over="ignore", under="ignore"):
        tensor = rounded(items, dtype)
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
        f"{dtype.name} cannot hold the whole number {clip(str(value), MAX_QUOTED)} at "
        f"{pointer_at(loss)}: {clip(str(int(held.flat[loss])), MAX_QUOTED)} was used instead"
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


def _first_loss(items: Array, held: Array, written: Mapping[int, int]) -> int | None:
    """Return the position of the first whole number that changed, or None.

    Every float64 beyond 2^53 is whole: it counts only if it was written as an integer. A whole
    number does not count if it is the shortest text of the number held, as 34603010 is for the
    float32 34603008: the text of a response may have it.
    """
    items, held = items.reshape(-1), held.reshape(-1)
    if items.dtype == np.int64:
        fits = held < 2.0**63  # the greatest int64 rounds up to 2^63, which is out of range
        lost = ~fits | (np.where(fits, held, 0).astype(np.int64) != items)
    else:
        whole = (np.rint(items) == items) & (np.abs(items) < MAX_EXACT_INTEGER["float64"])
        lost = (held != items) & whole
        text = orjson.dumps(held[lost].astype(np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
        lost[lost] = items[lost] != orjson.loads(text)
    for index, value in written.items():
        lost[index] = not _reads_back(value, held[index].item())
    return int(lost.argmax()) if lost.any() else None


def _reads_back(value: int, held: float) -> bool:
    """Return whether an integer is the number held, or its shortest text as float64 or float32."""
    if value == int(held):
        return True
    with np.errstate(over="ignore"):
        short = np.float32(held)
    texts = (repr(held), str(short) if float(short) == held else "0")
    return value in {int(Decimal(text)) for text in texts}
