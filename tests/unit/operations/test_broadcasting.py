"""Broadcasting rules, compared with numpy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.call import Shape
from service.errors import Place, ShapeMismatchError
from service.operations.broadcasting import (
    broadcast_shapes,
    broadcasts,
    describe_alignment,
    row_major_strides,
)

SHAPES = st.lists(
    st.lists(st.sampled_from([0, 1, 1, 2, 3]), max_size=4).map(tuple), min_size=1, max_size=4
)


def _broadcast(shapes: list[Shape]) -> Shape:
    return broadcast_shapes(shapes, [f"/{i}" for i in range(len(shapes))], what="operands")


@settings(max_examples=300)
@given(SHAPES)
def test_broadcast_shapes(shapes: list[Shape]) -> None:
    """Shapes broadcast as in numpy, or are refused as in numpy."""
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        assert not broadcasts(shapes)
        with pytest.raises(ShapeMismatchError):
            _broadcast(shapes)
    else:
        assert broadcasts(shapes)
        assert _broadcast(shapes) == expected


@pytest.mark.parametrize(
    ("shapes", "detail", "hint", "place"),
    [
        pytest.param(
            [(256, 256, 3), (128, 256, 3)],
            "operands do not broadcast: axis -3 has size 256 in (256, 256, 3) and 128 in "
            "(128, 256, 3); sizes must be equal, or one of them 1",
            None,
            Place("/1", "axis -3 has size 128, not 256"),
            id="nothing fits",
        ),
        pytest.param(
            [(2, 3), (3, 2)],
            "operands do not broadcast: axis -2 has size 2 in (2, 3) and 3 in (3, 2); "
            "sizes must be equal, or one of them 1",
            "(3, 2) transposed is (2, 3), and fits",
            Place("/1", "axis -2 has size 3, not 2"),
            id="the second transposed",
        ),
        pytest.param(
            [(2, 3), (2,)],
            "operands do not broadcast: axis -1 has size 3 in (2, 3) and 2 in (2,); "
            "sizes must be equal, or one of them 1",
            "(2,) with an axis added last is (2, 1), and fits",
            Place("/1", "axis -1 has size 2, not 3"),
            id="the second as a column",
        ),
        pytest.param(
            [(2,), (1, 3), (2, 3)],
            "operands do not broadcast: axis -1 has size 2 in (2,) and 3 in (1, 3); "
            "sizes must be equal, or one of them 1",
            "(2,) with an axis added last is (2, 1), and fits",
            Place("/1", "axis -1 has size 3, not 2"),
            id="the first as a column",
        ),
        pytest.param(
            [(2, 3), (1,), (0, 3)],
            "operands do not broadcast: axis -2 has size 2 in (2, 3) and 0 in (0, 3); "
            "sizes must be equal, or one of them 1",
            None,
            Place("/2", "axis -2 has size 0, not 2"),
            id="an empty axis",
        ),
    ],
)
def test_mismatch(shapes: list[Shape], detail: str, hint: str | None, place: Place) -> None:
    """An error names axis, sizes and operand, and a change with which all shapes fit."""
    with pytest.raises(ShapeMismatchError) as caught:
        _broadcast(shapes)
    assert (caught.value.detail, caught.value.hint) == (detail, hint)
    assert caught.value.places == (place,)


@given(st.lists(st.integers(0, 4), max_size=5).map(tuple))
def test_row_major_strides(shape: Shape) -> None:
    """Strides are those of a new tensor."""
    assert row_major_strides(shape) == torch.empty(shape).stride()


@settings(max_examples=300)
@given(SHAPES)
def test_describe_alignment(shapes: list[Shape]) -> None:
    """Strides after expanding are torch's, and every axis of every operand has a role."""
    if not broadcasts(shapes):
        return
    result = _broadcast(shapes)
    block = describe_alignment(
        result,
        shapes,
        [row_major_strides(shape) for shape in shapes],
        stored=[7] * len(shapes),
        itemsize=4,
    )
    operands, axes = block["operands"], block["axes"]
    assert isinstance(operands, list)
    assert isinstance(axes, list)
    for number, (shape, operand) in enumerate(zip(shapes, operands, strict=True)):
        expanded = torch.empty(shape).expand(result)
        assert operand["shape"] == list(shape)
        assert operand["stored_bytes"] == 28
        assert operand["apparent_bytes"] == 4 * expanded.numel()
        for stride, ours, size in zip(
            expanded.stride(), operand["expanded_strides"], result, strict=True
        ):
            assert ours == stride or size <= 1
        for axis in axes:
            role = axis["operands"][number]
            own = shape[axis["axis"]] if -axis["axis"] <= len(shape) else None
            kind = "added" if own is None else "kept" if own == axis["size"] else "stretched"
            assert role == {"size": own, "role": kind}
    assert [axis["axis"] for axis in axes] == list(range(-len(result), 0))
    assert block["shape"] == [axis["size"] for axis in axes] == list(result)


def test_expanded_row() -> None:
    """A row that stretches has stride 0 along the new axis, and stores three numbers."""
    block = describe_alignment((2, 3), [(3,), (2, 1)], [(1,), (1, 1)], stored=[3, 2], itemsize=8)
    assert block == {
        "shape": [2, 3],
        "axes": [
            {
                "axis": -2,
                "size": 2,
                "operands": [{"size": None, "role": "added"}, {"size": 2, "role": "kept"}],
            },
            {
                "axis": -1,
                "size": 3,
                "operands": [{"size": 3, "role": "kept"}, {"size": 1, "role": "stretched"}],
            },
        ],
        "operands": [
            {
                "shape": [3],
                "strides": [1],
                "expanded_strides": [0, 1],
                "stored_bytes": 24,
                "apparent_bytes": 48,
            },
            {
                "shape": [2, 1],
                "strides": [1, 1],
                "expanded_strides": [1, 0],
                "stored_bytes": 16,
                "apparent_bytes": 48,
            },
        ],
    }
