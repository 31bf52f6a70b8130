"""The `views` parameter, compared with indexing in numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.call import Shape
from service.errors import InvalidFieldError, Place, ShapeMismatchError
from service.operations.broadcast.indexing import apply_view, parse_views

PARTS = {":": slice(None), "None": None, "...": ...}


@settings(max_examples=300)
@given(
    shape=st.lists(st.integers(0, 3), max_size=4).map(tuple),
    parts=st.lists(st.sampled_from([":", ":", "None", "..."]), min_size=1, max_size=6),
)
def test_view_is_indexing(shape: Shape, parts: list[str]) -> None:
    """Shape and strides are those of indexing in numpy, and so are the errors."""
    text = " , ".join(parts)
    array = np.zeros(shape, np.int8)
    index: tuple[Any, ...] = tuple(PARTS[part] for part in parts)
    try:
        expected = array[index]
    except IndexError:
        with pytest.raises((InvalidFieldError, ShapeMismatchError)):
            _view(text, shape)
        return
    found, viewed, strides = _view(text, shape)
    assert viewed == expected.shape
    tensor = torch.empty(shape, dtype=torch.int8)
    assert tensor[found].shape == viewed
    kept = [stride for stride, part in zip(strides, found, strict=True) if part is not None]
    assert tuple(kept) == tensor.stride()
    assert all(stride == 0 for stride, part in zip(strides, found, strict=True) if part is None)


def _view(text: str, shape: Shape) -> tuple[tuple[Any, ...], Shape, tuple[int, ...]]:
    views = parse_views([text])
    assert views is not None
    return apply_view(0, views[0], shape)


@pytest.mark.parametrize(
    ("value", "views"),
    [
        pytest.param(None, None, id="none"),
        pytest.param([], (), id="no operand"),
        pytest.param([None, ":,None"], ("...", ":,None"), id="a whole operand"),
        pytest.param([" ... ,None "], ("...,None",), id="spaces"),
        pytest.param(["unsqueeze(1)", "unsqueeze(-2)"], (":,None", "...,None,:"), id="unsqueeze"),
    ],
)
def test_parse(value: object, views: tuple[str, ...] | None) -> None:
    """Views come as a list of texts; null is the whole operand, spaces do not matter."""
    assert parse_views(value) == views


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(":", id="text"),
        pytest.param({"0": ":"}, id="object"),
        pytest.param([":"] * 65, id="too many"),
    ],
)
def test_no_list(value: object) -> None:
    """Anything but a short list is refused."""
    with pytest.raises(InvalidFieldError, match="views is a list with one index for each operand"):
        parse_views(value)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param("0", id="number"),
        pytest.param("1:2", id="slice"),
        pytest.param("", id="empty"),
        pytest.param(":,,:", id="nothing between commas"),
        pytest.param("...,...", id="dots twice"),
        pytest.param(":," * 64 + ":", id="long"),
        pytest.param("none", id="small letter"),
        pytest.param(5, id="no text"),
        pytest.param([":"], id="list"),
    ],
)
def test_no_view(view: object) -> None:
    """An index of anything but `:`, `None` and one `...` is refused, with its place."""
    with pytest.raises(InvalidFieldError, match="view 1 is made of ':', 'None' and") as caught:
        parse_views([":", view])
    wanted = "expected an index made of ':', 'None' and at most one '...'"
    assert caught.value.places == (Place("/views/1", wanted),)


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("axis", range(-5, 5))
@pytest.mark.parametrize("form", ["unsqueeze({})", ".unsqueeze( dim={} )"])
def test_unsqueeze(rank: int, axis: int, form: str) -> None:
    """It adds the axis that torch adds, and is refused where torch has no place for one."""
    x = torch.empty((2, 3, 4)[:rank])
    try:
        expected = x.unsqueeze(axis).shape
    except IndexError:
        with pytest.raises(ShapeMismatchError, match="axes; operand 0 has shape"):
            _view(form.format(axis), tuple(x.shape))
        return
    index, viewed, _ = _view(form.format(axis), tuple(x.shape))
    assert viewed == x[index].shape == expected


@pytest.mark.parametrize("text", ["unsqueeze(100)", "unsqueeze()", "unsqueeze(1.0)", "squeeze(1)"])
def test_no_unsqueeze(text: str) -> None:
    """Another call is refused with the one that there is."""
    with pytest.raises(InvalidFieldError, match=r"joined by commas, or 'unsqueeze\(1\)'; it was"):
        parse_views([text])


def test_too_many_axes() -> None:
    """A view that names more axes than there are is refused with both counts."""
    with pytest.raises(ShapeMismatchError, match=r"view ':,:,None' names 2 axes; operand 3") as why:
        apply_view(3, ":,:,None", (5,))
    assert why.value.places == (Place("/views/3", "names 2 axes of 1"),)
