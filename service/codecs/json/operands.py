"""Operands in JSON: an array, or an object with shape, dtype, and data, base64 or a name."""

from dataclasses import dataclass, replace
from typing import Final, NoReturn

import numpy as np
import pybase64

from service.codecs.base import UNLIMITED_ELEMENTS, DecodeContext
from service.codecs.json.elements import read_elements, typed_array_hint
from service.codecs.json.nested import check_size, flatten
from service.codecs.json_pointer import name_of, pointer_to
from service.codecs.output_field import arrays_of
from service.codecs.request import Operand, ShapeOperand, WholeOperand, parse_dtype_at
from service.codecs.stored_arrays import StoredOperand
from service.codecs.tensor_bytes import from_bytes
from service.core.call import Shape, Tensor
from service.core.dtypes import Dtype, describe
from service.core.validators import as_integer
from service.errors import (
    InvalidFieldError,
    MissingFieldError,
    Place,
    UnknownFieldError,
    did_you_mean,
    escape,
    quote,
)

KEYS: Final = ("shape", "dtype", "data", "b64", "ref")


@dataclass(frozen=True, slots=True)
class ArrayOperand:
    """An operand of JSON numbers, converted when its dtype is decided. `dtype` is its own, if any.

    `shape` is the stated one, if any. With `casts` the dtype is stated, here or for all operands,
    and makes numbers of booleans.
    """

    value: object
    pointer: str
    context: DecodeContext
    dtype: Dtype | None = None
    shape: Shape | None = None
    casts: bool = False

    def read(self, dtype: Dtype) -> tuple[Tensor, str | None]:
        """Return the tensor, and a warning if a whole number lost digits."""
        return read_elements(
            self.value, dtype, self.pointer, self.context, stated=self.shape, casts=self.casts
        )

    def element_pointer(self, index: int) -> str:
        """Return the pointer of an element in the lists, which may be flat."""
        value = self.value
        lists = value if isinstance(value, np.ndarray) else flatten(value, self.pointer)
        return pointer_to(self.pointer, index, lists.shape)


@dataclass(frozen=True, slots=True)
class Base64Operand(WholeOperand):
    """An operand of base64 text."""

    text: str
    pointer: str
    dtype: Dtype
    shape: Shape

    def read(self, dtype: Dtype) -> tuple[Tensor, str | None]:
        """Return the tensor over the decoded bytes; no digits are lost."""
        try:
            data = pybase64.b64decode_as_bytearray(self.text, validate=True)
        except ValueError:  # binascii.Error is one; non-ASCII text raises ValueError itself
            _refuse_base64(self.text, self.pointer)
        return from_bytes(data, dtype, self.shape, self.pointer), None


def open_operand(
    value: object, pointer: str, context: DecodeContext, *, casts: bool = False
) -> Operand:
    """Return the operand at a pointer; RequestError if its object is not as it should be.

    With `casts` the request states a dtype for operands without one.
    """
    if not isinstance(value, dict):
        return ArrayOperand(value, pointer, context, casts=casts)
    name = name_of(pointer)
    if unknown := [key for key in value if key not in KEYS]:
        raise UnknownFieldError(
            f"a tensor object has {', '.join(KEYS)}; {name} has {quote(unknown[0])}",
            hint=typed_array_hint(value) or did_you_mean(unknown[0], KEYS),
            places=(Place(f"{pointer}/{escape(key)}", "unknown field") for key in unknown),
        )
    value = {key: each for key, each in value.items() if each is not None}
    dtype = parse_dtype_at(value["dtype"], f"{pointer}/dtype") if "dtype" in value else None
    shape = _parse_shape(value["shape"], pointer, context) if "shape" in value else None
    if "ref" in value:
        return _refer(value, dtype, shape, pointer, context)
    if "data" in value and "b64" in value:
        raise InvalidFieldError(
            f"{name} has both data and b64; one of them is enough",
            places=[Place(f"{pointer}/b64", "beside data")],
        )
    if "data" in value:
        casts = casts or dtype is not None
        return ArrayOperand(value["data"], f"{pointer}/data", context, dtype, shape, casts)
    if "b64" not in value and shape is not None and context.shapes:
        return ShapeOperand(pointer, shape, dtype)
    if "b64" not in value:
        raise MissingFieldError(
            f"{name} has neither data nor b64", places=[Place(f"{pointer}/data", "missing")]
        )
    if dtype is None or shape is None:
        lacking = "dtype" if dtype is None else "shape"
        raise MissingFieldError(
            f"{name} has b64 and no {lacking}: bytes alone do not tell it",
            places=[Place(f"{pointer}/{lacking}", "missing")],
        )
    text = value["b64"]
    if not isinstance(text, str):
        _refuse_base64(text, f"{pointer}/b64")
    return Base64Operand(text, f"{pointer}/b64", dtype, shape)


def _refer(
    value: dict[str, object],
    dtype: Dtype | None,
    shape: Shape | None,
    pointer: str,
    context: DecodeContext,
) -> StoredOperand:
    """Return a stored operand; shape and dtype beside its name have to be those of the file."""
    if extra := [key for key in ("data", "b64") if key in value]:
        raise InvalidFieldError(
            f"{name_of(pointer)} has both ref and {extra[0]}; one of them is enough",
            places=[Place(f"{pointer}/{extra[0]}", "beside ref")],
        )
    tensor = arrays_of(context, f"{pointer}/ref").find(value["ref"], f"{pointer}/ref")
    own_dtype, own_shape = describe(tensor.dtype), tuple(tensor.shape)
    check_size(own_shape, pointer, replace(context, max_elements=UNLIMITED_ELEMENTS))
    for key, stated, own in (("dtype", dtype, own_dtype), ("shape", shape, own_shape)):
        if stated not in (None, own):
            raise InvalidFieldError(
                f"{name_of(pointer)} states a {key} that {quote(tensor.label)} has not: it is "
                f"{own_dtype.name} of shape {quote(own_shape)}",
                places=[Place(f"{pointer}/{key}", "not that of the stored array")],
            )
    return StoredOperand(tensor, pointer)


def _parse_shape(value: object, pointer: str, context: DecodeContext) -> Shape:
    """Return the sizes of the axes, checked against the limits."""
    given = value if isinstance(value, list) else []
    sizes = [-1 if (size := as_integer(each)) is None else size for each in given]
    wrong = next((i for i, size in enumerate(sizes) if size < 0), None)
    if wrong is not None or given is not value:
        raise InvalidFieldError(
            f"shape is a list of integers from 0, below 2^64; in {name_of(pointer)} "
            + (f"it is {quote(value)}" if wrong is None else f"it has {quote(given[wrong])}"),
            places=[
                Place(
                    f"{pointer}/shape" + ("" if wrong is None else f"/{wrong}"),
                    "expected a list"
                    if wrong is None
                    else "expected an integer from 0, below 2^64",
                )
            ],
        )
    check_size(tuple(sizes), pointer, context)
    return tuple(sizes)


def _refuse_base64(value: object, pointer: str) -> NoReturn:
    raise InvalidFieldError(
        f"b64 is base64 text with padding (RFC 4648, section 4); "
        f"in {name_of(pointer)} it is {quote(value)}",
        places=[Place(pointer, "expected base64 text")],
    )
