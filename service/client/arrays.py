"""Arrays to little-endian bytes and back. numpy and torch are imported where one of them is used.

Which of them an operand belongs to is seen without an import: whoever made it has loaded it.
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
# What a caller may write down: nested lists, or a number for rank 0.
Plain: TypeAlias = "list[Any] | tuple[Any, ...] | float"
Operand: TypeAlias = "np.ndarray[Any, Any] | np.generic | torch.Tensor | Plain | Shape"
# The kind of the first operand, which is that of the result.
Tensor = TypeVar("Tensor", "np.ndarray[Any, Any]", "torch.Tensor", Plain, "Shape")

# By dtype: its code in safetensors, which has none for complex128, and its code in numpy, which
# has no bfloat16.
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
    """An operand without data, for a plan: sizes, and a dtype if float32 is not meant."""

    sizes: tuple[int, ...]
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor as its dtype's name, its sizes and its bytes, row by row."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


def kind_of(operand: object) -> Kind:
    """What an operand is; TypeError says what is taken."""
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
    """dtype and sizes of an array; TypeError when the service has no such dtype."""
    dtype = getattr(operand.dtype, "name", None) or str(operand.dtype).removeprefix("torch.")
    if dtype not in CODES:
        raise TypeError(f"the service has no dtype {dtype}; it has {', '.join(CODES)}")
    return dtype, tuple(operand.shape)


def pack(operand: Any) -> Packed:
    """An array as bytes; they are copied only where they do not lie in this order."""
    import numpy as np

    dtype, shape = spec_of(operand)
    if kind_of(operand) == "torch":
        tensor = operand.detach().cpu().resolve_conj().resolve_neg().contiguous()
        raw = tensor.reshape(-1).view(sys.modules["torch"].uint8).numpy()
        return Packed(dtype, shape, raw.data)
    array = np.asarray(operand, operand.dtype.newbyteorder("<"), order="C")
    return Packed(dtype, shape, array.reshape(-1).view(np.uint8).data)


def unpack(body: bytearray, dtype: str, shape: tuple[int, ...], like: Any) -> Any:
    """An array over `body`, of the kind of `like`; a tensor goes to the device of `like`.

    numpy has no bfloat16: such a result comes as float32, which holds each of its values.
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
