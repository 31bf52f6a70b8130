"""A text between two pages that must not be touched: a read or write beyond it ends the process.

`python -m tests.unit.codecs.number_text.guard_pages` reads and writes so.
"""

import ctypes
import mmap
import sys
from random import Random
from typing import Final

from service.codecs.number_text import KINDS, compiled
from tests.rigs.number_text import are_same, extract, write
from tests.unit.codecs.number_text.extraction_oracle import Outcome, outcome
from tests.unit.codecs.number_text.mutated_bodies import BODIES, bodies
from tests.unit.codecs.number_text.number_texts import arrays, sample
from tests.unit.codecs.number_text.settings import SEED

PAGE: Final = mmap.PAGESIZE
NO_ACCESS: Final = 0
# What stands beside the text would change it, if it was read.
BESIDE: Final = b"9"


class GuardedPages:
    """Memory of so many bytes, with a page before and behind it that cannot be read."""

    def __init__(self, size: int) -> None:
        self._size = -(-size // PAGE) * PAGE
        self._map = mmap.mmap(-1, self._size + 2 * PAGE)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for page in (begin, begin + PAGE + self._size):
            if protect(page, PAGE, NO_ACCESS):
                raise OSError(ctypes.get_errno(), "mprotect has failed")

    def first(self, text: bytes) -> memoryview:
        """Place a text right behind the first guard."""
        return self._place(text, PAGE)

    def last(self, text: bytes) -> memoryview:
        """Place a text right before the second guard."""
        return self._place(text, PAGE + self._size - len(text))

    def _place(self, text: bytes, at: int) -> memoryview:
        view = memoryview(self._map)
        view[PAGE : PAGE + self._size] = BESIDE * self._size
        view[at : at + len(text)] = text
        return view[at : at + len(text)]


def texts() -> list[bytes]:
    """Return bodies of all lengths, of all kinds of numbers, and malformed ones."""
    numbers = sample(SEED, 10)
    found = [each for each, _ in bodies(SEED + 7, 1_000)] + list(BODIES)
    found += [f'{{"a":[{each}]}}'.encode() for each in numbers]
    found += [f'{{"x":[{each}'.encode() for each in numbers]  # ends in a number
    for count in range(1, 80):
        row = ",".join(f"{index / 7}" for index in range(count))
        found += [f'{{"a":[{row}]}}'.encode(), f'{{"b":[[{row}],[{row}]]}}'.encode()]
    return [each for each in found if each]


def read_all() -> int:
    """Read each text at both guards, as in usual memory; return how many were taken."""
    taken = 0
    for text in texts():
        names = ("a", "b", "x")
        right = extract(text, names)
        taken += outcome(text, names, right) is Outcome.EXTRACTED
        pages = GuardedPages(len(text))
        for place in (pages.first, pages.last):
            assert are_same(extract(place(text), names), right), text
    return taken


def write_all() -> int:
    """Write numbers from both guards to both guards; return how many arrays there were."""
    written = 0
    for array in arrays(Random(SEED), 600):
        kind, shape, end = KINDS[array.dtype], array.shape, array.size
        for is_quoted in (False, True):
            right = write(array, is_quoted=is_quoted)
            room = compiled.text_bound(kind, shape, 0, end)
            source, target = GuardedPages(array.nbytes), GuardedPages(room)
            for place in (source.first, source.last):
                numbers = place(array.tobytes())
                for room_at in (target.first, target.last):
                    text = room_at(bytes(room))
                    length = compiled.write_into(numbers, kind, shape, 0, end, is_quoted, text, 0)
                    assert text[:length] == right, array
        written += 1
    return written


def main() -> int:
    """Read and write everything, and say how much it was."""
    sys.stdout.write(f"{read_all() + write_all()} bodies and arrays\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
