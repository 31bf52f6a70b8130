"""Tensors to bytes and back: little-endian, in row-major order. Shared by the formats."""

from math import prod
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from service.codecs.base import Buffer
from service.codecs.json.nested import check_empty
from service.codecs.json_pointer import name_of
from service.core.call import Shape, Tensor
from service.core.dtypes import Dtype
from service.errors import InvalidElementError, Place, ShapeMismatchError

# Most results are of these dtypes, which numpy has: they skip the checks for views and bfloat16.
PLAIN: Final = (torch.float32, torch.float64)
# To copy so few bytes takes less time than to make a view of them.
COPIED_BYTES: Final = 1024


def to_bytes(tensor: Tensor) -> bytes | memoryview:
    """Return the bytes of a tensor, without a copy if they are many and contiguous."""
    try:
        array = tensor.numpy()
    except (RuntimeError, TypeError):  # a lazy conjugation or negation, and bfloat16
        array = _in_numpy(tensor)
    if array.nbytes <= COPIED_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _in_numpy(tensor: Tensor) -> npt.NDArray[np.generic]:
    """Return an array with the bytes of a tensor that numpy cannot show as it is."""
    tensor = tensor.resolve_conj().resolve_neg()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def from_bytes(data: bytearray, dtype: Dtype, shape: Shape, pointer: str) -> Tensor:
    """Return a tensor over those bytes, without a copy.

    Raises ShapeMismatchError if their count is not that of the shape.
    """
    count = prod(shape) * dtype.itemsize
    if len(data) != count:
        raise ShapeMismatchError(
            f"{name_of(pointer)} states shape {shape} of {dtype.name}, which is {count} bytes; "
            f"there are {len(data)}",
            places=[Place(pointer, f"{len(data)} bytes, expected {count}")],
        )
    return from_buffer(data, dtype, shape, pointer)


def from_buffer(
    data: Buffer,
    dtype: Dtype,
    shape: Shape,
    pointer: str,
    offset: int = 0,
    *,
    order: Literal["C", "F"] = "C",
) -> Tensor:
    """Return a tensor over the bytes from `offset` on; the buffer has to hold all of them.

    They are copied only if they are not aligned for their dtype or are read-only: torch requires
    writable memory. In the `order` "F" the first axis varies fastest.
    """
    if 0 in shape:
        check_empty(shape, pointer)
        return torch.empty(shape, dtype=dtype.torch)
    if dtype.kind == "bool":
        _check_bools(np.frombuffer(data, np.uint8, prod(shape), offset), pointer)
    # 0.2 us, where `frombuffer`, `reshape` and a transposition by torch take 4.
    items = np.ndarray(shape, dtype.numpy, data, offset, None, order)
    if not items.flags.behaved:  # aligned and writable
        items = items.copy(order="K")
    tensor = torch.from_numpy(items)
    return tensor.view(torch.bfloat16) if dtype.name == "bfloat16" else tensor


def _check_bools(flat: npt.NDArray[np.uint8], pointer: str) -> None:
    if (flat > 1).any():
        index = int((flat > 1).argmax())
        raise InvalidElementError(
            f"the bytes of bool are 0 and 1; byte {index} of {name_of(pointer)} is {flat[index]}",
            places=[Place(pointer, f"byte {index} is {flat[index]}, expected 0 or 1")],
        )
