"""A tensor's bytes, little-endian and row by row, both ways. Formats share it."""

from math import prod

import numpy as np
import torch

from service.call import Shape, Tensor
from service.dtypes import Dtype, describe
from service.errors import InvalidElementError, Place, ShapeMismatchError
from service.wire.pointers import name_of


def to_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor; they are not copied unless it is not contiguous."""
    dtype = describe(tensor.dtype)
    flat = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1)
    if dtype.name == "bfloat16":
        flat = flat.view(torch.int16)
    return flat.numpy().view(np.uint8).data


def from_bytes(data: bytearray, dtype: Dtype, shape: Shape, pointer: str) -> Tensor:
    """The tensor over those bytes, which it keeps: nothing is copied.

    ShapeMismatchError when the count is not that of the shape.
    """
    flat = np.frombuffer(data, np.uint8)
    tensor = torch.from_numpy(flat)
    count = prod(shape) * dtype.itemsize
    if len(data) != count:
        raise ShapeMismatchError(
            f"{name_of(pointer)} states shape {shape} of {dtype.name}, which is {count} bytes; "
            f"there are {len(data)}",
            places=[Place(pointer, f"{len(data)} bytes, expected {count}")],
        )
    if dtype.kind == "bool" and (flat > 1).any():
        index = int((flat > 1).argmax())
        raise InvalidElementError(
            f"the bytes of bool are 0 and 1; byte {index} of {name_of(pointer)} is {flat[index]}",
            places=[Place(pointer, f"byte {index} is {flat[index]}, expected 0 or 1")],
        )
    return tensor.view(dtype.torch).reshape(shape)
