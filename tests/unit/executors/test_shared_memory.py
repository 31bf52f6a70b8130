"""The memory that the server and a worker share."""

import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.executors.shared_memory import KEPT_BYTES, Arena


@pytest.fixture
def arena() -> Iterator[Arena]:
    """An empty one."""
    arena = Arena()
    yield arena
    with suppress(OSError):
        arena.close()


def test_what_is_written_is_read(arena: Arena) -> None:
    """At its offset, by either descriptor; elements of any size are counted as bytes."""
    assert arena.write(b"abc", 2) == 5
    numbers = memoryview(array("q", [1, 2, 3]))
    assert arena.write(numbers, 5) == 29
    assert arena.write(b"", 29) == 29
    other = Arena(os.dup(arena.descriptor))
    assert other.read(5, 0) == b"\0\0abc"
    assert other.read(24, 5) == numbers.tobytes()
    other.close()


def test_reading_beyond_the_end(arena: Arena) -> None:
    """A message that counts more than there is is no message."""
    arena.write(b"abc", 0)
    with pytest.raises(EOFError, match="2 bytes too early"):
        arena.read(5, 0)


def test_it_grows_and_shrinks(arena: Arena) -> None:
    """A large call's memory is given back; that of smaller ones stays for the next, if asked."""
    arena.write(bytes(1000), 0)
    arena.shrink()
    assert arena.size == 1000
    arena.write(b"end", KEPT_BYTES)
    assert arena.size == KEPT_BYTES + 3
    arena.shrink()
    assert arena.size == KEPT_BYTES
    arena.shrink(10)
    assert arena.size == 10


def test_it_has_no_name(arena: Arena) -> None:
    """Nothing of it is to be found in the file system, so nothing can be left there."""
    arena.write(b"abc", 0)
    target = Path(f"/proc/self/fd/{arena.descriptor}").readlink()
    assert str(target) == "/memfd:arena (deleted)"
    assert os.fstat(arena.descriptor).st_nlink == 0
    arena.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        arena.read(1, 0)
