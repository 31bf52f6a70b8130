"""Memory that the server and one worker share: requests and answers of any size pass through it.

It is a file in memory without a name, so that nothing is left in /dev/shm however both may end.
Reading and writing it by system calls takes no mapping, and lets go of the GIL.
"""

import mmap
import os
from bisect import insort
from contextlib import suppress
from typing import Final
from weakref import finalize

Bytes = bytes | bytearray | memoryview
# What stays for the next call: into new pages, a copy takes three times as long.
KEPT_BYTES: Final = 2**26


class Arena:
    """A file in memory. Both sides hold a descriptor, and take turns."""

    def __init__(self, descriptor: int | None = None):
        """Make an empty arena, or take over the descriptor of one that there is."""
        if descriptor is None:
            descriptor = os.memfd_create("arena", os.MFD_CLOEXEC)
        self.descriptor = descriptor

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self.descriptor).st_size

    def write(self, data: Bytes, at: int) -> int:
        """Put `data` at an offset, and give its end; the arena grows as it must."""
        view = memoryview(data).cast("B")
        while view:
            count = os.pwrite(self.descriptor, view, at)
            view, at = view[count:], at + count
        return at

    def read_into(self, buffer: bytearray | memoryview, at: int) -> None:
        """Fill `buffer` from an offset; EOFError if the arena ends before."""
        view = memoryview(buffer)
        while view:
            count = os.preadv(self.descriptor, [view], at)
            if not count:
                raise EOFError(f"the arena ends {len(view)} bytes too early")
            view, at = view[count:], at + count

    def read(self, size: int, at: int) -> bytearray:
        """`size` bytes from an offset; EOFError if the arena ends before."""
        found = bytearray(size)
        self.read_into(found, at)
        return found

    def shrink(self, size: int = KEPT_BYTES) -> None:
        """Give back what a large call has left beyond `size` bytes."""
        if self.size > size:
            os.ftruncate(self.descriptor, size)

    def close(self) -> None:
        """Give all of it back, once the other side has, too."""
        os.close(self.descriptor)


# Pages up to here stay for the next body, and fewer for one that comes after a while: new ones have
# to be cleared first, which costs eight clients with 512 x 512 a fifth of their rate.
BUSY_BYTES: Final = 2**29
IDLE_BYTES: Final = 2**26
TensorSlice = tuple[int, int]  # from a byte on, to another


class Pool:
    """The server's end, for its event loop alone."""

    def __init__(self, size: int):
        """Have room for `size` bytes, which take no memory before they are written.

        OSError if there are no such addresses, or no descriptor.
        """
        self._size = size = _whole_pages(size)
        self.descriptor = os.memfd_create("pool", os.MFD_CLOEXEC)
        self._close = finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, size)
        self._map = mmap.mmap(self.descriptor, size)
        self._free: list[TensorSlice] = [(0, size)]  # in order; between two of them are blocks
        self._used_to = 0  # beyond it no page has been written

    def take(self, size: int) -> "Block | None":
        """A block of `size` bytes, which is held once; None if there is no such room."""
        for index, (start, end) in enumerate(self._free):
            rest = start + _whole_pages(size)
            if rest <= end:
                self._free[index : index + 1] = [(rest, end)] if rest < end else []
                self._used_to = max(self._used_to, rest)
                return Block(self, start, memoryview(self._map)[start : start + size])
        return None

    def give(self, start: int, size: int) -> None:
        """Take back what was a block."""
        end = start + _whole_pages(size)
        self._clear(max(start, BUSY_BYTES), end)
        insort(self._free, (start, end))
        joined: list[TensorSlice] = []
        for span in self._free:
            if joined and joined[-1][1] == span[0]:
                joined[-1] = (joined[-1][0], span[1])
            else:
                joined.append(span)
        self._free = joined

    def tidy(self) -> None:
        """Give the memory of what is free to the system, but for a little."""
        for start, end in self._free:
            self._clear(max(start, IDLE_BYTES), min(end, self._used_to))
        start, end = self._free[-1] if self._free else (0, 0)
        self._used_to = max(start, IDLE_BYTES) if end == self._size else self._size

    def _clear(self, start: int, end: int) -> None:
        if start < end:
            with suppress(OSError):  # some sandboxes do not have it: then the pages stay
                self._map.madvise(mmap.MADV_REMOVE, start, end - start)

    def close(self) -> None:
        """Give all of it to the system, as soon as the workers and all views have gone."""
        self._close()


class Block:
    """A part of a pool, for one body: free again when as often released as held."""

    __slots__ = ("_holders", "_pool", "offset", "view")

    def __init__(self, pool: Pool, offset: int, view: memoryview):
        """Be held once."""
        self._pool = pool
        self._holders = 1
        self.offset = offset
        self.view = view

    def __len__(self) -> int:
        """How many bytes the body has."""
        return len(self.view)

    def hold(self) -> None:
        """Keep it for one more reader."""
        self._check()
        self._holders += 1

    def release(self) -> None:
        """Read it no more."""
        self._check()
        self._holders -= 1
        if not self._holders:
            self._pool.give(self.offset, len(self))

    def _check(self) -> None:
        if not self._holders:
            raise ValueError("the block is free, and may be another body's by now")


def hold(body: Bytes | Block) -> None:
    """Keep a body for one more reader, if it is a block."""
    if isinstance(body, Block):
        body.hold()


def release(body: Bytes | Block) -> None:
    """Let a body go, if it is a block."""
    if isinstance(body, Block):
        body.release()


def mapped(descriptor: int) -> memoryview:
    """A worker's end of the pool that has this descriptor: nothing can be written by it."""
    return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
