"""Conversion of arrays to little-endian bytes and back.

numpy and torch are imported only if one of them is used. The kind of an operand is found without
an import: its library is in `sys.modules` already.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from service.client.errors import UnexpectedAnswerError

if TYPE_CHECKING:
    import numpy as np
    import torch

Kind = Literal["plain", "numpy", "torch", "shape"]
# Nested lists, or a number for rank 0.
Plain: TypeAlias = "list[Any] | tuple[Any, ...] | float"
Operand: TypeAlias = "np.ndarray[Any, Any] | np.generic | torch.Tensor | Plain | Shape"
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


@dataclass(frozen=True, slots=True)
class Shape:
    """An operand of a plan, without data: sizes, and a dtype other than the default float32."""

    sizes: tuple[int, ...]
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor as the name of its dtype, its sizes and its bytes in row-major order."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


def kind_of(operand: object) -> Kind:
    """Return the kind of an operand, or raise a TypeError that lists the kinds."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(operand, torch.Tensor):
        return "torch"
    if numpy is not None and isinstance(operand, numpy.ndarray | numpy.generic):
        return "numpy"
    if isinstance(operand, Shape):
        return "shape"
    if isinstance(operand, list | tuple | int | float):
        return "plain"
    raise TypeError(
        "an operand is a numpy array, a torch tensor, a nested list or a number; this is a "
        f"{type(operand).__name__}; numpy.asarray may make an array of it"
    )


def spec_of(operand: "np.ndarray[Any, Any] | torch.Tensor") -> tuple[str, tuple[int, ...]]:
    """Return dtype and sizes of an array, or raise a TypeError for an unsupported dtype."""
    dtype = getattr(operand.dtype, "name", None) or str(operand.dtype).removeprefix("torch.")
    if dtype not in CODES:
        raise TypeError(f"the service has no dtype {dtype}; it has {', '.join(CODES)}")
    return dtype, tuple(operand.shape)


def pack(operand: Any) -> Packed:
    """Return an array as bytes, copied only if they are not in row-major little-endian order."""
    import numpy as np

    dtype, shape = spec_of(operand)
    if kind_of(operand) == "torch":
        tensor = operand.detach().cpu().resolve_conj().resolve_neg().contiguous()
        raw = tensor.reshape(-1).view(sys.modules["torch"].uint8).numpy()
        return Packed(dtype, shape, raw.data)
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
