"""Both parsers: equal results, and documents that the large one leaves to the small one."""

import json
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.json import parsers
from service.codecs.json.document import read_document
from service.codecs.json.writer import result_json
from service.core.dtypes import DTYPES
from service.errors import ServiceError
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from service.registry import Op
from tests.unit.codecs.json.decoding import (
    CONTEXT,
    PADDING,
    decode,
    decode_error,
)

LISTED = replace(norm, operands=None)


def test_a_parser_in_use_is_not_reused() -> None:
    """Objects of its last document hold it; the other parser reads the next one."""
    body = b'{"a": [1]}' + PADDING
    parsers.drop_parsers()
    parsers.read_large(body, ("a",))
    (kept,) = parsers._PARSERS
    document = kept.parse(b'{"kept": 1}')
    assert parsers.read_large(body, ("a",)) is None
    assert read_document(body, ("a",), CONTEXT) == {"a": [1]}
    del document
    assert parsers.read_large(body, ("a",)) is not None


def test_an_object_with_many_keys_is_left_to_the_small_parser() -> None:
    """simdjson searches all keys for each of them."""
    keys = {f"k{number}": 1 for number in range(parsers.MAX_KEYS)}
    assert parsers.read_large(orjson.dumps(keys), ("a",)) == keys
    assert parsers.read_large(orjson.dumps(keys | {"one more": 1}), ("a",)) is None


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["NaN", "Infinity", "float64", "int8", "complex64", "1", "AAAA", "a:b", '"\\']
    )
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["shape", "dtype", "data", "b64", "x"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


NUMBERS = st.sampled_from(
    [0, 1, -1.5, 1.0, 2**24 + 1, 2**53 + 1, 2**63, 2**64, 1e39, 300, 1e16, 1e300]
)


ROWS = st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=3)


TENSORS = st.fixed_dictionaries(
    {"data": ROWS | st.lists(NUMBERS, max_size=4) | NUMBERS},
    optional={
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "dtype": st.sampled_from(list(DTYPES)),
    },
)


OPERANDS = JSON_VALUES | ROWS | TENSORS


BODIES = st.fixed_dictionaries(
    {"a": OPERANDS},
    optional={
        "b": OPERANDS,
        "operands": st.lists(OPERANDS, max_size=3),
        "dtype": st.sampled_from([*DTYPES, "FP32", "no"]),
        "device": JSON_VALUES,
        "strategy": st.sampled_from(["torch", "auto", "no"]),
        "dim": JSON_VALUES,
    },
)


def ending(body: bytes, op: Op[Any]) -> object:
    """Return the call or the error of a body in a form that can be compared."""
    try:
        call = decode(body, op)
    except ServiceError as error:
        return (error.code, error.places)
    return (
        [(x.dtype, x.shape, b"".join(result_json(x, "base64"))) for x in call.operands],
        call.params,
        call.warnings,
    )


@given(BODIES, st.sampled_from([matmul, replace(matmul, operands=("a",)), LISTED]))
def test_both_parsers_give_the_same_call_or_error(body: dict[str, Any], op: Op[Any]) -> None:
    """Equal values and warnings, or the same error at the same place."""
    text = json.dumps(body).encode()
    assert ending(text, op) == ending(text + PADDING, op)


@given(BODIES, st.data())
def test_a_damaged_body_gives_a_call_or_a_service_error(
    body: dict[str, Any], data: st.DataObject
) -> None:
    """Changed, removed or added bytes raise no other exception with either parser."""
    text = bytearray(json.dumps(body).encode())
    at = data.draw(st.integers(0, len(text) - 1))
    to = data.draw(st.integers(at, min(at + 8, len(text))))
    text[at:to] = data.draw(
        st.binary(max_size=4) | st.sampled_from([b"[", b"}", b'"', b"\\", b"1e999", b"NaN", b","])
    )
    op: Op[Any] = data.draw(st.sampled_from([matmul, norm, LISTED]))
    for padding in (b"", PADDING):
        assert ending(bytes(text) + padding, op)


@given(st.binary(max_size=60))
def test_random_bytes_raise_a_service_error(body: bytes) -> None:
    """They are no request."""
    assert decode_error(body).detail
