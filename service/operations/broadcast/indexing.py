"""The `views` parameter: indices of `:`, `None` and `...`, which add axes and read no element."""

import re
from typing import Any, Final

from service.core.call import Shape
from service.core.validators import refuse
from service.errors import InvalidFieldError, Place, ShapeMismatchError, quote
from service.operations.broadcasting import row_major_strides

Index = tuple[Any, ...]
# A call as torch has it. Views of more axes than an operand has are refused with its shape.
UNSQUEEZE: Final = re.compile(r"\.?unsqueeze\(\s*(?:dim\s*=\s*)?(-?[0-9]{1,2})\s*\)")


def parse_views(value: object) -> tuple[str, ...] | None:
    """Parse one index for each operand, to text; null stands for the whole operand."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 64:
        refuse("views", value, 'a list with one index for each operand, such as [":,None", null]')
    return tuple(_index_text(number, view) for number, view in enumerate(value))


def _index_text(number: int, view: object) -> str:
    """Return one index without spaces, or raise an InvalidFieldError.

    `unsqueeze(1)` is read as `:,None`: torch adds the same axis by both.
    """
    text = "..." if view is None else view
    if isinstance(text, str) and len(text) <= 128:
        if called := UNSQUEEZE.fullmatch(text):
            axis = int(called[1])
            before, after = (axis, 0) if axis >= 0 else (0, -1 - axis)
            return ",".join([":"] * before + ["..."] * (axis < 0) + ["None"] + [":"] * after)
        parts = [part.strip() for part in text.split(",")]
        if parts.count("...") <= 1 and all(part in (":", "None", "...") for part in parts):
            return ",".join(parts)
    wanted = "made of ':', 'None' and at most one '...'"
    raise InvalidFieldError(
        f"view {number} is {wanted}, joined by commas, or 'unsqueeze(1)'; it was {quote(view)}",
        places=[Place(f"/views/{number}", f"expected an index {wanted}")],
    )


def apply_view(number: int, text: str, shape: Shape) -> tuple[Index, Shape, tuple[int, ...]]:
    """Return the index that `text` means for operand `number`, and the view's shape and strides."""
    parts = text.split(",")
    named = parts.count(":")
    if named > len(shape):
        raise ShapeMismatchError(
            f"view {text!r} names {named} axes; operand {number} has shape {shape}",
            places=[Place(f"/views/{number}", f"names {named} axes of {len(shape)}")],
        )
    if "..." not in parts:
        parts.append("...")
    cut = parts.index("...")
    parts[cut : cut + 1] = [":"] * (len(shape) - named)
    axes = iter(zip(shape, row_major_strides(shape), strict=True))
    viewed = [next(axes) if part == ":" else (1, 0) for part in parts]
    index = tuple(slice(None) if part == ":" else None for part in parts)
    return index, tuple(size for size, _ in viewed), tuple(stride for _, stride in viewed)
