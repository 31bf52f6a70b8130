"""The fast path of small plain requests gives the call of the general path, or None."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs import DecodeContext
from service.codecs.json.codec import take_operands
from service.codecs.json.document import read_document
from service.codecs.json.plain import PLAIN_BYTES, plain_call, read_plain_body
from service.codecs.request import build_call
from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from service.registry import Op

CONTEXT = DecodeContext(max_elements=100, dtype=DTYPES["float32"], max_deadline_ms=1000)
MATMUL, EINSUM, NORM = (REGISTRY[name] for name in ("matmul", "einsum", "norm"))
PAIR = {"a": [[1, 2.5]], "b": [[3.0], [-4]]}

# Numbers of float32: the text of no other number has to decide how it is rounded.
numbers = st.floats(-1e7, 1e7, width=32) | st.integers(-1000, 1000)
vectors = st.lists(numbers, min_size=1, max_size=4)


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    """Draw nested lists with rows of one length."""
    columns = draw(st.integers(0, 4))
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
    fast = read_plain_body(body, EINSUM, CONTEXT)
    document = read_document(body, None, CONTEXT)
    general = build_call(EINSUM, document, take_operands(document, EINSUM, CONTEXT), CONTEXT)
    assert fast is not None
    assert (fast.is_moderate, general.is_moderate) == (True, False)
    assert all(bool((x.abs() < 2**24).all()) for x in fast.operands)
    assert all(torch.equal(x, y) for x, y in zip(fast.operands, general.operands, strict=True))
    assert [x.dtype for x in fast.operands] == [x.dtype for x in general.operands]
    for name in ("op", "params", "strategy", "device", "output", "deadline_ms", "warnings"):
        assert getattr(fast, name) == getattr(general, name), name


@pytest.mark.parametrize(
    ("op", "body"),
    [
        pytest.param(MATMUL, b"{", id="not JSON"),
        pytest.param(MATMUL, b"[[1]]", id="no object"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "a": [2]}', id="a key twice"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "\\u0061": [2]}', id="an escape"),
        pytest.param(MATMUL, b'{"a": [1]}', id="an operand missing"),
        pytest.param(MATMUL, b'{"a": [1], "b": null}', id="an operand null"),
        pytest.param(MATMUL, b'{"a": [1], "b": {"data": [1]}}', id="an object"),
        pytest.param(MATMUL, b'{"a": [1], "b": 1}', id="a number"),
        pytest.param(MATMUL, b'{"a": [1], "b": []}', id="an empty list"),
        pytest.param(MATMUL, b'{"a": [1], "b": [[1], 2]}', id="mixed rows"),
        pytest.param(MATMUL, b'{"a": [1], "b": [[1, 2], [3]]}', id="ragged rows"),
        pytest.param(MATMUL, b'{"a": [1], "b": [[[1]]]}', id="rank 3"),
        pytest.param(MATMUL, b'{"a": [1], "b": [true]}', id="a boolean"),
        pytest.param(MATMUL, b'{"a": [1], "b": ["NaN"]}', id="a word"),
        pytest.param(MATMUL, b'{"a": [1], "b": [16777217]}', id="a large number"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "dtype": "int64"}', id="an integer dtype"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "dtype": "int"}', id="no dtype"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "deadline_ms": 0}', id="a wrong field"),
        pytest.param(NORM, b'{"x": [1], "dim": [0]}', id="a field that is a list"),
        pytest.param(NORM, b'{"x": [1], "keepdim": 1}', id="a number for true"),
        pytest.param(MATMUL, b'{"a": [1], "b": [1], "c": "d"}', id="an unknown field"),
        pytest.param(EINSUM, b'{"operands": [[1]]}', id="a field missing"),
        pytest.param(EINSUM, b'{"operands": {}, "equation": "i"}', id="operands of no list"),
        pytest.param(NORM, b'{"x": [%b]}' % b",".join([b"1"] * 101), id="too many elements"),
        pytest.param(NORM, b'{"x": [1]%b}' % (b" " * PLAIN_BYTES), id="a large body"),
    ],
)
def test_other_requests_are_left_to_the_general_path(op: Op[Any], body: bytes) -> None:
    """Errors are raised by the general path alone."""
    assert read_plain_body(body, op, CONTEXT) is None


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(replace(CONTEXT, max_nesting=3), id="nesting"),
        pytest.param(replace(CONTEXT, max_rank=1), id="rank"),
    ],
)
def test_tight_limits_are_left_to_the_general_path(context: DecodeContext) -> None:
    """A limit that a small matrix may exceed is checked there."""
    assert read_plain_body(orjson.dumps(PAIR), MATMUL, context) is None


@pytest.mark.parametrize(
    ("shape", "tight"),
    [
        pytest.param((2, 3), replace(CONTEXT, max_elements=5), id="elements"),
        pytest.param((1, 2, 3), replace(CONTEXT, max_rank=2), id="rank"),
        pytest.param((1, 2, 3), replace(CONTEXT, max_nesting=4), id="nesting"),
    ],
)
def test_arrays_over_a_limit_are_left_to_the_general_path(
    shape: tuple[int, ...], tight: DecodeContext
) -> None:
    """Those of large bodies, which were parsed as arrays."""
    within, over = (
        plain_call({"x": np.ones(shape)}, NORM, context) for context in (CONTEXT, tight)
    )
    assert within is not None
    assert over is None
