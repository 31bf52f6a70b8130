"""The fast path of plain requests gives the call of the general path, or None."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs import DecodeContext
from service.codecs.json.codec import operand_names, take_operands
from service.codecs.json.document import read_document
from service.codecs.json.plain import LONGEST, plain_call
from service.codecs.number_text import extract
from service.codecs.request import MAX_OPERANDS, build_call
from service.core.call import Call
from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from service.registry import Op

CONTEXT = DecodeContext(max_elements=100, dtype=DTYPES["float32"], max_deadline_ms=1000)
MATMUL, EINSUM, NORM = (REGISTRY[name] for name in ("matmul", "einsum", "norm"))
PAIR = b'{"a": [[1, 2.5]], "b": [[3.0], [-4]]}'

# Numbers of float32: the text of any other may have to decide how it is rounded, as that of a
# subnormal one.
numbers = st.floats(-1e7, 1e7, width=32, allow_subnormal=False) | st.integers(-1000, 1000)
vectors = st.lists(numbers, min_size=1, max_size=4)


def plain(body: bytes, op: Op[Any], context: DecodeContext = CONTEXT) -> Call | None:
    """Return the call of a body whose arrays can be extracted, or None."""
    extracted = extract(body, operand_names(op))
    assert extracted is not None
    return plain_call(extracted, op, context)


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    """Draw nested lists with rows of one length."""
    columns = draw(st.integers(1, 4))
    rows = draw(st.integers(1, 4))
    return [[draw(numbers) for _ in range(columns)] for _ in range(rows)]


@given(
    operands=st.lists(vectors | matrices(), min_size=1, max_size=3),
    fields=st.fixed_dictionaries(
        {"equation": st.sampled_from(["i,i", "ij->ji"])},
        optional={
            "dtype": st.sampled_from(["float32", "float64", "FP64"]),
            "strategy": st.sampled_from(["auto", "loops"]),
            "output": st.sampled_from(["nested", "flat", "base64"]),
            "optimize": st.just("greedy"),
            "deadline_ms": st.integers(1, 1000),
        },
    ),
)
def test_both_paths_give_the_same_call(operands: list[Any], fields: dict[str, str]) -> None:
    """The tensors are equal bit for bit."""
    body = orjson.dumps(fields | {"operands": operands})
    fast = plain(body, EINSUM)
    document = read_document(body, None, CONTEXT)
    general = build_call(EINSUM, document, take_operands(document, EINSUM, CONTEXT), CONTEXT)
    assert fast is not None
    assert (fast.is_moderate, general.is_moderate) == (True, False)
    assert all(torch.equal(x, y) for x, y in zip(fast.operands, general.operands, strict=True))
    assert [x.dtype for x in fast.operands] == [x.dtype for x in general.operands]
    for name in ("op", "params", "strategy", "device", "output", "deadline_ms", "warnings"):
        assert getattr(fast, name) == getattr(general, name), name


@pytest.mark.parametrize(
    ("number", "is_moderate"), [(b"16777215.5", True), (b"-16777216.0", False), (b"1e300", False)]
)
def test_large_numbers_of_the_same_dtype_are_not_moderate(number: bytes, is_moderate: bool) -> None:
    """They are taken as they are, and the engine checks their results."""
    call = plain(b'{"x": [%b, 1], "dtype": "float64"}' % number, NORM)
    assert call is not None
    assert call.operands[0].tolist() == [float(number), 1]
    assert call.is_moderate == is_moderate


@pytest.mark.parametrize(
    ("op", "body"),
    [
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "c": }', id="no JSON"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "a": [2]}', id="an operand twice"),
        pytest.param(NORM, b'{"x": [1], "x": [2]}', id="the one operand twice"),
        pytest.param(NORM, b'{"x": [1], "dtype": "FP32", "dtype": "FP64"}', id="a field twice"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "\\u0064type": "FP32"}', id="an escape"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "device": "cuda:0"}', id="a colon in a word"),
        pytest.param(MATMUL, b'{"a": [1]}', id="an operand missing"),
        pytest.param(MATMUL, b'{"a": [1], "b": null}', id="an operand null"),
        pytest.param(MATMUL, b'{"a": [1], "b": {"data": [1]}}', id="an object"),
        pytest.param(MATMUL, b'{"a": [1], "b": 1}', id="a number"),
        pytest.param(MATMUL, b'{"a": [1], "b": [16777216]}', id="a large number"),
        pytest.param(MATMUL, b'{"a": [1], "b": [16777216.5]}', id="a large fraction"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1.0000000596046448]}', id="a tie"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "dtype": "int64"}', id="an integer dtype"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "dtype": "int"}', id="no dtype"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "deadline_ms": 0}', id="a wrong field"),
        pytest.param(NORM, b'{"x": [1], "dim": [0]}', id="a field that is a list"),
        pytest.param(NORM, b'{"x": [1], "keepdim": 1}', id="a number for true"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "c": "d"}', id="an unknown field"),
        pytest.param(EINSUM, b'{"operands": [[1]]}', id="a field missing"),
        pytest.param(EINSUM, b'{"equation": "i"}', id="operands missing"),
        pytest.param(EINSUM, b'{"operands": [], "equation": "i"}', id="no operands"),
        pytest.param(EINSUM, b'{"operands": {}, "equation": "i"}', id="operands of no list"),
        pytest.param(EINSUM, b'{"operands": [[1], 1], "equation": "i,"}', id="one of two"),
        pytest.param(
            EINSUM,
            b'{"operands": [%b], "equation": "i"}' % b",".join([b"[1]"] * (MAX_OPERANDS + 1)),
            id="many operands",
        ),
        pytest.param(NORM, b'{"x": [%b]}' % b",".join([b"1"] * 101), id="too many elements"),
        pytest.param(NORM, b'{"x": [1]}'.ljust(LONGEST + 3), id="long text around arrays"),
    ],
)
def test_other_requests_are_left_to_the_general_path(op: Op[Any], body: bytes) -> None:
    """Errors are raised by the general path alone."""
    assert plain(body, op) is None


@pytest.mark.parametrize(
    ("op", "body"),
    [
        pytest.param(NORM, b'{"x": [1]}'.ljust(LONGEST + 2), id="text around arrays"),
        pytest.param(NORM, b'{"x": [%b]}' % b",".join([b"1"] * 100), id="elements"),
        pytest.param(NORM, b'{"x": %b1%b}' % (b"[" * 16, b"]" * 16), id="rank"),
        pytest.param(MATMUL, b'{"a": [1], "b": [16777215]}', id="a moderate number"),
    ],
)
def test_plain_requests_up_to_the_limits(op: Op[Any], body: bytes) -> None:
    """The last ones that the general path is not needed for."""
    assert plain(body, op) is not None


@pytest.mark.parametrize(
    ("body", "op", "within", "tight"),
    [
        pytest.param(PAIR, MATMUL, {"max_nesting": 4}, {"max_nesting": 3}, id="nesting, matrix"),
        pytest.param(PAIR, MATMUL, {"max_rank": 2}, {"max_rank": 1}, id="rank, matrix"),
        pytest.param(b'{"x": [[[1]]]}', NORM, {"max_nesting": 5}, {"max_nesting": 4}, id="nesting"),
        pytest.param(b'{"x": [[[1]]]}', NORM, {"max_rank": 3}, {"max_rank": 2}, id="rank"),
        pytest.param(
            b'{"x": [[1, 2]]}', NORM, {"max_elements": 2}, {"max_elements": 1}, id="elements"
        ),
    ],
)
def test_limits_are_left_to_the_general_path(
    body: bytes, op: Op[Any], within: dict[str, Any], tight: dict[str, Any]
) -> None:
    """Which words the errors of arrays that exceed them."""
    assert plain(body, op, replace(CONTEXT, **within)) is not None
    assert plain(body, op, replace(CONTEXT, **tight)) is None


def test_a_plan_has_the_shapes_alone() -> None:
    """And no elements."""
    call = plain(PAIR, MATMUL, replace(CONTEXT, shapes=True))
    assert call is not None
    assert call.operands == ()
    assert [spec.shape for spec in call.specs] == [(1, 2), (2, 1)]
