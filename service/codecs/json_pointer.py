"""JSON pointers (RFC 6901) to the parts of a request, and how sentences call them."""

from service.core.call import Shape
from service.errors import MAX_QUOTED, clip


def escape(key: str) -> str:
    """A key as a step of a pointer; no more of it than an answer may repeat."""
    return clip(key, MAX_QUOTED).replace("~", "~0").replace("/", "~1")


def name_of(pointer: str) -> str:
    """What a sentence calls the tensor at a pointer: `a`, `operand 0`."""
    first, *rest = pointer[1:].split("/")
    return f"operand {rest[0]}" if first == "operands" else first


def kind_of(value: object) -> str:
    """What a JSON value is, for a sentence that does not repeat it."""
    kinds: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "a number")


def index_of(position: int, shape: Shape) -> tuple[int, ...]:
    """The index on each axis, from a position in row-major order."""
    steps = []
    for size in reversed(shape):
        position, step = divmod(position, size)
        steps.append(step)
    return tuple(reversed(steps))


def pointer_to(pointer: str, position: int, shape: Shape) -> str:
    """The pointer of an element, from its position in row-major order."""
    return pointer + "".join(f"/{step}" for step in index_of(position, shape))
