"""The table of dtypes agrees with torch and numpy."""

from itertools import product

import numpy as np
import pytest
import torch

from service.core.dtypes import (
    BOOL,
    COMPLEX,
    DTYPES,
    FLOATS,
    IN_NUMPY,
    INTEGERS,
    NUMBERS,
    Dtype,
    describe,
    parse_dtype,
    promote,
)
from service.errors import UnknownDtypeError

each_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


@each_dtype
def test_row(dtype: Dtype) -> None:
    """Name, size and kind are those of torch; numpy's type is little-endian and as wide."""
    assert str(dtype.torch) == f"torch.{dtype.name}"
    assert dtype.torch.itemsize == dtype.itemsize == dtype.numpy.itemsize
    assert dtype.numpy == dtype.numpy.newbyteorder("<")
    assert (dtype.kind == "float") == dtype.torch.is_floating_point
    assert (dtype.kind == "complex") == dtype.torch.is_complex
    assert (dtype.kind == "bool") == (dtype.torch == torch.bool)
    assert describe(dtype.torch) is dtype


@each_dtype
def test_numpy_holds_the_same_numbers(dtype: Dtype) -> None:
    """A tensor's numpy array has the table's type, but for bfloat16, which numpy lacks."""
    tensor = torch.ones(2, dtype=dtype.torch)
    if dtype.torch in IN_NUMPY:
        assert tensor.numpy().dtype == dtype.numpy
    else:
        assert dtype.name == "bfloat16"
        assert dtype.numpy == np.uint16


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("int8", -128, 127), ("uint8", 0, 255), ("int64", -(2**63), 2**63 - 1)],
)
def test_range_of_integers(name: str, low: int, high: int) -> None:
    """An integer dtype has its smallest and largest value."""
    assert (DTYPES[name].low, DTYPES[name].high) == (low, high)


@each_dtype
def test_parse(dtype: Dtype) -> None:
    """A dtype is found by its name, and by its name in the Open Inference Protocol."""
    assert parse_dtype(dtype.name) is dtype
    if dtype.protocol is not None:
        assert parse_dtype(dtype.protocol) is dtype


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("float31", "did you mean 'float32'?", id="near"),
        pytest.param("FP31", "did you mean 'FP32'?", id="near a protocol name"),
        pytest.param("uint16", "int32 holds all values of uint16", id="uint16"),
        pytest.param("uint32", "int64 holds all values of uint32", id="uint32"),
        pytest.param("UINT64", "int64 holds all values of UINT64 below 2^63", id="uint64"),
        pytest.param("quaternion", None, id="far"),
        pytest.param(32, None, id="number"),
        pytest.param(["float32"], None, id="list"),
        pytest.param(None, None, id="null"),
    ],
)
def test_unknown_dtype(name: object, hint: str | None) -> None:
    """The error of another name has the choices, and the nearest one."""
    with pytest.raises(UnknownDtypeError, match="choose one of float32, float64") as caught:
        parse_dtype(name)
    assert caught.value.hint == hint


def test_promote() -> None:
    """Promotion is torch's, for any number of dtypes."""
    every = [dtype.torch for dtype in DTYPES.values()]
    for a, b in product(every, every):
        assert promote([a, b]) == torch.promote_types(a, b)
    assert promote([torch.int8]) == torch.int8
    assert promote([torch.uint8, torch.int8, torch.float16]) == torch.float16


def test_sets_part_the_table() -> None:
    """Floats, integers, complex numbers and bool cover the table, and do not overlap."""
    sets = (FLOATS, INTEGERS, COMPLEX, BOOL)
    assert sum(map(len, sets)) == len(DTYPES)
    assert frozenset().union(*sets) == {dtype.torch for dtype in DTYPES.values()}
    assert NUMBERS == FLOATS | INTEGERS | COMPLEX
