"""Parsers of small fields: values that they accept, and errors for the rest."""

import math

import pytest

from service.core.validators import (
    Parser,
    boolean,
    choice,
    integer,
    integers,
    is_integer,
    is_number,
    refuse,
    text,
)
from service.errors import InvalidFieldError, Place

COLOUR = choice("colour", ("red", "green"))
FLAG = boolean("flag")
TEXT = text("name", longest=3)
COUNT = integer("count", least=1, most=9)


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        pytest.param(COLOUR, "green", id="choice"),
        pytest.param(FLAG, True, id="true"),
        pytest.param(FLAG, False, id="false"),
        pytest.param(TEXT, "abc", id="text"),
        pytest.param(TEXT, "", id="empty text"),
        pytest.param(COUNT, 1, id="least"),
        pytest.param(COUNT, 9, id="most"),
    ],
)
def test_taken(parse: Parser, value: object) -> None:
    """A valid value is returned unchanged."""
    assert parse(value) is value


@pytest.mark.parametrize(
    ("parse", "value", "detail", "hint"),
    [
        pytest.param(
            COLOUR,
            "gren",
            "colour is one of red, green; it was 'gren'",
            "did you mean 'green'?",
            id="choice misspelt",
        ),
        pytest.param(COLOUR, "x", "colour is one of red, green; it was 'x'", None, id="no choice"),
        pytest.param(COLOUR, 1, "colour is one of red, green; it was 1", None, id="choice: number"),
        pytest.param(
            COLOUR, ["red"], 'colour is one of red, green; it was ["red"]', None, id="choice: list"
        ),
        pytest.param(FLAG, 1, "flag is true or false; it was 1", None, id="one"),
        pytest.param(FLAG, None, "flag is true or false; it was null", None, id="null"),
        pytest.param(
            TEXT, "abcd", "name is a string of at most 3 characters; it was 'abcd'", None, id="long"
        ),
        pytest.param(
            TEXT, 5, "name is a string of at most 3 characters; it was 5", None, id="text: number"
        ),
        pytest.param(COUNT, 0, "count is an integer from 1 to 9; it was 0", None, id="too small"),
        pytest.param(COUNT, 10, "count is an integer from 1 to 9; it was 10", None, id="too large"),
        pytest.param(COUNT, True, "count is an integer from 1 to 9; it was true", None, id="true"),
        pytest.param(COUNT, 2.5, "count is an integer from 1 to 9; it was 2.5", None, id="float"),
        pytest.param(COUNT, 1e3, "count is an integer from 1 to 9; it was 1000.0", None, id="1e3"),
        pytest.param(COUNT, "2", "count is an integer from 1 to 9; it was '2'", None, id="string"),
        pytest.param(
            COUNT,
            10**5000,
            "count is an integer from 1 to 9; it was an integer of 16610 bits",
            None,
            id="huge",
        ),
    ],
)
def test_refused(parse: Parser, value: object, detail: str, hint: str | None) -> None:
    """The error has what is expected, the value that was given, and the place of the field."""
    with pytest.raises(InvalidFieldError) as caught:
        parse(value)
    name = detail.partition(" ")[0]
    wanted = detail.partition(" is ")[2].partition(";")[0]
    assert caught.value.detail == detail
    assert caught.value.hint == hint
    assert caught.value.places == (Place(f"/{name}", f"expected {wanted}"),)


def test_refuse_with_hint() -> None:
    """A parser of a field may add a hint."""
    with pytest.raises(InvalidFieldError) as caught:
        refuse("dim", "x", "an axis", hint="0 is one")
    assert caught.value.hint == "0 is one"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param([], (), id="empty"),
        pytest.param([1, -2], (1, -2), id="integers"),
        pytest.param([0] * 64, (0,) * 64, id="as many as may be"),
        pytest.param([0] * 65, None, id="too many"),
        pytest.param([1, True], None, id="boolean"),
        pytest.param([1.0, -2e2], (1, -200), id="without a fraction"),
        pytest.param([1.5], None, id="float"),
        pytest.param([1, 2.0**64], None, id="beyond 64 bits"),
        pytest.param([math.inf], None, id="infinity"),
        pytest.param([[1]], None, id="nested"),
        pytest.param(1, None, id="number"),
        pytest.param("12", None, id="text"),
    ],
)
def test_integers(value: object, found: tuple[int, ...] | None) -> None:
    """A short list of integers becomes a tuple."""
    axes = integers(value)
    assert axes == found
    assert all(type(axis) is int for axis in axes or ())


def test_an_integer_without_a_fraction() -> None:
    """JSON Schema has 1.0 and 1e0 as integers, and the value is an int."""
    for value in (1.0, 9e0):
        assert COUNT(value) == value
        assert type(COUNT(value)) is int


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        pytest.param(0, True, True, id="zero"),
        pytest.param(-(2**70), True, True, id="large integer"),
        pytest.param(2**1023, True, False, id="beyond float64"),
        pytest.param(1.5, False, True, id="float"),
        pytest.param(math.inf, False, False, id="infinity"),
        pytest.param(math.nan, False, False, id="NaN"),
        pytest.param(True, False, False, id="boolean"),
        pytest.param("1", False, False, id="string"),
        pytest.param(None, False, False, id="null"),
    ],
)
def test_kinds_of_number(value: object, whole: bool, number: bool) -> None:
    """Booleans are not numbers, and infinities are not JSON numbers."""
    assert is_integer(value) == whole
    assert is_number(value) == number
