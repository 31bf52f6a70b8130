"""The buffer of a worker, written and read by both processes."""

import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.executors.shared_buffer import KEPT_BYTES, SharedBuffer


@pytest.fixture
def buffer() -> Iterator[SharedBuffer]:
    """An empty buffer."""
    buffer = SharedBuffer()
    yield buffer
    with suppress(OSError):
        buffer.close()


def test_what_is_written_is_read(buffer: SharedBuffer) -> None:
    """Either descriptor reads the bytes at their offset; elements of any size count as bytes."""
    assert buffer.write(b"abc", 2) == 5
    numbers = memoryview(array("q", [1, 2, 3]))
    assert buffer.write(numbers, 5) == 29
    assert buffer.write(b"", 29) == 29
    other = SharedBuffer(os.dup(buffer.descriptor))
    assert other.read(5, 0) == b"\0\0abc"
    assert other.read(24, 5) == numbers.tobytes()
    other.close()


def test_reading_beyond_the_end(buffer: SharedBuffer) -> None:
    """A size beyond the data raises an error."""
    buffer.write(b"abc", 0)
    with pytest.raises(EOFError, match="2 bytes too early"):
        buffer.read(5, 0)


def test_a_buffer_grows_and_shrinks(buffer: SharedBuffer) -> None:
    """Memory of a large call is returned; that of smaller ones stays, unless it is trimmed."""
    buffer.write(bytes(1000), 0)
    buffer.shrink()
    assert buffer.size == 1000
    buffer.write(b"end", KEPT_BYTES)
    assert buffer.size == KEPT_BYTES + 3
    buffer.shrink()
    assert buffer.size == KEPT_BYTES
    buffer.shrink(10)
    assert buffer.size == 10


def test_a_buffer_has_no_name(buffer: SharedBuffer) -> None:
    """No file system has an entry of it, so none can be left there."""
    buffer.write(b"abc", 0)
    target = Path(f"/proc/self/fd/{buffer.descriptor}").readlink()
    assert str(target) == "/memfd:shared-buffer (deleted)"
    assert os.fstat(buffer.descriptor).st_nlink == 0
    buffer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        buffer.read(1, 0)
