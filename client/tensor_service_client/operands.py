"""Conversion of what callers hold: operands to arrays, fields and elements to values of JSON.

What cannot be sent exactly raises an InvalidArgumentError, which says what to call first. Values
are known by attributes, so that no library is imported to recognize its own.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Complex, Real
from typing import Any, Final, TypeGuard

from tensor_service_client.arrays import (
    Array,
    Operand,
    Shape,
    dtype_name,
    is_numpy,
    is_scalar,
    is_tensor,
    reading,
    spec_of,
)
from tensor_service_client.errors import InvalidArgumentError

# By an attribute of the type: what bytes would not have, and what to call.
LOSSY: Final[Mapping[str, tuple[str, str]]] = {
    "filled": ("has a mask", ".filled(value)"),  # numpy.ma
    "get_mask": ("has a mask", ".to_tensor(value)"),  # torch.masked
    "full_tensor": ("is distributed", ".full_tensor()"),  # torch.distributed
    "toarray": ("is sparse", ".toarray()"),  # scipy.sparse
    "null_count": ("may hold nulls", ".fill_null(value).to_numpy()"),  # pyarrow, polars
}
# The same by a property of a tensor.
TENSORS: Final[Sequence[tuple[Callable[[Any], bool], str, str]]] = (
    (lambda x: x.is_nested, "is nested", ".to_padded_tensor(value)"),
    (lambda x: x.is_quantized, "is quantised", ".dequantize()"),
    (lambda x: str(x.layout) != "torch.strided", "is not dense", ".to_dense()"),
)
# By type, the first that fits: what to call on a value that JSON has no form for.
OTHERS: Final[Sequence[tuple[Any, str]]] = (
    (bytes | bytearray, "numpy.frombuffer(x, dtype)"),
    (str | Real | Decimal, "float(x)"),
    (Complex, "numpy.array(x)"),
    (Mapping, "list(x.values())"),
    (Iterable, "list(x)"),
    (object, "numpy.asarray(x)"),
)
# Any of these makes an array of its object; scipy's sparse matrices have the last one alone.
PROTOCOLS: Final = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__", "toarray")
NUMBERS: Final = "biuf"  # numpy's kinds of scalars that may be numbers in JSON


def named(convert: Callable[[Any], Any], values: Mapping[str, object]) -> dict[str, Any]:
    """Return the values, each converted; an error has the name of its value."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = convert(value)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{name}: {error}") from error.__cause__
    return found


def operand_of(value: object) -> Operand:
    """Return an array, lists, a number or a Shape with the same elements, shape and dtype."""
    if isinstance(value, Shape):
        return replace(value, sizes=field_value(value.sizes), dtype=field_value(value.dtype))
    if _is_array(value):
        found = _array(value)
        if is_tensor(found) and found.is_meta:
            dtype, shape = spec_of(found)
            return Shape(shape, dtype)
        return found
    if isinstance(value, list | tuple | int | float):
        return value
    if _is_sequence(value):
        return list(value)
    raise _refusal(value, "is no tensor")


def field_value(value: object) -> Any:
    """Return a field as JSON has it; an array is a list there."""
    if _is_array(value) and not is_scalar(value):
        with reading(value):
            value = _array(value).tolist()
    return json_value(value)


def json_value(value: object) -> Any:
    """Return a value as JSON has it; NaN, infinities, dtypes and devices are strings there."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # the value of an enumeration, not its name
    if isinstance(value, dict):
        return named(json_value, value)
    return [json_value(each) for each in value] if _is_sequence(value) else _scalar(value)


def _scalar(value: object) -> Any:
    """Return a scalar of numpy as a number, and the name of a dtype or a device."""
    if is_scalar(value):
        number = value.item() if value.dtype.kind in NUMBERS else None
        if isinstance(number, int | float):  # not the longest float of numpy
            return json_value(number)
    elif _is_array(value):
        _array(value)  # whose own errors come first: to stack masked arrays is to lose the masks
        stack = "torch.stack" if is_tensor(value) else "numpy.stack"
        raise _refusal(value, "is an array in a list", f"{stack} on the list")
    elif isinstance(value, type) or hasattr(value, "itemsize"):
        return dtype_name(value)
    elif type(value).__name__ == "device":
        return str(value)
    raise _refusal(value, "is no number")


def _is_array(value: object) -> bool:
    """Return whether a value states dtype and shape, by itself or by a protocol."""
    if isinstance(value, array | memoryview):
        return True
    # A dtype may be the class of its scalars, which has their attributes.
    return not isinstance(value, type) and any(hasattr(value, each) for each in PROTOCOLS)


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Return whether a value is a list, or may be one."""
    is_other = isinstance(value, str | bytes | bytearray) or _is_array(value)
    return isinstance(value, Sequence) and not is_other


def _array(value: Any) -> Array:
    """Return the array or tensor with the elements of a value, or raise."""
    for name, (found, advice) in LOSSY.items():
        if hasattr(type(value), name):
            raise _refusal(value, found, advice)
    if is_tensor(value):
        for is_such, found, advice in TENSORS:
            if is_such(value):
                raise _refusal(value, found, advice)
        return value
    if is_numpy(value):
        return value
    import numpy as np

    with reading(value):
        _check_columns(value)
        only_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
        made = np.from_dlpack(value) if only_dlpack else np.asanyarray(value)
    return _array(made)


def _check_columns(value: Any) -> None:
    """Refuse tables and columns that pandas would change in making an array of them."""
    import numpy as np

    is_table = hasattr(type(value), "columns")
    dtypes = set(value.dtypes) if is_table else {getattr(value, "dtype", None)}
    if len(dtypes) > 1:
        raise _refusal(value, "has columns of several dtypes", '.astype("float64")')
    may_lack = any(hasattr(dtype, "na_value") for dtype in dtypes)  # unlike dtypes of numpy
    if may_lack and np.any(value.isna()):
        advice = '.to_numpy("float64", na_value=float("nan"))'
        raise _refusal(value, "has missing values", advice)


def _refusal(value: object, found: str, advice: str | None = None) -> InvalidArgumentError:
    """Return the error of a value that cannot be sent as it is."""
    advice = advice or next(text for kind, text in OTHERS if isinstance(value, kind))
    return InvalidArgumentError(f"this {type(value).__name__} {found}; call {advice} first")
