"""JSON pointers (RFC 6901) to the parts of a request, and names of these parts for messages."""

from service.core.call import Shape


def name_of(pointer: str) -> str:
    """Return the name of the tensor at a pointer for a message: `a`, `operand 0`, `a of step 2`."""
    first, *rest = pointer[1:].split("/")
    if first == "steps":
        number, *inner = rest
        return f"{name_of('/' + '/'.join(inner))} of step {number}"
    return f"operand {rest[0]}" if first == "operands" else first


def kind_of(value: object) -> str:
    """Return the kind of a JSON value for a message that does not quote it: `a list`."""
    kinds: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "a number")


def index_of(position: int, shape: Shape) -> tuple[int, ...]:
    """Return the index on each axis of an element, from its position in row-major order."""
    steps = []
    for size in reversed(shape):
        position, step = divmod(position, size)
        steps.append(step)
    return tuple(reversed(steps))


def pointer_to(pointer: str, position: int, shape: Shape) -> str:
    """Return the pointer of an element, from its position in row-major order."""
    return pointer + "".join(f"/{step}" for step in index_of(position, shape))
