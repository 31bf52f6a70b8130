"""Objects of operands: shape, dtype, data and base64, and their errors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.codecs import DecodeContext
from service.codecs.json.operands import open_operand
from service.codecs.stored_arrays import ArrayFolder
from service.core.call import Stored
from service.core.dtypes import DTYPES
from service.errors import ServiceError
from tests.unit.codecs.json.decoding import (
    OPERAND_CONTEXT,
    read_error,
)

pytestmark = pytest.mark.usefixtures("reader")

OBJECTS = [
    pytest.param({"data": [1], "size": 1}, "unknown-field", "/x/size", id="unknown key"),
    pytest.param({"data": [1], "a/b~c": 1}, "unknown-field", "/x/a~1b~0c", id="escaped key"),
    pytest.param({}, "missing-field", "/x/data", id="nothing"),
    pytest.param({"shape": [1], "dtype": "int8"}, "missing-field", "/x/data", id="no data"),
    pytest.param({"data": [1], "b64": "AA=="}, "invalid-field", "/x/b64", id="data twice"),
    pytest.param({"b64": "AA==", "shape": [1]}, "missing-field", "/x/dtype", id="bytes of what"),
    pytest.param({"b64": "AA==", "dtype": "int8"}, "missing-field", "/x/shape", id="no shape"),
    pytest.param({"data": [1], "dtype": "int7"}, "unknown-dtype", "/x/dtype", id="no dtype"),
    pytest.param({"data": None}, "missing-field", "/x/data", id="null data"),
    pytest.param({"b64": None, "shape": [1]}, "missing-field", "/x/data", id="null bytes"),
    pytest.param({"ref": None}, "missing-field", "/x/data", id="null name"),
    pytest.param({"data": [1], "b64": None, "q": None}, "unknown-field", "/x/q", id="null unknown"),
    pytest.param({"data": [1], "shape": 1}, "invalid-field", "/x/shape", id="no list"),
    pytest.param({"data": [1], "shape": [1, -1]}, "invalid-field", "/x/shape/1", id="negative"),
    pytest.param({"data": [1], "shape": [1, 1.5]}, "invalid-field", "/x/shape/1", id="fraction"),
    pytest.param({"data": [1], "shape": [True]}, "invalid-field", "/x/shape/0", id="boolean"),
    pytest.param({"data": [1], "shape": [2]}, "shape-mismatch", "/x/data", id="too few"),
    pytest.param({"data": [[1, 2]], "shape": [2, 1]}, "shape-mismatch", "/x/data", id="transposed"),
    pytest.param(
        {"data": [[]], "shape": [0, 3]}, "shape-mismatch", "/x/data", id="empty, transposed"
    ),
    pytest.param({"data": [], "shape": [10**9] * 2}, "limit-exceeded", "/x", id="huge"),
    pytest.param({"data": [], "shape": [10**18] * 9}, "limit-exceeded", "/x", id="beyond 64 bits"),
    pytest.param({"data": [], "shape": [1] * 17}, "limit-exceeded", "/x", id="rank"),
    pytest.param({"data": {"data": [1]}}, "invalid-element", "/x/data", id="data in data"),
    pytest.param(
        {"shape": [1], "dtype": "complex64", "data": [1]},
        "shape-mismatch",
        "/x/data",
        id="half a pair",
    ),
    *(
        pytest.param({"b64": text, "shape": [1], "dtype": dtype}, code, "/x/b64", id=name)
        for name, text, dtype, code in [
            ("no text", 5, "int8", "invalid-field"),
            ("no base64", "A?==", "int8", "invalid-field"),
            ("no padding", "AA", "int8", "invalid-field"),
            ("white space", "AA==\n", "int8", "invalid-field"),
            ("other letters", "é", "int8", "invalid-field"),
            ("too many bytes", "AAA=", "int8", "shape-mismatch"),
            ("too few bytes", "AAA=", "float32", "shape-mismatch"),
            ("no boolean", "Ag==", "bool", "invalid-element"),
        ]
    ),
]


@pytest.mark.parametrize(("value", "code", "pointer"), OBJECTS)
def test_an_object_that_is_no_tensor_is_refused_with_the_place(
    value: object, code: str, pointer: str
) -> None:
    """Unknown, missing and contradictory keys."""
    error = read_error(json.dumps(value))
    assert (error.code, error.places[0].pointer) == (code, pointer)


@pytest.fixture
def context(tmp_path: Path) -> DecodeContext:
    """Return a context with one stored array, x.npy."""
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    return replace(OPERAND_CONTEXT, arrays=ArrayFolder(tmp_path.resolve()))


@pytest.mark.parametrize("stated", [{}, {"shape": [2, 3]}, {"dtype": "float32"}])
def test_an_operand_by_reference_is_not_read(
    context: DecodeContext, stated: dict[str, object]
) -> None:
    """Its dtype and shape are those of the file."""
    operand = open_operand({"ref": "x.npy", **stated}, "/a", context)
    assert operand.dtype == DTYPES["float32"]
    tensor, lost = operand.read(DTYPES["float64"])
    assert isinstance(tensor, Stored)
    assert (tuple(tensor.shape), tensor.dtype, lost) == ((2, 3), torch.float32, None)
    assert tensor.load().tolist() == [[1, 1, 1]] * 2


@pytest.mark.parametrize(
    ("stated", "pointer"),
    [
        ({"data": [1]}, "/a/data"),
        ({"b64": "AA=="}, "/a/b64"),
        ({"shape": [3, 2]}, "/a/shape"),
        ({"dtype": "float64"}, "/a/dtype"),
        ({"ref": "y.npy"}, "/a/ref"),
    ],
)
def test_a_reference_with_other_data_is_refused(
    context: DecodeContext, stated: dict[str, object], pointer: str
) -> None:
    """The place is the key that contradicts the reference."""
    with pytest.raises(ServiceError) as caught:
        open_operand({"ref": "x.npy", **stated}, "/a", context)
    assert [place.pointer for place in caught.value.places] == [pointer]
