"""Text of numbers to arrays and back, compiled from C.

extraction.c     the arrays among the operands of a request, in pieces, as the text arrives
reader.c         text of numbers to int64 and float64
writer.c         numbers to text, in the fewest digits that read back equal: `shortest.h` finds the
                 digits, `floats.h` and `digits.h` lay them out
write_pieces.c   the text of a large array, in pieces
threads.c        threads for both: none of this needs Python's GIL
*_binding.c      the same as functions and types of Python, in `module.c`

`compiled` is the extension module, or None where it is absent: `reason` then says why, and
`service.codecs.json` does the same work slower.
"""

import os
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from service.codecs.number_text.powers import powers_of_ten

if TYPE_CHECKING:
    from service.codecs.number_text._compiled import Reading

Array = npt.NDArray[Any]
Text = bytes | bytearray | memoryview

# Set to anything, it keeps the extension module from being compiled and from being used. It is no
# setting of the service, for modules are imported before settings are read.
NO_EXTENSIONS: Final = "TENSOR_SERVICE_NO_EXTENSIONS"
# A piece takes 0.2 ms, and leaves the other numbers of a row in the processor's cache.
PIECE_BYTES: Final = 2**18
# Shorter texts are read by the thread that asks.
THREADED_BYTES: Final = 2**18
MAX_NUMBERS: Final = 2**63
# Numbers of a piece of written text, of about 300 KB.
PIECE_NUMBERS: Final = 2**14
# The kinds of numbers in writer.h.
KINDS: Final = {
    np.dtype(name): kind
    for kind, name in enumerate(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
}


# An array of numbers in the text of a request: the position of its operand, whether it is the
# operand's key "data", the numbers as int64, or float64 if there is a float, the greatest
# magnitude, and whether the text of one may have to decide how it is rounded to float32.
Numbers = tuple[int, bool, Array, float, bool]
# The text with `0` in place of each array of numbers among the operands, and these arrays.
Extracted = tuple[bytes, list[Numbers]]


def load() -> tuple[Any, str | None]:
    """Return the extension module, or None and the reason."""
    if os.environ.get(NO_EXTENSIONS):
        return None, f"{NO_EXTENSIONS} is set"
    try:
        module: Any = import_module("service.codecs.number_text._compiled")
    except ModuleNotFoundError:
        return None, "it was not compiled; install the service again, `pip install -v` shows why"
    except ImportError as error:  # compiled for another host
        return None, f"it cannot be loaded ({error}); install the service again, on this host"
    module.set_powers(powers_of_ten())
    module.set_arrays(np.ndarray, np.dtype(np.int64), np.dtype(np.float64))
    return module, None


compiled, reason = load()


class OperandNames:
    """Places of the operands of a request: fields of these names, or one list."""

    __slots__ = ("list_field", "names")

    def __init__(self, names: Iterable[str] | None, list_field: str = "operands"):
        """Look for these names, or if they are None for the list."""
        self.names = b"".join(name.encode() + b"\0" for name in names or ())
        self.list_field = list_field.encode() if names is None else b""


def extract(
    text: Text,
    operands: OperandNames,
    *,
    max_numbers: int = MAX_NUMBERS,
    piece_bytes: int = PIECE_BYTES,
    threaded: bool | None = None,
) -> Extracted | None:
    """Return the arrays of a request's text, or None if it is not plain.

    It is plain if all operands that are lists are rectangular arrays of numbers, and not empty; and
    if no number needs its text to be read: integers are int64, or exact among floats. What is
    around the arrays is followed, and not checked.
    """
    if compiled is None:
        return None
    if threaded is None:
        threaded = len(text) >= THREADED_BYTES
    found: Extracted | None = compiled.extract(
        text,
        operands.names,
        operands.list_field,
        max_numbers,
        piece_bytes,
        threaded,
    )
    return found


def begin(
    buffer: Text,
    operands: OperandNames,
    *,
    max_numbers: int = MAX_NUMBERS,
    piece_bytes: int = PIECE_BYTES,
) -> "Reading | None":
    """Return the reading of a request's text that arrives in `buffer`; None if not compiled.

    `feed(end)` has threads read on to a position, `finish()` returns what `extract` does, and
    `stop()` lets go of the buffer.
    """
    if compiled is None:
        return None
    reading: Reading = compiled.Reading(
        buffer,
        operands.names,
        operands.list_field,
        max_numbers,
        piece_bytes,
        True,
    )
    return reading


def write(items: Array, *, is_quoted: bool = False) -> tuple[bytes | memoryview, ...] | None:
    """Return the nested lists of an array as JSON text, in pieces; None if not compiled.

    `items` is contiguous, has an axis at least, and no axis without elements. Numbers that are
    not finite are the strings "NaN", "Infinity" and "-Infinity"; with `is_quoted` integers are
    strings, too. Large arrays are written by several threads.
    """
    if compiled is None:
        return None
    kind, shape, size = KINDS[items.dtype], items.shape, items.size
    if size <= PIECE_NUMBERS:
        return (compiled.write(items, kind, shape, 0, size, is_quoted),)
    return tuple(compiled.write_pieces(items, kind, shape, PIECE_NUMBERS, is_quoted, True))


def set_threads(count: int) -> None:
    """Set how many threads all texts share; with 0, a text has the thread of its caller."""
    if compiled is not None:
        compiled.set_threads(count)
