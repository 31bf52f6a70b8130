"""Conversion of arrays to little-endian bytes and back.

numpy and torch are imported only if one of them is used. The kind of an operand is found without
an import: its library is in `sys.modules` already.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeGuard, TypeVar

from tensor_service_client.errors import InvalidArgumentError, UnexpectedAnswerError

if TYPE_CHECKING:
    import numpy as np
    import torch

Kind = Literal["plain", "numpy", "torch", "shape"]
# Nested lists, or a number for rank 0.
Plain: TypeAlias = "list[Any] | tuple[Any, ...] | float"
Array: TypeAlias = "np.ndarray[Any, Any] | np.generic | torch.Tensor"
Operand: TypeAlias = "Array | Plain | Shape"
DtypeLike: TypeAlias = "str | type[Any] | np.dtype[Any] | torch.dtype"
DeviceLike: TypeAlias = "str | torch.device"
# The kind of the first operand, which is that of the result.
Tensor = TypeVar("Tensor", "np.ndarray[Any, Any]", "torch.Tensor", Plain, "Shape")

# By dtype: its code in safetensors, which has no complex128, and its code in numpy, which has no
# bfloat16.
CODES: Final[Mapping[str, tuple[str | None, str | None]]] = {
    "float32": ("F32", "<f4"),
    "float64": ("F64", "<f8"),
    "float16": ("F16", "<f2"),
    "bfloat16": ("BF16", None),
    "int8": ("I8", "|i1"),
    "int16": ("I16", "<i2"),
    "int32": ("I32", "<i4"),
    "int64": ("I64", "<i8"),
    "uint8": ("U8", "|u1"),
    "bool": ("BOOL", "|b1"),
    "complex64": ("C64", "<c8"),
    "complex128": (None, "<c16"),
}
# By the start of another dtype: the one that holds its values, or nearly; else it is float64.
NEAR: Final[Mapping[str, str]] = {
    "uint16": "int32",
    "uint32": "int64",
    "datetime": "int64",
    "timedelta": "int64",
    "float8": "float32",
    "complex32": "complex64",
    "complex": "complex128",
}
PYTHON: Final[Mapping[str, str]] = {"float": "float64", "int": "int64", "complex": "complex128"}


@dataclass(frozen=True, slots=True)
class Shape:
    """An operand of a plan, without data: sizes, and a dtype other than the default float32."""

    sizes: tuple[int, ...]
    dtype: "DtypeLike | None" = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor as the name of its dtype, its sizes and its bytes in row-major order."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


def is_tensor(value: object) -> "TypeGuard[torch.Tensor]":
    """Return whether a value is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_scalar(value: object) -> "TypeGuard[np.generic]":
    """Return whether a value is a scalar of numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def is_numpy(value: object) -> "TypeGuard[np.ndarray[Any, Any] | np.generic]":
    """Return whether a value is an array or a scalar of numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray | numpy.generic)


def kind_of(operand: Operand) -> Kind:
    """Return the kind of an operand."""
    if is_tensor(operand):
        return "torch"
    if is_numpy(operand):
        return "numpy"
    return "shape" if isinstance(operand, Shape) else "plain"


def dtype_name(dtype: object) -> str:
    """Return the name of a dtype of numpy or torch, or of a class of numbers."""
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return PYTHON.get(name, name.removeprefix("torch."))


def spec_of(operand: Array) -> tuple[str, tuple[int, ...]]:
    """Return dtype and sizes of an array, or raise for a dtype that the service does not have."""
    with reading(operand):
        dtype, shape = dtype_name(operand.dtype), tuple(operand.shape)
    if dtype in CODES:
        return dtype, shape
    near = next((near for start, near in NEAR.items() if dtype.startswith(start)), "float64")
    call = f".to(torch.{near})" if is_tensor(operand) else f'.astype("{near}")'
    advice = 'x["name"] for one of its fields' if getattr(operand.dtype, "names", None) else call
    raise InvalidArgumentError(
        f"the service has no dtype {dtype}; call {advice} first; it has {', '.join(CODES)}"
    )


@contextmanager
def reading(value: object) -> Iterator[None]:
    """Raise an InvalidArgumentError if a library cannot give the elements of its own array."""
    try:
        yield
    except (ValueError, RuntimeError, BufferError, TypeError) as error:
        if isinstance(error, InvalidArgumentError):
            raise
        reason = str(error).partition("\n")[0]
        raise InvalidArgumentError(
            f"the elements of this {type(value).__name__} cannot be read; call what makes a numpy "
            f"array or a plain tensor of it first ({reason})"
        ) from error


def pack(operand: Any) -> Packed:
    """Return an array as bytes, copied only if they are not in row-major little-endian order."""
    import numpy as np

    dtype, shape = spec_of(operand)
    if is_tensor(operand):
        with reading(operand):
            tensor = operand.detach().cpu().resolve_conj().resolve_neg().contiguous()
            # One element is contiguous with any strides, and a view as bytes needs a stride of 1.
            flat = tensor.as_strided((tensor.numel(),), (1,))
            return Packed(dtype, shape, flat.view(sys.modules["torch"].uint8).numpy().data)
    array = np.asarray(operand, operand.dtype.newbyteorder("<"), order="C")
    return Packed(dtype, shape, array.reshape(-1).view(np.uint8).data)


def unpack(body: bytearray, dtype: str, shape: tuple[int, ...], like: Any) -> Any:
    """Return an array over `body`, of the kind of `like`, and on its device.

    numpy has no bfloat16: such a result is returned as float32, which holds each of its values.
    """
    import numpy as np

    code = CODES[dtype][1] or "<u2" if dtype in CODES else None
    if code is None or len(body) != prod(shape) * np.dtype(code).itemsize:
        raise UnexpectedAnswerError(
            f"the answer has {len(body)} bytes, and is said to be {dtype} of shape {shape}"
        )
    array = np.frombuffer(body, code).reshape(shape)
    if kind_of(like) == "numpy":
        if dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    import torch

    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    tensor = torch.from_numpy(native)
    return (tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor).to(like.device)
