"""Memory that the server shares with its workers: a buffer for each, and a pool for bodies."""

import mmap
import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.executors.shared_memory import (
    BUSY_BYTES,
    IDLE_BYTES,
    KEPT_BYTES,
    PoolBlock,
    SharedBuffer,
    SharedPool,
    hold,
    map_read_only,
    release,
)

PAGE = mmap.PAGESIZE


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


@pytest.fixture
def pool() -> Iterator[SharedPool]:
    """A pool of four pages."""
    pool = SharedPool(4 * PAGE - 1)
    yield pool
    pool.close()


def taken(pool: SharedPool, size: int) -> PoolBlock:
    """Return a block, for which there is room."""
    block = pool.take(size)
    assert block is not None
    assert len(block) == len(block.view) == size
    return block


def resident(pool: SharedPool) -> int:
    """Return the bytes of memory that a pool occupies."""
    return 512 * os.fstat(pool.descriptor).st_blocks


def test_what_is_received_is_read_by_all(pool: SharedPool) -> None:
    """A reader sees each body at the offset of its block, and cannot write."""
    first, second = taken(pool, 3), taken(pool, PAGE + 1)
    first.view[:] = b"abc"
    second.view[-1:] = b"z"
    seen = map_read_only(pool.descriptor)
    assert len(seen) == 4 * PAGE
    assert seen[first.offset : first.offset + 4].tobytes() == b"abc\0"
    assert seen[second.offset + PAGE] == ord("z")
    assert seen.readonly


def test_a_block_without_holders_is_free(pool: SharedPool) -> None:
    """Its memory can be allocated again, and it can be neither held nor released."""
    block = taken(pool, 4 * PAGE)
    hold(block)
    release(block)
    assert pool.take(1) is None
    block.release()
    assert taken(pool, 4 * PAGE).offset == 0
    for late in (block.hold, block.release):
        with pytest.raises(ValueError, match="is free"):
            late()


def test_other_bodies_are_not_held() -> None:
    """Bytes objects of Python are left alone."""
    for body in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        hold(body)
        release(body)
        assert body == b"abc"


def test_free_blocks_are_joined(pool: SharedPool) -> None:
    """Adjacent free blocks have room for a larger one, in whatever order they were freed."""
    blocks = [taken(pool, PAGE) for _ in range(4)]
    for index in (2, 0, 1):
        blocks[index].release()
    assert taken(pool, 3 * PAGE).offset == 0
    assert pool.take(1) is None
    blocks[3].release()
    assert taken(pool, PAGE).offset == 3 * PAGE


def test_memory_comes_with_use_and_goes(beyond: SharedPool) -> None:
    """Free pages stay until they are trimmed; pages in use are not changed by that."""
    assert resident(beyond) == 0
    first, second = taken(beyond, PAGE), taken(beyond, 2 * PAGE)
    first.view[:1] = second.view[:1] = second.view[PAGE : PAGE + 1] = b"x"
    first.release()
    assert resident(beyond) == 3 * PAGE
    beyond.trim_memory()
    assert resident(beyond) == 2 * PAGE
    assert second.view[0] == ord("x")
    again = taken(beyond, PAGE)
    assert again.view[0] == 0
    again.release()
    second.release()
    beyond.trim_memory()
    beyond.trim_memory()
    assert resident(beyond) == 0


@pytest.fixture
def beyond() -> Iterator[SharedPool]:
    """A pool whose next blocks are beyond the bytes that it keeps after an idle period."""
    pool = SharedPool(IDLE_BYTES + 4 * PAGE)
    taken(pool, IDLE_BYTES)
    yield pool
    pool.close()


def test_a_little_is_kept(pool: SharedPool) -> None:
    """The first pages stay when memory is trimmed."""
    block = taken(pool, PAGE)
    block.view[:1] = b"x"
    block.release()
    pool.trim_memory()
    assert resident(pool) == PAGE


def test_a_full_pool_is_trimmed() -> None:
    """Nothing is returned before a block is free."""
    pool = SharedPool(IDLE_BYTES + PAGE)
    block = taken(pool, IDLE_BYTES + PAGE)
    block.view[IDLE_BYTES] = 1
    pool.trim_memory()
    assert resident(pool) == PAGE
    block.release()
    pool.trim_memory()
    assert resident(pool) == 0
    pool.close()


def test_not_much_stays_at_any_time() -> None:
    """Pages beyond BUSY_BYTES are returned as soon as their block is free."""
    pool = SharedPool(BUSY_BYTES + 2 * PAGE)
    block = taken(pool, BUSY_BYTES + PAGE)
    block.view[BUSY_BYTES - PAGE] = block.view[BUSY_BYTES] = 1
    assert resident(pool) == 2 * PAGE
    block.release()
    assert resident(pool) == PAGE
    pool.close()


def test_a_pool_has_no_name_and_ends() -> None:
    """No file system has an entry of it, and its descriptor is closed."""
    pool = SharedPool(1)
    descriptor = pool.descriptor
    assert str(Path(f"/proc/self/fd/{descriptor}").readlink()) == "/memfd:pool (deleted)"
    pool.close()
    pool.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_more_than_there_are_addresses() -> None:
    """A pool that is too large raises at once, and leaves no descriptor open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r"memory|large|Invalid"):
        SharedPool(2**60)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
