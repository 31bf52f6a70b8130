"""Tensors to bytes and back."""

from typing import Literal

import numpy as np
import pytest
import torch

from service.codecs.tensor_bytes import COPIED_BYTES, from_buffer, from_bytes, to_bytes
from service.core.dtypes import DTYPES
from service.errors import InvalidElementError, LimitExceededError, ShapeMismatchError
from tests.rigs.request_bodies import bits_of, tensor_of


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 0, 3)], ids=str)
def test_every_dtype_keeps_its_bits(name: str, shape: tuple[int, ...]) -> None:
    """In both directions."""
    tensor = tensor_of(name, shape)
    data = bytes(to_bytes(tensor))
    assert data == bits_of(tensor)
    found = from_bytes(bytearray(data), DTYPES[name], shape, "/x")
    assert (found.dtype, tuple(found.shape)) == (tensor.dtype, shape)
    assert bits_of(found) == data


def test_bytes_and_tensor_share_memory() -> None:
    """In both directions."""
    data = bytearray(b"\1\0\2\0")
    x = from_bytes(data, DTYPES["int16"], (2,), "/x")
    data[0] = 7
    assert x.tolist() == [7, 2]
    large = torch.zeros(COPIED_BYTES, dtype=torch.int16)
    shown = to_bytes(large)
    large[0] = 7
    assert shown[0] == 7
    assert bytes(to_bytes(large.flip(0))) == bytes(2 * COPIED_BYTES - 2) + b"\7\0"


def test_views_are_resolved() -> None:
    """Transposed, conjugated and negative views have the bytes of a copy."""
    x = torch.tensor([[1 + 2j, 3j], [5, 7 - 1j]])
    for view in (x.T, x.conj(), x.conj().imag, x.real[0].expand(3, 2)):
        assert bytes(to_bytes(view)) == bits_of(view.resolve_conj().resolve_neg().clone())


@pytest.mark.parametrize("size", [0, 7, 9])
def test_another_count_of_bytes_is_refused(size: int) -> None:
    """The detail has both counts."""
    with pytest.raises(ShapeMismatchError) as caught:
        from_bytes(bytearray(size), DTYPES["float32"], (2,), "/x/b64")
    assert "which is 8 bytes" in caught.value.detail
    assert caught.value.places[0].detail == f"{size} bytes, expected 8"


def test_bytes_of_booleans_are_0_and_1() -> None:
    """The error has the position of the first other byte."""
    assert from_bytes(bytearray(b"\0\1"), DTYPES["bool"], (2,), "/x").tolist() == [False, True]
    with pytest.raises(InvalidElementError, match="byte 1 of x is 2"):
        from_bytes(bytearray(b"\1\2\3"), DTYPES["bool"], (3,), "/x")


def test_an_empty_shape_that_torch_refuses() -> None:
    """Its other sizes have a product beyond 64 bits."""
    with pytest.raises(LimitExceededError, match=r"2\^58"):
        from_bytes(bytearray(), DTYPES["int8"], (2**40, 0, 2**40), "/x")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("offset", [0, 8, 3])
def test_a_tensor_inside_a_buffer(offset: int, order: Literal["C", "F"]) -> None:
    """It is copied only at an odd address."""
    array = np.arange(6.0).reshape(2, 3)
    data = bytearray(offset) + bytearray(array.tobytes(order))
    x = from_buffer(data, DTYPES["float64"], (2, 3), "/x", offset, order=order)
    assert x.tolist() == array.tolist()
    data[offset : offset + 8] = np.array([7.0]).tobytes()
    assert x[0, 0] == (0 if offset % 8 else 7)


def test_read_only_bytes_are_copied() -> None:
    """torch requires writable memory."""
    x = from_buffer(b"\1\2", DTYPES["int8"], (2,), "/x")
    x[0] = 5
    assert x.tolist() == [5, 2]
