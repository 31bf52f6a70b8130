"""Operands and fields of all kinds: sent exactly, or refused with what to call first.

Bodies are decoded by the service's own codecs.
"""

import enum
import math
import subprocess
import sys
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.masked import masked_tensor

from service.codecs import READERS, DecodeContext
from service.core.call import Tensor
from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from tensor_service_client import (
    Call,
    ClientError,
    InvalidArgumentError,
    Shape,
    broadcast,
    einsum,
    matmul,
    norm,
    requests,
)
from tensor_service_client.operands import field_value
from tensor_service_client.requests import PreparedRequest
from tests.rigs.paths import ROOT
from tests.rigs.request_bodies import IN_NUMPY, bits_of, tensor_of

CONTEXT: Final = DecodeContext(max_elements=1000, dtype=DTYPES["float32"], max_deadline_ms=1000)
ONE: Final = np.ones((2, 2))
BUILD: Final[Mapping[str, Callable[[Any], Call[Any]]]] = {
    "matmul": lambda x: matmul(ONE, x),
    "einsum": lambda x: einsum("ij->ji", x),
    "norm": norm,
    "broadcast": lambda x: broadcast(x, ONE, op="add"),
}
SEND: Final[Mapping[str, Callable[[Call[Any]], PreparedRequest[Any]]]] = {
    "run": requests.run,
    "summarize": requests.summarize,
    "plan": requests.plan,
    "compare": lambda call: requests.compare(call, {}),
}


class Interface:
    """An array by one of numpy's protocols, as Pillow's images have it."""

    def __init__(self, made: Any) -> None:
        """Have the memory of an array."""
        self.made = made
        self.__array_interface__ = made.__array_interface__


class Exported:
    """An array of the array API standard: it has DLPack, and no protocol of numpy."""

    def __init__(self, made: Any) -> None:
        """Have the memory of an array."""
        self.made = made

    def __dlpack__(self, **options: Any) -> Any:
        """Return the capsule."""
        return self.made.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        """Return the device."""
        return self.made.__dlpack_device__()


class Converted:
    """An array of another library, which converts it by itself, or refuses to."""

    def __init__(self, made: Any) -> None:
        """Have the array, or the reason why there is none."""
        self.made = made

    def __array__(self, dtype: object = None, copy: object = None) -> Any:
        """Return the array."""
        if isinstance(self.made, str):
            raise TypeError(self.made)
        return self.made


class Nulls(Converted):
    """A column of arrow or polars, whose nulls would become NaN."""

    null_count = 0


class SparseMatrix:
    """A matrix of scipy.sparse, of which numpy makes an object."""

    def toarray(self) -> Any:
        """Return the elements."""
        return ONE


class Distributed(torch.Tensor):
    """A tensor of torch.distributed, of which this process has a part."""

    def full_tensor(self) -> Any:
        """Return all elements."""
        return self


class Name(str, enum.Enum):  # noqa: UP042  # its text is its name, unlike that of a StrEnum
    """Strategies, as a caller may list them."""

    TORCH = "torch"


def sent(call: Call[Any]) -> tuple[Tensor, ...]:
    """Return the operands that the service gets."""
    request = requests.run(call)
    assert request.media_type is not None
    op = REGISTRY[call.op]
    return READERS[request.media_type].decode(request.content, op, CONTEXT, request.params).operands


def quietly(make: Callable[[], Any]) -> Any:
    """Return a tensor of a kind that torch calls a prototype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


EXACT: Final[Mapping[str, tuple[Callable[[], Any], Any]]] = {
    "nested lists": (lambda: [[1, 2.5], (3, -0.0)], [[1, 2.5], [3, -0.0]]),
    "words": (lambda: [math.inf, -math.inf, 1], [math.inf, -math.inf, 1]),
    "numpy's scalars": (
        lambda: [np.float32(0.5), np.int64(3), np.float16(-math.inf), np.float64(2), np.uint64(7)],
        [0.5, 3, -math.inf, 2, 7],
    ),
    "range": (lambda: range(3), [0, 1, 2]),
    "ranges": (lambda: [range(2), deque([4, 5])], [[0, 1], [4, 5]]),
    "deque": (lambda: deque([1, 2]), [1, 2]),
    "torch.Size": (lambda: torch.Size([2, 3]), [2, 3]),
    "whole number": (lambda: 2, 2),
    "array.array": (lambda: array("d", [1, 2]), np.array([1.0, 2.0])),
    "memoryview": (lambda: memoryview(array("h", [1, 2])), np.array([1, 2], np.int16)),
    "scalar of numpy": (lambda: np.int8(3), np.array(3, np.int8)),
    "matrix": (lambda: quietly(lambda: np.matrix([[1.0, 2.0]])), np.array([[1.0, 2.0]])),
    "bfloat16 in numpy": (
        lambda: np.array([1, -3], ml_dtypes.bfloat16),
        torch.tensor([1, -3], dtype=torch.bfloat16),
    ),
    "columns": (lambda: pd.DataFrame({"a": [1, 2], "b": [3, 4]}), np.array([[1, 3], [2, 4]])),
    "column": (lambda: pd.Series([2**62 + 1], dtype="Int64"), np.array([2**62 + 1])),
    "NaN in a column": (lambda: pd.Series([1.0, None])[:1], np.array([1.0])),
    "categories": (lambda: pd.Series([3, 5, 3], dtype="category"), np.array([3, 5, 3])),
    "index": (lambda: pd.RangeIndex(3), np.arange(3)),
    "extension array": (lambda: pd.array([True, False]), np.array([True, False])),
    "array interface": (lambda: Interface(ONE), ONE),
    "array API": (lambda: Exported(ONE), ONE),
    "array by __array__": (lambda: Converted(ONE[::-1]), ONE),
    "parameter": (lambda: torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
    "part of a tensor": (lambda: torch.arange(4.0)[::2][1:], torch.tensor([2.0])),
    "part of a number": (lambda: torch.tensor([1 + 2j]).conj().imag, torch.tensor([-2.0])),
    "stretched": (lambda: torch.tensor(2.0).expand(3), torch.full((3,), 2.0)),
    "in inference mode": (lambda: torch.inference_mode()(torch.ones)(2), torch.ones(2)),
}


@pytest.mark.parametrize("kind", EXACT)
def test_operands_of_every_kind_are_sent_exactly(kind: str) -> None:
    """Elements, shape and dtype; lists take the default dtype."""
    make, expected = EXACT[kind]
    wanted = torch.as_tensor(
        expected, dtype=torch.float32 if isinstance(expected, list | int) else None
    )
    (found,) = sent(broadcast(make(), to=tuple(wanted.shape)))
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert bits_of(found) == bits_of(wanted)


REFUSED: Final[Mapping[str, tuple[Callable[[], Any], str]]] = {
    "text": (lambda: "1", r"this str is no tensor; call float\(x\) first"),
    "nothing": (lambda: None, "this NoneType is no tensor"),
    "object": (object, r"call numpy.asarray\(x\) first"),
    "dict": (dict, r"call list\(x.values\(\)\) first"),
    "generator": (lambda: (i for i in range(2)), r"call list\(x\) first"),
    "set": (lambda: {1}, r"call list\(x\) first"),
    "bytes": (lambda: bytearray(8), r"call numpy.frombuffer\(x, dtype\) first"),
    "complex": (lambda: 1j, r"call numpy.array\(x\) first"),
    "decimal": (lambda: Decimal("0.1"), r"call float\(x\) first"),
    "fraction": (lambda: Fraction(1, 3), r"call float\(x\) first"),
    "missing": (lambda: pd.NA, "this NAType is no tensor"),
    "masked": (lambda: np.ma.masked_invalid([1, math.nan]), r"has a mask; call \.filled\(value\)"),
    "masked inside": (lambda: Converted(np.ma.array([1])), r"call \.filled\(value\) first"),
    "unsigned": (lambda: np.ones(2, np.uint16), r"no dtype uint16; call \.astype\(\"int32\"\)"),
    "long float": (lambda: np.longdouble(1), r"call \.astype\(\"float64\"\) first"),
    "dates": (lambda: np.zeros(2, "M8[s]"), r"call \.astype\(\"int64\"\) first"),
    "texts": (lambda: np.array(["1"]), r"call \.astype\(\"float64\"\) first"),
    "objects": (lambda: np.array([1, "a"], object), r"no dtype object; call \.astype"),
    "records": (lambda: np.zeros(2, [("a", "f4")]), r'call x\["name"\]'),
    "float8": (
        lambda: torch.ones(2, dtype=torch.float8_e4m3fn),
        r"no dtype float8_e4m3fn; call \.to\(torch\.float32\) first",
    ),
    "half complex": (
        lambda: quietly(lambda: torch.zeros(2, dtype=torch.complex32)),
        r"call \.to\(torch\.complex64\) first",
    ),
    "quantised": (
        lambda: quietly(lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)),
        r"is quantised; call \.dequantize\(\) first",
    ),
    "sparse": (lambda: torch.eye(2).to_sparse(), r"is not dense; call \.to_dense\(\) first"),
    "compressed": (
        lambda: quietly(lambda: torch.eye(2).to_sparse_csr()),
        r"is not dense; call \.to_dense\(\) first",
    ),
    "nested": (
        lambda: quietly(lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])),
        r"is nested; call \.to_padded_tensor\(value\) first",
    ),
    "masked tensor": (
        lambda: quietly(lambda: masked_tensor(torch.ones(2), torch.tensor([True, False]))),
        r"has a mask; call \.to_tensor\(value\) first",
    ),
    "distributed": (
        lambda: torch.ones(2).as_subclass(Distributed),
        r"call \.full_tensor\(\) first",
    ),
    "without a shape": (torch.nn.UninitializedParameter, "cannot be read; call .* plain tensor"),
    "scipy's": (SparseMatrix, r"is sparse; call \.toarray\(\) first"),
    "nulls": (lambda: Nulls(ONE), r"call \.fill_null\(value\)\.to_numpy\(\) first"),
    "missing values": (lambda: pd.Series([1, None], dtype="Int64"), r"call \.to_numpy\(\"float64"),
    "missing category": (lambda: pd.Series([1, None], dtype="category"), r"has missing values"),
    "missing in a table": (lambda: pd.DataFrame({"a": [1, None]}, dtype="Float64"), "has missing"),
    "mixed columns": (
        lambda: pd.DataFrame({"a": [2**60 + 1], "b": [0.5]}),
        r"columns of several dtypes; call \.astype\(\"float64\"\) first",
    ),
    "column of texts": (lambda: pd.Series(["a"]), "no dtype object"),
    "on a GPU": (lambda: Converted("use .get()"), r"cannot be read; call .* \(use \.get\(\)\)"),
    "no DLPack of it": (lambda: Exported(torch.ones(2, dtype=torch.bfloat16)), "cannot be read"),
}


@pytest.mark.parametrize("op", BUILD)
@pytest.mark.parametrize("kind", REFUSED)
def test_operands_that_would_lose_something_are_refused(kind: str, op: str) -> None:
    """By every operation, with the operand's name; the error is a TypeError, too."""
    make, words = REFUSED[kind]
    for send in SEND.values():
        with pytest.raises(ClientError, match=rf"^(0|b|x): .*({words})") as caught:
            send(BUILD[op](make()))
        assert isinstance(caught.value, TypeError)


CYCLE: Final[list[Any]] = []
CYCLE.append(CYCLE)
ELEMENTS: Final[Mapping[str, tuple[Any, str]]] = {
    "complex": (1j, r"this complex is no number; call numpy.array\(x\) first"),
    "complex64": (np.complex64(1), r"call numpy.array\(x\) first"),
    "long float": (np.longdouble(1), r"call float\(x\) first"),
    "date": (np.datetime64(1, "ns"), "this datetime64 is no number"),
    "decimal": (Decimal(1), r"call float\(x\) first"),
    "missing": (pd.NA, "this NAType is no number"),
    "set": ({1}, r"call list\(x\) first"),
    "array": (np.ones(1), "is an array in a list; call numpy.stack on the list first"),
    "tensor": (torch.tensor(1.0), "is an array in a list; call torch.stack on the list first"),
    "masked": (np.ma.masked, r"has a mask; call \.filled\(value\) first"),
    "digits": (10**5000, "no JSON text"),
    "cycle": (CYCLE, "no JSON text"),
}


@pytest.mark.parametrize("send", SEND)
@pytest.mark.parametrize("kind", ELEMENTS)
def test_elements_that_json_does_not_have_are_refused(kind: str, send: str) -> None:
    """In lists, in every request."""
    element, words = ELEMENTS[kind]
    with pytest.raises(InvalidArgumentError, match=words):
        SEND[send](broadcast([[1.0, element]], to=[1, 2]))


@pytest.mark.parametrize("send", SEND)
def test_a_tensor_without_data_can_be_planned(send: str) -> None:
    """A tensor on the meta device is a Shape; a fake tensor has one."""
    meta = norm(torch.ones(2, 3, dtype=torch.float64, device="meta"))
    assert meta.operands == {"x": Shape((2, 3), "float64")}
    fake = norm(FakeTensorMode().from_tensor(torch.ones(3)))
    if send == "plan":
        assert requests.plan(meta).content == b'{"x":{"shape":[2,3],"dtype":"float64"}}'
        assert requests.plan(fake).content == b'{"x":{"shape":[3],"dtype":"float32"}}'
        return
    for call, words in ((meta, "can be planned"), (fake, "x: the elements of this FakeTensor")):
        with pytest.raises(InvalidArgumentError, match=words):
            SEND[send](call)


def test_a_traced_tensor_is_refused() -> None:
    """Within torch.vmap there are no elements."""
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        torch.vmap(lambda x: requests.run(norm(x)))(torch.ones(3))


FIELDS: Final[Mapping[str, tuple[Any, Any]]] = {
    "int64": (np.int64(1), 1),
    "float32": (np.float32(0.1), 0.10000000149011612),
    "bool": (np.bool_(True), True),
    "text": (np.str_("torch"), "torch"),
    "enumeration": (Name.TORCH, "torch"),
    "class": (np.float32, "float32"),
    "dtype": (np.dtype(">f8"), "float64"),
    "dtype of torch": (torch.bfloat16, "bfloat16"),
    "float": (float, "float64"),
    "int": (int, "int64"),
    "complex": (complex, "complex128"),
    "class of booleans": (bool, "bool"),
    "class of another library": (ml_dtypes.bfloat16, "bfloat16"),
    "device": (torch.device("cuda:1"), "cuda:1"),
    "devices": ([torch.device("cpu")], ["cpu"]),
    "shape": (torch.Size([2, 3]), [2, 3]),
    "array": (np.array([2, 3], np.uint32), [2, 3]),
    "tensor": (torch.tensor(1), 1),
    "numbers": ((np.int8(2), 3), [2, 3]),
    "column": (pd.Series([0, 1]), [0, 1]),
    "range": (range(2), [0, 1]),
    "pairs": ([(np.int64(0), np.int64(1))], [[0, 1]]),
    "views": ([None, "..."], [None, "..."]),
    "NaN": (np.float64(math.nan), "NaN"),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_fields_are_values_of_json(kind: str) -> None:
    """Equal ones, of Python's own types."""
    given_value, expected = FIELDS[kind]
    found = field_value(given_value)
    assert found == expected
    assert type(found) is type(expected)


def test_fields_reach_the_service() -> None:
    """In the query string and in JSON, of calls, races and shapes."""
    options: Any = {"dtype": np.float64, "device": torch.device("cpu"), "deadline_ms": np.int64(5)}
    options |= {"dim": np.array([0, 1]), "keepdim": np.bool_(1)}
    operands: list[Any] = [ONE, ONE.tolist()]
    for x in operands:
        call = norm(x, ord=np.float32("-inf"), **options)
        request = requests.run(call)
        assert request.media_type is not None
        reader = READERS[request.media_type]
        found = reader.decode(request.content, REGISTRY["norm"], CONTEXT, request.params)
        assert found.params["ord"] == -math.inf
        assert found.params["dim"] == (0, 1)
        assert found.params["keepdim"] is True
        assert (found.device, found.deadline_ms) == ("cpu", 5)
        assert found.specs[0].dtype == torch.float64
    race: Any = {"devices": (torch.device("cpu"),), "repeat": np.int8(3), "rtol": None}
    assert requests.compare(norm(ONE), race).params == {"devices": '["cpu"]', "repeat": "3"}
    shape = Shape(torch.Size([2]), torch.float16)
    assert requests.plan(norm(shape)).content == b'{"x":{"shape":[2],"dtype":"float16"}}'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({0, 1}, r"dim: this set is no number; call list\(x\) first"),
        (np.ma.masked_equal([0, 1], 1), r"dim: .* call \.filled\(value\) first"),
        (torch.ones(1, device="meta"), "dim: the elements of this Tensor cannot be read"),
        (b"1", "dim: this bytes is no number"),
        (10**5000, "no JSON text"),
    ],
    ids=["set", "masked", "meta", "bytes", "digits"],
)
def test_fields_that_json_does_not_have_are_refused(value: Any, words: str) -> None:
    """With the name of the field."""
    with pytest.raises(InvalidArgumentError, match=words):
        requests.run(norm(ONE, dim=value))


def test_standard_arrays_need_no_torch() -> None:
    """Arrays of Python load numpy alone."""
    code = """
import sys
from array import array
from tensor_service_client import norm, requests
print(len(requests.run(norm(array("d", [1, 2]))).content) > 16, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.split() == [b"True", b"False"]


PROPERTY: Final = settings(max_examples=200, derandomize=True, database=None)
EXTENTS: Final = st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4)), max_size=4)
# In the middle of 64 elements, which views reach by at most 4 * 2 * 4 elements on each side.
MIDDLE: Final = 32


def places_of(shape: list[int], strides: list[int]) -> Any:
    """Return the place of each element of a view."""
    steps = zip(strides, np.indices(shape), strict=True)
    return np.asarray(MIDDLE + sum((step * index for step, index in steps), np.zeros(shape, int)))


def returned(call: Call[Any]) -> Any:
    """Return the first operand as a result, after it was sent."""
    (x,) = sent(call)
    headers = {
        "content-type": "application/octet-stream",
        "x-tensor-dtype": str(x.dtype).removeprefix("torch."),
        "x-tensor-shape": ",".join(map(str, x.shape)),
        "x-envelope": "{}",
    }
    reader = requests.run(call).reader(200, headers)
    assert not [*reader.feed(bits_of(x))]
    return reader.value().result


@PROPERTY
@given(st.sampled_from(IN_NUMPY), st.integers(0, 9), EXTENTS, st.booleans())
def test_arrays_come_back_equal(
    dtype: str, seed: int, extents: list[tuple[int, int]], swapped: bool
) -> None:
    """Arrays of any dtype, shape, strides and byte order, bit for bit."""
    base = tensor_of(dtype, (2 * MIDDLE + 1,), seed).numpy()
    stored = base.astype(base.dtype.newbyteorder(">")) if swapped else base
    shape, strides = [size for size, _ in extents], [step for _, step in extents]
    x = np.lib.stride_tricks.as_strided(
        stored[MIDDLE:], shape, [step * stored.itemsize for step in strides], writeable=False
    )
    places = places_of(shape, strides)
    found = returned(broadcast(x, to=x.shape))
    assert (found.dtype, found.shape) == (base.dtype, x.shape)
    assert found.tobytes() == base[places].tobytes()


VIEWS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "plain": lambda x: x,
    "conjugate": torch.conj,
    "real": lambda x: x.real,
    "imaginary": lambda x: x.imag if x.is_complex() else x,
    "negative": lambda x: x.conj().imag if x.is_complex() else x,
    "differentiated": lambda x: (
        x.requires_grad_() if x.is_floating_point() or x.is_complex() else x
    ),
}


@PROPERTY
@given(st.sampled_from([*DTYPES]), st.integers(0, 9), EXTENTS, st.sampled_from([*VIEWS]))
def test_tensors_come_back_equal(
    dtype: str, seed: int, extents: list[tuple[int, int]], view: str
) -> None:
    """Tensors of any dtype, shape, strides and kind of view, bit for bit."""
    base = tensor_of(dtype, (2 * MIDDLE + 1,), seed)
    shape, strides = [size for size, _ in extents], [abs(step) for _, step in extents]
    x = VIEWS[view](base.as_strided(shape, strides, MIDDLE))
    places = torch.from_numpy(places_of(shape, strides))
    wanted = VIEWS[view](base[places]).detach().resolve_conj().resolve_neg()
    found = returned(broadcast(x, to=x.shape))
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert bits_of(found) == bits_of(wanted.clone(memory_format=torch.contiguous_format))


NUMBERS: Final = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**53), 2**53),
    st.floats(width=32, allow_nan=False).map(np.float32),
    st.floats(allow_nan=False).map(np.float64),
    st.integers(-(2**31), 2**31 - 1).map(np.int32),
)


@PROPERTY
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3))
def test_lists_come_back_equal(rows: list[Any]) -> None:
    """Numbers of Python and numpy, bit for bit in float64."""
    wanted = np.array(rows, np.float64)
    (found,) = sent(broadcast(rows, to=wanted.shape, dtype="float64"))
    assert tuple(found.shape) == wanted.shape
    assert found.numpy().tobytes() == wanted.tobytes()
