"""Text of numbers to arrays and back, compiled from C.

reader.c       text of numbers to int64 and float64
extraction.c   the arrays among the operands of a request, in pieces, as the text arrives
writer.c       numbers to text, in the fewest digits that read back equal
threads.c      threads for both: none of this needs Python's GIL

Where the extension could not be built, `compiled` is None, and the text is read and written by
`service.codecs.json` alone, with the same results.
"""

from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from service.codecs.number_text.powers import powers_of_ten

if TYPE_CHECKING:
    from service.codecs.number_text._compiled import Reading

Array = npt.NDArray[Any]
Text = bytes | bytearray | memoryview

compiled: ModuleType | None = None
try:
    from service.codecs.number_text import _compiled
except ImportError:  # there was no compiler when the service was installed
    pass
else:
    _compiled.set_powers(powers_of_ten())
    _compiled.set_arrays(np.ndarray, np.dtype(np.int64), np.dtype(np.float64))
    compiled = _compiled

# A piece takes 0.1 ms, and leaves the other numbers of a row in the processor's cache.
PIECE_BYTES: Final = 2**17
# Shorter texts are read by the thread that asks.
THREADED_BYTES: Final = 2**18
MAX_NUMBERS: Final = 2**48


# An array of numbers in the text of a request: the position of its operand, whether it is the
# operand's key "data", the numbers as int64, or float64 if there is a float, the greatest
# magnitude, and whether the text of one may have to decide how it is rounded to float32.
Numbers = tuple[int, bool, Array, float, bool]
# The text with `0` in place of each array of numbers among the operands, and these arrays.
Extracted = tuple[bytes, list[Numbers]]


class OperandNames:
    """Where the operands of a request are: in fields of these names, or in one list."""

    __slots__ = ("list_field", "names")

    def __init__(self, names: Iterable[str] | None, list_field: str = "operands"):
        """Look for these names, or if they are None for the list."""
        self.names = b"".join(name.encode() + b"\0" for name in names or ())
        self.list_field = list_field.encode()


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
    return _compiled.extract(
        text, operands.names, operands.list_field, max_numbers, piece_bytes, threaded
    )


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
    return _compiled.Reading(
        buffer, operands.names, operands.list_field, max_numbers, piece_bytes, True
    )


def set_threads(count: int) -> None:
    """Have so many threads for all texts; without any, each text has the thread that asks."""
    if compiled is not None:
        _compiled.set_threads(count)
