"""Round trips: the reader reads the same numbers from the text of the writer."""

from random import Random
from typing import Final

import numpy as np
import orjson
import pytest

from service.codecs.number_text import Array
from tests.rigs.number_text import is_same, write
from tests.rigs.requirements import needs
from tests.unit.codecs.number_text.extraction_oracle import array_of
from tests.unit.codecs.number_text.number_texts import FLOATS, INTEGERS, arrays, batches
from tests.unit.codecs.number_text.settings import NUMBERS, SEED

pytestmark = needs("compiled code")

THREADS: Final = (1, 2, 5)
PIECES: Final = (1, 2, 13, 1_000)


def read_back(array: Array) -> Array:
    """Return what is read of the text of finite numbers, in their dtype."""
    found = array_of(write(array).decode())
    assert found is not None
    assert found.shape == array.shape
    with np.errstate(over="raise"):
        return found.astype(array.dtype)


@pytest.mark.parametrize("kind", [*FLOATS, *INTEGERS])
def test_numbers_come_back(kind: str) -> None:
    """Of each kind that the reader is tested with, in the fewest digits."""
    for texts in batches(kind, NUMBERS // 2, SEED + 5):
        array = np.array(list(map(float, texts) if kind in FLOATS else map(int, texts)))
        text = write(array)
        assert text == orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
        assert is_same(read_back(array), array)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_short_floats_come_back(dtype: str) -> None:
    """Through the float64 that is read; no text of theirs is a tie."""
    random, items = Random(SEED), np.dtype(dtype).itemsize
    for _ in range(max(1, NUMBERS // 50_000)):
        array = np.frombuffer(random.randbytes(50_000 * items), dtype)
        array = array[np.isfinite(array)]
        # The shortest text of a small whole number may be an integer beyond those exact in float64.
        found = np.array(orjson.loads(write(array)), np.float64)
        assert (found.astype(dtype).view(f"i{items}") == array.view(f"i{items}")).all()
        small = array[np.abs(found) < 2**53]
        assert (read_back(small).view(f"i{items}") == small.view(f"i{items}")).all()


@pytest.mark.parametrize("threads", THREADS)
def test_threads_and_pieces_change_nothing(threads: int) -> None:
    """Of any dtype and shape."""
    rng = np.random.default_rng(SEED)
    cases = [*arrays(Random(SEED), 300), rng.standard_normal((30, 7, 50))]
    for array in cases:
        for is_quoted in (False, True):
            right = write(array, is_quoted=is_quoted)
            for piece_numbers in PIECES:
                found = write(
                    array, is_quoted=is_quoted, threads=threads, piece_numbers=piece_numbers
                )
                assert found == right, array
