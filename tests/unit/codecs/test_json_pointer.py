"""JSON pointers to parts of a request, and names of these parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.json_pointer import index_of, kind_of, name_of, pointer_to


@pytest.mark.parametrize(
    ("pointer", "name"),
    [
        ("/a", "a"),
        ("/a/data/0/1", "a"),
        ("/operands/0", "operand 0"),
        ("/operands/12/data", "operand 12"),
        ("/steps/3/a/data/0", "a of step 3"),
        ("/steps/0/operands/1", "operand 1 of step 0"),
    ],
)
def test_tensors_are_named_by_their_pointer(pointer: str, name: str) -> None:
    """The name of a listed operand is its number."""
    assert name_of(pointer) == name


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "a boolean"),
        ("", "a string"),
        ([], "a list"),
        ({}, "an object"),
        (1, "a number"),
        (1.5, "a number"),
    ],
)
def test_kinds_of_json_values(value: object, kind: str) -> None:
    """A boolean is no number."""
    assert kind_of(value) == kind


@given(st.lists(st.integers(1, 4), max_size=4).map(tuple), st.data())
def test_positions_are_in_row_major_order(shape: tuple[int, ...], data: st.DataObject) -> None:
    """The index is that of numpy."""
    position = data.draw(st.integers(0, int(np.prod(shape)) - 1))
    expected = tuple(map(int, np.unravel_index(position, shape)))
    assert index_of(position, shape) == expected
    assert pointer_to("/a", position, shape) == "/a" + "".join(f"/{step}" for step in expected)
