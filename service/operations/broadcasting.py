"""Broadcasting rules: shapes align from the right, and sizes are equal or one of them is 1."""

from collections.abc import Sequence
from itertools import zip_longest
from math import prod

from service.core.call import Shape
from service.errors import Place, ShapeMismatchError


def broadcast_shapes(shapes: Sequence[Shape], pointers: Sequence[str], *, what: str) -> Shape:
    """Return the shape that all `shapes` broadcast to, or raise a ShapeMismatchError.

    The error calls the shapes `what` and points to the one at fault by its entry in `pointers`.
    """
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for axis in range(-rank, 0):
        sizes = [shape[axis] for shape in aligned]
        size = next((size for size in sizes if size != 1), 1)
        for number, other in enumerate(sizes):
            if other not in (1, size):
                first = sizes.index(size)
                raise ShapeMismatchError(
                    f"{what} do not broadcast: axis {axis} has size {size} in {shapes[first]} "
                    f"and {other} in {shapes[number]}; sizes must be equal, or one of them 1",
                    hint=_fitting_hint(shapes, first, number),
                    places=[Place(pointers[number], f"axis {axis} has size {other}, not {size}")],
                )
        result.append(size)
    return tuple(result)


def broadcasts(shapes: Sequence[Shape]) -> bool:
    """Return whether `shapes` broadcast together."""
    columns = zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1)
    return all(len({size for size in sizes if size != 1}) <= 1 for sizes in columns)


def _fitting_hint(shapes: Sequence[Shape], first: int, second: int) -> str | None:
    """Return a change to one of two shapes with which all of them broadcast, if one is found."""
    for changed in (second, first):
        shape = shapes[changed]
        for view, kind in ((shape[::-1], "transposed"), ((*shape, 1), "with an axis added last")):
            if broadcasts([view if i == changed else s for i, s in enumerate(shapes)]):
                return f"{shape} {kind} is {view}, and fits"
    return None


def row_major_strides(shape: Shape) -> tuple[int, ...]:
    """Return the strides, in elements, of a contiguous tensor of that shape."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def describe_alignment(
    result: Shape,
    shapes: Sequence[Shape],
    strides: Sequence[tuple[int, ...]],
    *,
    stored: Sequence[int],
    itemsize: int,
) -> dict[str, object]:
    """Describe the alignment of operands with a result by axis, and the size of each operand.

    `stored` is the number of elements in memory, each of `itemsize` bytes; strides are in
    elements.
    """
    return {
        "shape": list(result),
        "axes": [
            {
                "axis": axis,
                "size": result[axis],
                "operands": [_role(shape, axis, result[axis]) for shape in shapes],
            }
            for axis in range(-len(result), 0)
        ],
        "operands": [
            {
                "shape": list(shape),
                "strides": list(steps),
                "expanded_strides": _expanded_strides(shape, steps, result),
                "stored_bytes": count * itemsize,
                "apparent_bytes": prod(result) * itemsize,
            }
            for shape, steps, count in zip(shapes, strides, stored, strict=True)
        ],
    }


def _role(shape: Shape, axis: int, size: int) -> dict[str, object]:
    """Return the size of one operand's axis, and whether it is added, kept or stretched."""
    if -axis > len(shape):
        return {"size": None, "role": "added"}
    return {"size": shape[axis], "role": "kept" if shape[axis] == size else "stretched"}


def _expanded_strides(shape: Shape, strides: Sequence[int], result: Shape) -> list[int]:
    """Return the strides after expansion: 0 for an added or stretched axis."""
    added = len(result) - len(shape)
    kept = [
        stride if size == full else 0
        for size, stride, full in zip(shape, strides, result[added:], strict=True)
    ]
    return [0] * added + kept
