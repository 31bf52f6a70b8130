"""Nested lists to shapes, and limits of shapes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.codecs.json.nested import check_empty, check_size, flatten
from service.errors import LimitExceededError, RaggedArrayError
from tests.unit.codecs.json.decoding import OPERAND_CONTEXT, read, read_error


@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=4, min_side=1)))
def test_a_rectangular_list_is_flattened(
    array: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> None:
    """Shape and elements are those of numpy."""
    found = flatten(array.tolist(), "/x")
    assert found.shape == array.shape
    assert found.items == array.reshape(-1).tolist()
    assert found.kinds == {int}


@pytest.mark.parametrize(
    ("value", "shape"), [([], (0,)), ([[], []], (2, 0)), ([[[]]], (1, 1, 0)), ("x", ())]
)
def test_lists_end_at_an_axis_of_size_0(value: object, shape: tuple[int, ...]) -> None:
    """Axes inside of it are not written."""
    assert flatten(value, "/x").shape == shape


def test_kinds_are_those_of_the_elements() -> None:
    """A boolean is no int."""
    assert flatten([[1, True], ["x", None]], "/x").kinds == {int, bool, str, type(None)}


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ([[1, 2], [3]], "/x/1"),
        ([[[1], [2]], [[3], [4, 5]]], "/x/1/1"),
        ([1, [2]], "/x/1"),
        ([[1], 2], "/x/1"),
        ([[], [1]], "/x/1"),
    ],
)
def test_a_ragged_list_is_refused_with_the_first_place(value: object, pointer: str) -> None:
    """Rows of two lengths, and lists beside elements."""
    with pytest.raises(RaggedArrayError) as caught:
        flatten(value, "/x")
    assert [place.pointer for place in caught.value.places] == [pointer]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("unit", ["[%s]", '{"dtype": "complex64", "data": [%s]}'])
def test_sizes_over_the_limits_are_refused_with_the_setting(unit: str) -> None:
    """Elements and rank; a pair is one element and adds no axis."""
    element = "1" if unit == "[%s]" else "[1, 1]"
    assert read(unit % ", ".join([element] * 1000))[0].numel() == 1000
    error = read_error(unit % ", ".join([element] * 1001))
    assert error.code == "limit-exceeded"
    assert "has 1001 elements; the limit is 1000 (SERVICE_MAX_ELEMENTS)" in error.detail
    assert read(unit % ("[" * 15 + element + "]" * 15))[0].dim() == 16
    error = read_error(unit % ("[" * 16 + element + "]" * 16))
    assert error.code == "limit-exceeded"
    assert "has rank 17; the limit is 16 (SERVICE_MAX_RANK)" in error.detail


@given(st.lists(st.sampled_from([0, 1, 2**29, 2**30]), max_size=4))
def test_empty_shapes_have_a_limit_of_their_own(sizes: list[int]) -> None:
    """It is on the product of the sizes that are not 0; a plan may have other limits."""
    shape = (0, *sizes)
    product = int(np.prod([size or 1 for size in sizes], dtype=object))
    plan = replace(OPERAND_CONTEXT, shapes=True)
    if product < 2**58:
        check_empty(shape, "/x")
        check_size(shape, "/x", OPERAND_CONTEXT)
    else:
        with pytest.raises(LimitExceededError, match=r"2\^58"):
            check_empty(shape, "/x")
        with pytest.raises(LimitExceededError, match=r"2\^58"):
            check_size(shape, "/x", OPERAND_CONTEXT)
    check_size(shape, "/x", plan)


@pytest.mark.parametrize(("size", "count"), [(1001, "1001"), (2**70, r"over 2\^64")])
def test_a_huge_count_is_not_written_in_digits(size: int, count: str) -> None:
    """From 2^64 on."""
    with pytest.raises(LimitExceededError, match=f"has {count} elements"):
        check_size((size,), "/x", OPERAND_CONTEXT)
