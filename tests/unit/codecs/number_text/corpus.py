"""A little of everything that the tests of this folder read, without pytest."""

from random import Random

from tests.rigs.number_text import are_same, extract, extract_growing, is_same, write
from tests.unit.codecs.number_text.extraction_oracle import array_of, expected_items
from tests.unit.codecs.number_text.guard_pages import texts
from tests.unit.codecs.number_text.mutated_bodies import NAMES, bodies
from tests.unit.codecs.number_text.number_texts import FLOATS, INTEGERS, arrays, batches
from tests.unit.codecs.number_text.settings import SEED

NUMBERS = 200
CUTS = 4


def run() -> int:
    """Read and write it all in several ways, and return how many texts there were."""
    return _numbers() + _bodies() + _arrays()


def _numbers() -> int:
    taken = 0
    for kind in (*FLOATS, *INTEGERS):
        for numbers in batches(kind, NUMBERS, SEED):
            found, right = array_of(f"[{','.join(numbers)}]"), expected_items(numbers)
            assert found is not None, kind
            assert is_same(found, right), kind
            taken += sum(array_of(f"[{each}]") is not None for each in numbers[:20])
    return taken


def _bodies() -> int:
    random, taken = Random(SEED), 0
    cases = [(text, NAMES) for text in texts()[::4]] + list(bodies(SEED, 300))
    for text, names in cases:
        right = extract(text, names)
        taken += right is not None
        for threads, piece_bytes in ((0, 1), (0, 50), (2, 20)):
            found = extract(text, names, threads=threads, piece_bytes=piece_bytes)
            assert are_same(found, right), text
            ends = [random.randrange(len(text) + 1) for _ in range(CUTS)]
            found = extract_growing(text, names, ends, threads=threads, piece_bytes=piece_bytes)
            assert are_same(found, right), text
    return taken


def _arrays() -> int:
    written = 0
    for array in arrays(Random(SEED), 200):
        for is_quoted in (False, True):
            right = write(array, is_quoted=is_quoted)
            for threads, piece_numbers in ((0, 1), (0, 3), (2, 5)):
                found = write(
                    array, is_quoted=is_quoted, threads=threads, piece_numbers=piece_numbers
                )
                assert found == right, array
        written += 1
    return written
