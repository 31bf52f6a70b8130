"""The memory that the server shares with its workers, for bodies."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.executors.shared_memory import (
    BUSY_BYTES,
    IDLE_BYTES,
    Block,
    Pool,
    hold,
    mapped,
    release,
)

PAGE = mmap.PAGESIZE


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Room for four pages."""
    pool = Pool(4 * PAGE - 1)
    yield pool
    pool.close()


def taken(pool: Pool, size: int) -> Block:
    """A block, for which there is room."""
    block = pool.take(size)
    assert block is not None
    assert len(block) == len(block.view) == size
    return block


def resident(pool: Pool) -> int:
    """The memory that it takes."""
    return 512 * os.fstat(pool.descriptor).st_blocks


def test_what_is_received_is_read_by_all(pool: Pool) -> None:
    """Each body where its block is; no reader can change it."""
    first, second = taken(pool, 3), taken(pool, PAGE + 1)
    first.view[:] = b"abc"
    second.view[-1:] = b"z"
    seen = mapped(pool.descriptor)
    assert len(seen) == 4 * PAGE
    assert seen[first.offset : first.offset + 4].tobytes() == b"abc\0"
    assert seen[second.offset + PAGE] == ord("z")
    assert seen.readonly


def test_a_block_ends_when_nobody_holds_it(pool: Pool) -> None:
    """Whoever else has read it; then it is another's, and cannot be held or released."""
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
    """They are Python's own."""
    for body in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        hold(body)
        release(body)
        assert body == b"abc"


def test_blocks_that_end_are_joined(pool: Pool) -> None:
    """In whatever order they end, a larger one finds room in their place."""
    blocks = [taken(pool, PAGE) for _ in range(4)]
    for index in (2, 0, 1):
        blocks[index].release()
    assert taken(pool, 3 * PAGE).offset == 0
    assert pool.take(1) is None
    blocks[3].release()
    assert taken(pool, PAGE).offset == 3 * PAGE


def test_memory_comes_with_use_and_goes(beyond: Pool) -> None:
    """What is free stays for the next body until it is tidied; what is in use stays as it is."""
    assert resident(beyond) == 0
    first, second = taken(beyond, PAGE), taken(beyond, 2 * PAGE)
    first.view[:1] = second.view[:1] = second.view[PAGE : PAGE + 1] = b"x"
    first.release()
    assert resident(beyond) == 3 * PAGE
    beyond.tidy()
    assert resident(beyond) == 2 * PAGE
    assert second.view[0] == ord("x")
    again = taken(beyond, PAGE)
    assert again.view[0] == 0
    again.release()
    second.release()
    beyond.tidy()
    beyond.tidy()
    assert resident(beyond) == 0


@pytest.fixture
def beyond() -> Iterator[Pool]:
    """A pool whose next blocks are beyond what it keeps for long."""
    pool = Pool(IDLE_BYTES + 4 * PAGE)
    taken(pool, IDLE_BYTES)
    yield pool
    pool.close()


def test_a_little_is_kept(pool: Pool) -> None:
    """For a body that comes after a while."""
    block = taken(pool, PAGE)
    block.view[:1] = b"x"
    block.release()
    pool.tidy()
    assert resident(pool) == PAGE


def test_a_full_one_is_tidied() -> None:
    """There is nothing to give back, but when a block has ended."""
    pool = Pool(IDLE_BYTES + PAGE)
    block = taken(pool, IDLE_BYTES + PAGE)
    block.view[IDLE_BYTES] = 1
    pool.tidy()
    assert resident(pool) == PAGE
    block.release()
    pool.tidy()
    assert resident(pool) == 0
    pool.close()


def test_not_much_stays_at_any_time() -> None:
    """Of memory that was taken beyond, nothing."""
    pool = Pool(BUSY_BYTES + 2 * PAGE)
    block = taken(pool, BUSY_BYTES + PAGE)
    block.view[BUSY_BYTES - PAGE] = block.view[BUSY_BYTES] = 1
    assert resident(pool) == 2 * PAGE
    block.release()
    assert resident(pool) == PAGE
    pool.close()


def test_it_has_no_name_and_ends() -> None:
    """Nothing of it is left in a file system, nor is its descriptor."""
    pool = Pool(1)
    descriptor = pool.descriptor
    assert str(Path(f"/proc/self/fd/{descriptor}").readlink()) == "/memfd:pool (deleted)"
    pool.close()
    pool.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_more_than_there_are_addresses() -> None:
    """It is said at once, and nothing is left open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r"memory|large|Invalid"):
        Pool(2**60)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
