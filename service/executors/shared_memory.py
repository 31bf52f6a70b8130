"""Memory that the server shares with its worker processes.

`SharedBuffer` belongs to one worker and carries requests and responses of any size. `SharedPool`
is shared by all workers and holds request bodies, which are read there without a copy.

Both are anonymous files in memory (memfd), so that nothing is left in /dev/shm however the
processes end. A SharedBuffer is read and written by system calls, which need no mapping and release
the GIL.
"""

import mmap
import os
from bisect import insort
from contextlib import suppress
from typing import Final
from weakref import finalize

Bytes = bytes | bytearray | memoryview
# Bytes that stay for the next call: a copy into new pages takes three times as long.
KEPT_BYTES: Final = 2**26


class SharedBuffer:
    """Anonymous file in memory. Both processes hold a descriptor and use it alternately."""

    def __init__(self, descriptor: int | None = None):
        """Create an empty buffer, or open the one of an inherited descriptor."""
        if descriptor is None:
            descriptor = os.memfd_create("shared-buffer", os.MFD_CLOEXEC)
        self.descriptor = descriptor

    @property
    def size(self) -> int:
        """Size in bytes."""
        return os.fstat(self.descriptor).st_size

    def write(self, data: Bytes, at: int) -> int:
        """Write `data` at an offset, and return the offset of its end; the buffer grows."""
        view = memoryview(data).cast("B")
        while view:
            count = os.pwrite(self.descriptor, view, at)
            view, at = view[count:], at + count
        return at

    def read_into(self, buffer: bytearray | memoryview, at: int) -> None:
        """Fill `buffer` from an offset; raise EOFError if the data end before."""
        view = memoryview(buffer)
        while view:
            count = os.preadv(self.descriptor, [view], at)
            if not count:
                raise EOFError(f"the shared buffer ends {len(view)} bytes too early")
            view, at = view[count:], at + count

    def read(self, size: int, at: int) -> bytearray:
        """Return `size` bytes from an offset; raise EOFError if the data end before."""
        found = bytearray(size)
        self.read_into(found, at)
        return found

    def shrink(self, size: int = KEPT_BYTES) -> None:
        """Return pages beyond `size` bytes, which a large call has left, to the system."""
        if self.size > size:
            os.ftruncate(self.descriptor, size)

    def close(self) -> None:
        """Close the descriptor; memory is freed when the other process has closed its own."""
        os.close(self.descriptor)


# Pages up to this offset stay for the next body, and fewer after an idle period. New pages have to
# be cleared first, which costs eight clients with 512 x 512 a fifth of their rate.
BUSY_BYTES: Final = 2**29
IDLE_BYTES: Final = 2**26
Extent = tuple[int, int]  # offsets of the first byte, and after the last one


class SharedPool:
    """Allocator of request bodies in shared memory; used by the server's event loop only."""

    def __init__(self, size: int):
        """Reserve `size` bytes of addresses; pages are allocated when they are written.

        Raises OSError if there are no such addresses, or no file descriptor is left.
        """
        self._size = size = _whole_pages(size)
        self.descriptor = os.memfd_create("pool", os.MFD_CLOEXEC)
        self._close = finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, size)
        self._map = mmap.mmap(self.descriptor, size)
        self._free: list[Extent] = [(0, size)]  # sorted; blocks lie between two of them
        self._used_to = 0  # no page beyond this offset has been written

    def take(self, size: int) -> "PoolBlock | None":
        """Return a block of `size` bytes with one holder; None if no free extent is as large."""
        for index, (start, end) in enumerate(self._free):
            rest = start + _whole_pages(size)
            if rest <= end:
                self._free[index : index + 1] = [(rest, end)] if rest < end else []
                self._used_to = max(self._used_to, rest)
                return PoolBlock(self, start, memoryview(self._map)[start : start + size])
        return None

    def give(self, start: int, size: int) -> None:
        """Free the memory of a block."""
        end = start + _whole_pages(size)
        self._clear(max(start, BUSY_BYTES), end)
        insort(self._free, (start, end))
        joined: list[Extent] = []
        for extent in self._free:
            if joined and joined[-1][1] == extent[0]:
                joined[-1] = (joined[-1][0], extent[1])
            else:
                joined.append(extent)
        self._free = joined

    def trim_memory(self) -> None:
        """Return free pages beyond IDLE_BYTES to the system."""
        for start, end in self._free:
            self._clear(max(start, IDLE_BYTES), min(end, self._used_to))
        start, end = self._free[-1] if self._free else (0, 0)
        self._used_to = max(start, IDLE_BYTES) if end == self._size else self._size

    def _clear(self, start: int, end: int) -> None:
        if start < end:
            with suppress(OSError):  # some sandboxes lack it: then the pages stay
                self._map.madvise(mmap.MADV_REMOVE, start, end - start)

    def close(self) -> None:
        """Close the descriptor; memory is freed when the workers and all views are gone."""
        self._close()


class PoolBlock:
    """Block of a pool for one body, reference-counted: free after its last release."""

    __slots__ = ("_holders", "_pool", "offset", "view")

    def __init__(self, pool: SharedPool, offset: int, view: memoryview):
        """Begin with one holder."""
        self._pool = pool
        self._holders = 1
        self.offset = offset
        self.view = view

    def __len__(self) -> int:
        """Return the size of the body in bytes."""
        return len(self.view)

    def hold(self) -> None:
        """Add a holder; ValueError if the block is free."""
        self._check()
        self._holders += 1

    def release(self) -> None:
        """Remove a holder; ValueError if the block is free."""
        self._check()
        self._holders -= 1
        if not self._holders:
            self._pool.give(self.offset, len(self))

    def _check(self) -> None:
        if not self._holders:
            raise ValueError("the block is free, and may be another body's by now")


def hold(body: Bytes | PoolBlock) -> None:
    """Add a holder to a body, if it is a block of a pool."""
    if isinstance(body, PoolBlock):
        body.hold()


def release(body: Bytes | PoolBlock) -> None:
    """Remove a holder from a body, if it is a block of a pool."""
    if isinstance(body, PoolBlock):
        body.release()


def map_read_only(descriptor: int) -> memoryview:
    """Return a read-only mapping of the pool with this descriptor, for a worker process."""
    return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
