"""Fields of a query string have the values that they would have in JSON."""

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import compare
from service.codecs import DecodeContext
from service.codecs.query import read_query
from service.core.dtypes import parse_dtype
from service.errors import InvalidFieldError, NestingError, UnknownFieldError
from service.operations import REGISTRY

CONTEXT = DecodeContext(max_elements=2**24, dtype=parse_dtype("float32"), max_deadline_ms=1000)
RACE_CONTEXT = DecodeContext(
    max_elements=1, dtype=parse_dtype("float32"), max_deadline_ms=1, params=compare.PARAMS
)


def field(text: str, name: str = "dim", op: str = "norm") -> Any:
    """Return the value of one field."""
    return read_query({name: text}, REGISTRY[op], CONTEXT)[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("-0", 0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("[0,1]", [0, 1]),
        ("[ -1 ]", [-1]),
        ("[]", []),
        ("[[0,1],[0,1]]", [[0, 1], [0, 1]]),
        ('[":,None",null]', [":,None", None]),
        ('"fro"', "fro"),
        ("fro", "fro"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        ("", ""),
        (" 1", " 1"),
        ("+1", "+1"),
        ("01", "01"),
        ("1_0", "1_0"),
        ("\u0661", "\u0661"),
        ("True", "True"),
        ("{}", "{}"),
        ("NaN", "NaN"),
    ],
)
def test_a_value_is_read_as_json_or_as_a_word(text: str, value: Any) -> None:
    """Numbers, literals and lists are JSON; other texts are words."""
    found = field(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", ["strategy", "device", "dtype", "output", "precision"])
def test_null_is_no_word(name: str) -> None:
    """An optional field of words can be null; an equation can be `null`."""
    assert field("null", name) is None
    assert field("null", "equation", "einsum") == "null"


@pytest.mark.parametrize("name", ["strategy", "device", "dtype", "output", "precision"])
@pytest.mark.parametrize("text", ["1", "true", "[1]"])
def test_fields_of_words_are_never_read_as_json(name: str, text: str) -> None:
    """Fields whose values are always words."""
    assert field(text, name) == text


def test_an_equation_is_a_word() -> None:
    """Even the text `true`."""
    assert field("true", "equation", "einsum") == "true"


@pytest.mark.parametrize("text", ["[", "[1", '"', "[1,]", "[NaN]", "[01]"])
def test_malformed_json_is_refused_with_its_field(text: str) -> None:
    """The place is that of the field."""
    with pytest.raises(InvalidFieldError) as caught:
        field(text)
    assert [place.pointer for place in caught.value.places] == ["/dim"]


@pytest.mark.parametrize("text", ["1e400", "-1e999"])
def test_a_number_beyond_float64_is_left_to_its_field(text: str) -> None:
    """It is a number of JSON, as in a body."""
    assert math.isinf(float(str(field(text))))


@pytest.mark.parametrize("depth", [65, 500, 1000])
def test_a_list_that_is_nested_too_deep_is_refused(depth: int) -> None:
    """The limit is that of a body."""
    with pytest.raises(NestingError, match="deeper than 64"):
        field("[" * depth + "]" * depth)


@pytest.mark.parametrize(("op", "name"), [("norm", "x"), ("einsum", "operands")])
def test_operands_in_the_query_are_refused(op: str, name: str) -> None:
    """They belong into the body."""
    with pytest.raises(UnknownFieldError, match="operand"):
        read_query({name: "[1]"}, REGISTRY[op], CONTEXT)


def test_fields_of_a_route_are_read_too() -> None:
    """Such as those of a race."""
    query = {"strategies": '["torch"]', "repeat": "3", "baseline": "1"}
    found = read_query(query, REGISTRY["norm"], RACE_CONTEXT)
    assert (found["strategies"], found["repeat"]) == (["torch"], 3)


def test_an_empty_query_has_no_fields() -> None:
    """Unknown fields are kept: the checks of the request refuse them."""
    assert read_query({}, REGISTRY["norm"], CONTEXT) == {}
    assert read_query({"nonsense": "1"}, REGISTRY["norm"], CONTEXT) == {"nonsense": 1}


@given(
    st.recursive(
        st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
    | st.floats(allow_nan=False, allow_infinity=False)
)
def test_json_text_is_read_as_json(value: Any) -> None:
    """All values but objects."""
    assert field(json.dumps(value)) == value


@given(st.text())
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """The error is that of a field."""
    with suppress(InvalidFieldError):
        field(text)
