"""Fields and operands to a call: names, defaults, dtypes and promotion."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from service.codecs import DecodeContext
from service.codecs.json.codec import SHORT_BYTES, JsonCodec
from service.codecs.json.operands import open_operand
from service.codecs.request import build_call
from service.core.call import Call, Spec
from service.core.dtypes import DTYPES
from service.core.validators import integer
from service.errors import ServiceError
from service.operations.einsum.strategies import op as einsum
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from service.registry import Op, Param

CONTEXT = DecodeContext(max_elements=1000, dtype=DTYPES["float32"], max_deadline_ms=1000)
LISTED = replace(norm, operands=None)
CODEC = JsonCodec()


def decode(body: object, op: Op[Any] = matmul, context: DecodeContext = CONTEXT) -> Call:
    """Return the call of a body."""
    return CODEC.decode(json.dumps(body).encode(), op, context)


def error_of(body: object, op: Op[Any] = matmul) -> ServiceError:
    """Return the error that a body raises."""
    with pytest.raises(ServiceError) as caught:
        decode(body, op)
    return caught.value


def stated(dtype: str, *values: object) -> dict[str, object]:
    """Return an operand that states its dtype."""
    return {"dtype": dtype, "data": list(values)}


def test_fields_are_in_the_call() -> None:
    """Common fields, and parameters of the operation."""
    fields = {"strategy": "torch", "device": "cuda:1", "output": "flat", "deadline_ms": 1000}
    call = decode({"x": [3, 4], "ord": "inf", "keepdim": True, **fields}, norm)
    assert (call.op, call.strategy, call.device) == ("norm", "torch", "cuda:1")
    assert (call.output, call.deadline_ms) == ("flat", 1000)
    assert call.params == {"ord": math.inf, "dim": None, "keepdim": True, "kind": "auto"}
    assert call.arithmetic is None
    for stated in ({"precision": "tf32"}, {"deterministic": False, "precision": None}):
        arithmetic = decode({"x": [3, 4], **stated}, norm).arithmetic
        assert arithmetic is not None
        assert arithmetic.stated == {n: value for n, value in stated.items() if value is not None}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("strategy", 5, "invalid-field"),
        ("strategy", "no", "unknown-strategy"),
        ("device", 1, "invalid-field"),
        ("device", "x" * 65, "invalid-field"),
        ("output", "nestd", "invalid-field"),
        ("deadline_ms", 0, "invalid-field"),
        ("deadline_ms", 1001, "invalid-field"),
        ("deadline_ms", 1.5, "invalid-field"),
        ("deadline_ms", True, "invalid-field"),
        ("dtype", "float23", "unknown-dtype"),
        ("dtype", [1], "unknown-dtype"),
        ("keepdim", 1, "invalid-field"),
        ("precision", "float32", "invalid-field"),
        ("precision", True, "invalid-field"),
        ("deterministic", 1, "invalid-field"),
        ("deterministic", "true", "invalid-field"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(field: str, value: object, code: str) -> None:
    """The field is checked before the operand is read."""
    assert error_of({"x": [None], field: value}, norm).code == code


def test_an_unknown_dtype_is_refused_with_its_place_and_the_nearest_name() -> None:
    """The place is the field of the request."""
    error = error_of({"a": [1], "b": [1], "dtype": "flaot32"})
    assert error.places[0].pointer == "/dtype"
    assert error.hint is not None
    assert "float32" in error.hint


def test_unknown_fields_are_refused_with_the_nearest_name() -> None:
    """The places have all of them, twenty at most."""
    error = error_of({"a": [1], "b": [1], "stratgy": "torch", "c/d": 1})
    assert error.code == "unknown-field"
    assert error.hint == "did you mean 'strategy'?"
    assert [place.pointer for place in error.places] == ["/stratgy", "/c~1d"]
    assert "it has a, b, strategy" in error.detail
    assert len(error_of({f"field{n}": n for n in range(100)}).places) == 20
    assert error_of({"x": [1], "operands": [[1]]}, LISTED).detail.endswith(
        "deadline_ms, precision, deterministic"
    )


@pytest.mark.parametrize(
    ("op", "body", "pointers"),
    [
        (matmul, {"b": [1]}, ["/a"]),
        (matmul, {}, ["/a", "/b"]),
        (LISTED, {}, ["/operands"]),
        (replace(norm, params=(Param("must", "", {}, str, required=True),)), {}, ["/x", "/must"]),
    ],
)
def test_missing_fields_are_refused_by_name(op: Op[Any], body: object, pointers: list[str]) -> None:
    """Operands and required parameters."""
    error = error_of(body, op)
    assert error.code == "missing-field"
    assert [place.pointer for place in error.places] == pointers


@pytest.mark.parametrize("value", [[], {}, 1, None, "x", {"data": [1]}])
def test_operands_that_are_no_list_are_refused(value: object) -> None:
    """One tensor or more, in a small document and in a large one."""
    for device in ("cpu", "c" * SHORT_BYTES):
        error = error_of({"operands": value, "device": device}, LISTED)
        assert (error.code, error.places[0].pointer) == ("invalid-field", "/operands")


def test_too_many_operands_are_refused() -> None:
    """The limit is 64."""
    assert len(decode({"operands": [1] * 64}, LISTED).operands) == 64
    error = error_of({"operands": [1] * 65}, LISTED)
    assert (error.code, error.places[0].pointer) == ("limit-exceeded", "/operands")


@pytest.mark.parametrize(
    "text",
    [
        '{"KEY": 1}',
        '{"a": {"KEY": 1}, "b": 1}',
        '{"a": 1, "b": 1, "output": {"KEY": 1}}',
        '{"KEY": 1, "KEY": 2}',
        '{"KEY": {"KEY": 1, "KEY": 2}}',
    ],
)
def test_long_keys_are_cut_in_errors(text: str) -> None:
    """In pointers and in sentences."""
    body = text.replace("KEY", "k" * 1000).encode()
    with pytest.raises(ServiceError) as caught:
        CODEC.decode(body, matmul, CONTEXT)
    texts = [caught.value.detail, *(place.pointer for place in caught.value.places)]
    assert all("k" * 65 not in each for each in texts)
    assert caught.value.places[0].pointer.endswith("/" + "k" * 63 + "…")


def test_a_listed_operand_is_named_by_its_number() -> None:
    """In sentences and in pointers."""
    error = error_of({"operands": [[1], [[1], [1, 2]]]}, LISTED)
    assert error.detail.startswith("operand 1 is not rectangular")
    assert error.places[0].pointer == "/operands/1/1"


def test_unknown_operands_are_refused() -> None:
    """A format with named tensors may have more of them than there are operands."""
    operands = {name: open_operand([1], f"/{name}", CONTEXT) for name in "abc"}
    with pytest.raises(ServiceError) as caught:
        build_call(matmul, {}, operands, CONTEXT)
    assert caught.value.code == "unknown-field"
    assert [place.pointer for place in caught.value.places] == ["/c"]


@pytest.mark.parametrize(
    ("a", "b", "dtype", "expected"),
    [
        pytest.param([1], [2], None, "float32", id="nothing stated"),
        pytest.param([1], [2], "int64", "int64", id="by the request"),
        pytest.param([1], [2], "FP64", "float64", id="by the other spelling"),
        pytest.param(stated("int16", 1), [2], None, "int16", id="by the other operand"),
        pytest.param([1.5], stated("float16", 1), None, "float16", id="by the second operand"),
        pytest.param(stated("int16", 1), [2.5], "float64", "float64", id="request before operand"),
        pytest.param(stated("int8", 1), stated("uint8", 200), None, "int16", id="int8 and uint8"),
        pytest.param(stated("int8", 1), stated("int64", 2), "float32", "int64", id="both stated"),
        pytest.param(stated("bool", True), stated("int8", 2), None, "int8", id="bool and int8"),
        pytest.param(stated("int64", 1), stated("float16", 2), None, "float16", id="by kind"),
        pytest.param(stated("float16", 1), stated("bfloat16", 2), None, "float32", id="two halves"),
        pytest.param(
            stated("complex64", [1, 2]), stated("float64", 2), None, "complex128", id="complex"
        ),
        pytest.param(
            stated("int32", 1), stated("complex64", [1, 2]), None, "complex64", id="int and complex"
        ),
    ],
)
def test_operands_get_their_common_dtype(
    a: object, b: object, dtype: str | None, expected: str
) -> None:
    """Plain arrays take the dtype of the others, then all are promoted as in torch."""
    body = {"a": a, "b": b} | ({"dtype": dtype} if dtype else {})
    call = decode(body)
    assert [x.dtype for x in call.operands] == [DTYPES[expected].torch] * 2
    assert call.warnings == ()


def test_the_default_dtype_is_the_server_s() -> None:
    """It is set by the context."""
    context = replace(CONTEXT, dtype=DTYPES["float64"])
    assert decode({"a": [1], "b": [2]}, context=context).operands[0].dtype == torch.float64


@pytest.mark.parametrize(
    ("other", "number", "used"),
    [("float32", 2**24 + 1, 2**24), ("complex64", 2**24 + 1, 2**24), ("float64", 2**53 + 1, 2**53)],
)
def test_an_integer_that_loses_digits_by_promotion_adds_a_warning(
    other: str, number: int, used: int
) -> None:
    """With the operand and the number."""
    value: object = [1, 2] if other == "complex64" else 1
    call = decode({"a": stated("int64", 1, number), "b": stated(other, value)})
    assert call.operands[0].tolist() == [1, used]
    (warning,) = call.warnings
    assert warning.endswith(f"the whole number {number} at /a/data/1: {used} was used instead")


def test_an_integer_that_becomes_infinite_by_promotion_is_refused() -> None:
    """70000 is over the greatest float16."""
    error = error_of({"a": stated("int64", 1, 70000), "b": stated("float16", 1)})
    assert (error.code, error.places[0].pointer) == ("value-out-of-range", "/a/data/1")


@pytest.mark.parametrize(
    ("operand", "pointer"),
    [
        pytest.param({"shape": [2, 2], "data": [1, 70000, 2, 3]}, "/a/data/1", id="flat"),
        pytest.param({"shape": [2, 2], "data": [[1, 2], [70000, 3]]}, "/a/data/1/0", id="nested"),
        pytest.param({"data": ["1", "70000"]}, "/a/data/1", id="strings"),
        pytest.param({"shape": [1], "b64": "cBEBAA=="}, "/a/b64", id="bytes"),
    ],
)
@pytest.mark.parametrize("padding", ["", " " * SHORT_BYTES], ids=["small", "large"])
def test_the_place_of_an_integer_is_the_one_that_was_sent(
    operand: dict[str, Any], pointer: str, padding: str
) -> None:
    """An element of the lists, flat or nested; bytes have no elements in JSON."""
    body = json.dumps({"a": {"dtype": "int32", **operand}, "b": stated("float16", 1)}) + padding
    with pytest.raises(ServiceError) as caught:
        CODEC.decode(body.encode(), matmul, CONTEXT)
    assert (caught.value.code, caught.value.places[0].pointer) == ("value-out-of-range", pointer)


@pytest.mark.parametrize(
    "field", ["strategy", "device", "dtype", "output", "deadline_ms", "ord", "dim", "keepdim", "q"]
)
def test_a_field_that_is_null_is_not_given(field: str) -> None:
    """All optional fields, also those of a route; an unknown one is still unknown."""
    if field == "q":
        assert error_of({"x": [3, 4], "q": None}, norm).code == "unknown-field"
        return
    found, expected = decode({"x": [3, 4], field: None}, norm), decode({"x": [3, 4]}, norm)
    assert repr(found) == repr(expected)


def test_a_required_field_that_is_null_is_refused() -> None:
    """An equation, and an operand."""
    error = error_of({"operands": [[1]], "equation": None}, einsum)
    assert (error.code, error.places[0].pointer) == ("invalid-field", "/equation")
    assert error_of({"x": None}, norm).code == "invalid-element"


@pytest.mark.parametrize(
    ("field", "value", "whole"),
    [("dim", 0.0, 0), ("dim", [-1.0], [-1]), ("deadline_ms", 1e3, 1000), ("ord", -0.0, 0)],
)
def test_a_number_without_a_fraction_is_an_integer(
    field: str, value: object, whole: object
) -> None:
    """The call is that of the integer, and of no float."""
    found, expected = (decode({"x": [3, 4], field: each}, norm) for each in (value, whole))
    assert repr((found.params, found.deadline_ms)) == repr((expected.params, expected.deadline_ms))


def test_each_operand_that_loses_digits_has_its_warning() -> None:
    """In the order of the operands."""
    call = decode({"a": [2**24 + 1], "b": [2**25 + 1]})
    assert [warning[:2] for warning in call.warnings] == ["a:", "b:"]


PLAN = replace(CONTEXT, shapes=True, max_elements=2**62)


def test_a_plan_takes_shapes_without_data() -> None:
    """Beside operands with data; dtypes are promoted as in a run."""
    a, b = {"shape": [10**6, 10**6]}, {"dtype": "float64", "data": [1, 2]}
    call = decode({"a": a, "b": b}, context=PLAN)
    assert call.operands == ()
    assert call.operand_specs == (Spec((10**6, 10**6), torch.float64), Spec((2,), torch.float64))
    call = decode({"a": a, "b": {"shape": [], "dtype": "int8"}, "dtype": "bool"}, context=PLAN)
    assert call.operand_specs == (Spec((10**6, 10**6), torch.int8), Spec((), torch.int8))


def test_a_shape_without_data_cannot_be_read() -> None:
    """The error is one of the request."""
    operand = open_operand({"shape": [2]}, "/a", PLAN)
    with pytest.raises(ServiceError) as caught:
        operand.read(DTYPES["float32"])
    assert caught.value.code == "missing-field"


def test_a_route_may_have_parameters_of_its_own() -> None:
    """They are checked like those of the operation, and are apart from them in the call."""
    repeat = Param("repeat", "", {}, integer("repeat", least=1, most=9), default=3)
    context = replace(CONTEXT, params=(repeat,))
    body = {"a": [1], "b": [2]}
    assert decode(body, context=context).options == {"repeat": 3}
    assert decode(body | {"repeat": 5}, context=context).options == {"repeat": 5}
    with pytest.raises(ServiceError, match="from 1 to 9"):
        decode(body | {"repeat": 10}, context=context)
    assert error_of(body | {"repeat": 5}).code == "unknown-field"
