"""npy: files of numpy.save are read bit for bit, and numpy.load reads what is written."""

import io
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib import format as npy_format

from service.codecs import DecodeContext
from service.codecs.binary.npy import NpyCodec, read_slice, write_header
from service.core.dtypes import DTYPES, parse_dtype
from service.errors import MalformedBodyError, MissingFieldError, ServiceError, UnknownDtypeError
from service.operations import REGISTRY
from tests.rigs.request_bodies import IN_NUMPY, bits_of, npy, npy_of, tensor_of
from tests.unit.codecs.encoding import encode

CODEC = NpyCodec()
CONTEXT = DecodeContext(max_elements=2**24, dtype=parse_dtype("float32"), max_deadline_ms=1000)
GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"


def read(body: bytes, **query: str) -> torch.Tensor:
    """Return the operand of a norm of that body."""
    (x,) = CODEC.decode(bytearray(body), REGISTRY["norm"], CONTEXT, query).operands
    return x


@pytest.mark.parametrize("name", IN_NUMPY)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (1, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_saves_is_read_bit_for_bit(
    name: str, shape: tuple[int, ...], order: Any
) -> None:
    """Any rank, in row-major and in column-major order."""
    tensor = tensor_of(name, shape)
    found = read(npy_of(np.asarray(tensor.numpy(), order=order)))
    assert (found.dtype, tuple(found.shape)) == (tensor.dtype, shape)
    assert bits_of(found) == bits_of(tensor)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_is_read(version: tuple[int, int]) -> None:
    """Versions differ in the size of the field with the header's length."""
    file = io.BytesIO()
    array = np.arange(6, dtype="<i2").reshape(2, 3)
    npy_format.write_array(file, array, version=version)
    assert read(file.getvalue()).tolist() == array.tolist()


@pytest.mark.parametrize("name", IN_NUMPY)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3)], ids=str)
def test_what_is_written_numpy_loads(name: str, shape: tuple[int, ...]) -> None:
    """The data begin at a multiple of 64 bytes."""
    tensor = tensor_of(name, shape)
    header, data = encode(CODEC, tensor).chunks
    assert len(header) % 64 == 0
    found = np.load(io.BytesIO(bytes(header) + bytes(data)), allow_pickle=False)
    assert (found.dtype, found.shape) == (DTYPES[name].numpy, shape)
    assert found.tobytes() == bits_of(tensor)
    assert read(bytes(header) + bytes(data)).dtype == tensor.dtype


@given(hnp.arrays(st.sampled_from(["<f4", "<i8", "|u1", "<c16"]), hnp.array_shapes(max_dims=5)))
def test_any_array_is_read_bit_for_bit(array: Any) -> None:
    """Drawn arrays keep their bytes."""
    assert bits_of(read(npy_of(array))) == array.tobytes()


def test_aligned_data_are_not_copied() -> None:
    """The tensor uses the memory of the body; data at an odd address are copied."""
    body = bytearray(npy_of(np.zeros(4)))
    (x,) = CODEC.decode(body, REGISTRY["norm"], CONTEXT).operands
    body[-8:] = np.array([7.0]).tobytes()
    assert x[3] == 7
    odd = bytearray(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", b"\0" * 8))
    assert len(odd) % 8
    (y,) = CODEC.decode(odd, REGISTRY["norm"], CONTEXT).operands
    odd[-8:] = np.array([7.0]).tobytes()
    assert y[0] == 0
    assert y.data_ptr() % 8 == 0


def test_a_read_only_body_is_copied() -> None:
    """torch requires writable memory."""
    (x,) = CODEC.decode(npy_of(np.ones(3)), REGISTRY["norm"], CONTEXT).operands
    x[0] = 5
    assert x.tolist() == [5, 1, 1]


def test_fields_stand_in_the_query() -> None:
    """Fields of the query string are read like those of a JSON body."""
    call = CODEC.decode(bytearray(npy_of(np.ones((2, 2)))), REGISTRY["norm"], CONTEXT,
                        {"dim": "[0,1]", "keepdim": "true"})  # fmt: skip
    assert (call.params["dim"], call.params["keepdim"]) == ((0, 1), True)


def test_a_list_may_have_one_operand() -> None:
    """The one tensor is operand 0 of an operation that takes a list."""
    body = bytearray(npy_of(np.eye(2)))
    call = CODEC.decode(body, REGISTRY["einsum"], CONTEXT, {"equation": "ii"})
    assert len(call.operands) == 1


def test_two_operands_are_refused() -> None:
    """The hint names the formats that hold both."""
    with pytest.raises(MissingFieldError) as caught:
        CODEC.decode(bytearray(npy_of(np.eye(2))), REGISTRY["matmul"], CONTEXT)
    assert [place.pointer for place in caught.value.places] == ["/b"]
    assert "npz" in str(caught.value.hint)


@pytest.mark.parametrize(
    "header",
    [
        '{"descr": "<f4", "fortran_order": False, "shape": (1,)}',
        "{'shape':(1,),'descr':'<f4','fortran_order':False}\n",
        "{ 'shape' : ( 1 , ) , 'descr' : '<f4' , 'fortran_order' : True , }   \n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
    ],
)
def test_headers_of_other_writers_are_read(header: str) -> None:
    """Quotes, spaces and the order of keys may differ."""
    assert read(npy(header, np.float32(3).tobytes())).tolist() == [3]


@pytest.mark.parametrize("code", ["|i1", "<i1", ">i1", "=u1", "|b1"])
def test_dtypes_of_one_byte_take_any_byte_order(code: str) -> None:
    """The first character of the code is ignored."""
    header = f"{{'descr': '{code}', 'fortran_order': False, 'shape': (2,)}}"
    assert read(npy(header, b"\1\0")).tolist() == [1, 0]


@pytest.mark.parametrize("code", ["\0u1", "xi1", "u1u1", "u1"])
def test_an_unknown_byte_order_is_refused(code: str) -> None:
    """Also for dtypes of one byte."""
    header = f"{{'descr': '{code}', 'fortran_order': False, 'shape': (2,)}}"
    with pytest.raises(UnknownDtypeError):
        read(npy(header, b"\1\0"))


@pytest.mark.parametrize(
    ("descr", "hint"),
    [
        ("'>f8'", "x.astype('<f8')"),
        ("'=f8'", "x.astype('<f8')"),
        ("'|O'", "pickle"),
        ("'|V2'", "bfloat16"),
        ("[('a', '<f4'), ('b', '<i4')]", "records"),
        ("'<U5'", None),
        ("'<M8[s]'", None),
        ("'<u2'", "int32 holds all values of uint16"),
        ("'<u4'", "int64 holds all values of uint32"),
        ("'>u8'", "int64 holds all values of uint64 below 2^63"),
        ("'<u3'", None),
        ("'<u'", None),
        ("''", None),
        ("'f4'", None),
        ("'<f4, <f4'", None),
    ],
)
def test_other_dtypes_are_refused(descr: str, hint: str | None) -> None:
    """The hint proposes a way to send them, if there is one."""
    with pytest.raises(UnknownDtypeError) as caught:
        read(npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,)}}", b"\0" * 8))
    assert "<f4" in caught.value.detail
    assert hint is None or hint in str(caught.value.hint)
    assert hint is not None or caught.value.hint is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "begin"),
        (b"\x93NUMPY", "version"),
        (b"\x93NUMPX\1\0\0\0", "begin"),
        (npy(GOOD, b"\0" * 4, version=4), "version"),
        (b"\x93NUMPY\1\7" + b"\0" * 9, "version"),
        (npy(GOOD, length=5000), "5000"),
        (npy(GOOD, version=2, length=2**32 - 1), "4294967295"),
        (npy(GOOD, length=1000), "within its header"),
        (npy(GOOD), "0 follow"),
        (npy(GOOD, b"\0" * 5), "5 follow"),
        (npy(""), "dict"),
        (npy("{}"), "nothing else"),
        (npy("[1]"), "dict"),
        (npy(GOOD[:-1]), "dict"),
        (npy(GOOD + "x"), "dict"),
        (npy(GOOD + "\v"), "dict"),
        (npy(GOOD + "\xa0 \n"), "dict"),
        (npy(GOOD + "\x1c"), "dict"),
        (npy(GOOD.replace(" ", "\v")), "dict"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': 1}"), "dict"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "dict"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}"), "dict"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1)}"), "tuple"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1 1,)}"), "tuple"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (,)}"), "tuple"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': '1'}"), "tuple"),
        (npy("{'descr': '<f4', 'fortran_order': 'no', 'shape': (1,)}"), "True or False"),
        (npy("{'descr': '<f4', 'fortran_order': False}"), "nothing else"),
        (npy("{'descr': '<f4', 'x': True, 'fortran_order': False, 'shape': (1,)}"), "nothing"),
        (npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}"), "twice"),
        (npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1,' * 65})}}"), "64 axes"),
        (npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 21},)}}"), "digits"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,)}"), "follow"),
    ],
)
def test_a_malformed_file_is_refused_with_the_reason(body: bytes, why: str) -> None:
    """No header is evaluated, and no tensor is created."""
    with pytest.raises(MalformedBodyError) as caught:
        read(body)
    assert why in caught.value.detail


@given(st.binary(max_size=200), st.integers(0, 199))
def test_random_bytes_are_refused_or_read(noise: bytes, position: int) -> None:
    """Errors are those of the service, whatever the bytes."""
    good = bytearray(npy_of(np.ones((2, 3))))
    for body in (noise, b"\x93NUMPY\1\0" + noise, bytes(good[:position]) + noise):
        with suppress(ServiceError):
            read(body)


def test_offsets_count_from_the_beginning_of_the_file() -> None:
    """A file may be a part of a larger buffer."""
    file = b"???" + npy_of(np.ones(2))
    tensor_slice = read_slice(memoryview(file)[3:], "x")
    assert len(file) - 3 - tensor_slice.offset == 16
    assert write_header(parse_dtype("float64"), (2,)) == file[3 : 3 + tensor_slice.offset]
