"""The buffer of a worker, written and read by both processes."""

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from weakref import ref

import pytest

from service.executors.shared_buffer import KEPT_BYTES, LEAST_MAPPED, MappedBuffer, SharedBuffer


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


class Pins:
    """A function that pins memory, and records what it was called with."""

    def __init__(self) -> None:
        """Begin with nothing pinned."""
        self.pinned: list[memoryview] = []
        self.count = 0

    def __call__(self, memory: memoryview) -> Callable[[], object]:
        """Record the memory until the returned function is called."""
        self.pinned.append(memory)
        self.count += 1
        return lambda: self.pinned.remove(memory)


def test_a_mapped_buffer(buffer: SharedBuffer) -> None:
    """A view has the bytes that the other process has written, without a copy."""
    pins = Pins()
    mapped = MappedBuffer(buffer, pins)
    assert mapped.size == 0
    assert bytes(mapped.view(0, 0)) == b""  # of a request without head and body
    buffer.write(b"abcdef", 0)
    view = mapped.view(3, 2)
    assert bytes(view) == b"cde"
    buffer.write(b"XYZ", 2)
    assert bytes(view) == b"XYZ"
    assert bytes(mapped.view(0, 6)) == b""
    assert (mapped.size, buffer.size, pins.count) == (LEAST_MAPPED, LEAST_MAPPED, 1)
    assert [len(memory) for memory in pins.pinned] == [LEAST_MAPPED]


def test_a_mapped_buffer_that_grows(buffer: SharedBuffer) -> None:
    """It is pinned anew, with room for somewhat larger bodies; older views stay valid."""
    pins = Pins()
    mapped = MappedBuffer(buffer, pins)
    buffer.write(b"abc", 0)
    first = mapped.view(3, 0)
    large = 50 * 2**20
    buffer.write(b"end", large - 3)
    buffer.write(b"the answer", large + 2**24)
    assert bytes(mapped.view(large, 0)[-3:]) == b"end"
    assert large <= mapped.size <= large * 9 / 8
    assert bytes(first) == b"abc"
    assert bytes(mapped.view(large + 1000, 0)[:3]) == b"abc"
    assert (len(pins.pinned), pins.count) == (1, 2)


def test_memory_is_unpinned_before_it_is_unmapped(buffer: SharedBuffer) -> None:
    """Even if nothing else uses it, and when the buffer is mapped anew as a larger one."""
    mapped_then: list[bool] = []

    def pin(memory: memoryview) -> Callable[[], object]:
        there = ref(memory.obj)
        return lambda: mapped_then.append(there() is not None)

    mapped = MappedBuffer(buffer, pin)
    mapped.view(0, 0)
    mapped.view(2 * LEAST_MAPPED, 0)
    mapped.release()
    assert mapped_then == [True, True]
    assert "memfd:shared-buffer" not in Path("/proc/self/maps").read_text(encoding="ascii")


def test_a_buffer_that_is_mapped_no_more(buffer: SharedBuffer) -> None:
    """It is unpinned once, may shrink, and is mapped again by the next view."""
    pins = Pins()
    mapped = MappedBuffer(buffer, pins)
    mapped.release()
    buffer.write(b"abc", 0)
    assert bytes(mapped.view(3, 0)) == b"abc"
    mapped.release()
    mapped.release()
    assert (mapped.size, pins.pinned) == (0, [])
    buffer.shrink(0)
    buffer.write(b"def", 0)
    assert bytes(mapped.view(3, 0)) == b"def"
    assert pins.count == 2
