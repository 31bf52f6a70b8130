"""Memory that the server shares with one worker process, for requests and responses of any size.

It is an anonymous file in memory (memfd), so that nothing is left in /dev/shm however the processes
end. It is read and written by system calls, which need no mapping and release the GIL. A device
process maps it, so that a GPU copies operands from there.
"""

import os
from collections.abc import Callable
from mmap import mmap
from typing import Final

Bytes = bytes | bytearray | memoryview
# Bytes that stay for the next call: a copy into new pages takes three times as long.
KEPT_BYTES: Final = 2**26
# The least size of a mapping.
LEAST_MAPPED: Final = 2**20
# Called with mapped memory; returns the function to call before that is unmapped.
Pin = Callable[[memoryview], Callable[[], object]]


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


class MappedBuffer:
    """A shared buffer in the address space of this process, which reads it without a copy.

    While it is mapped, the buffer may grow but not shrink.
    """

    def __init__(self, buffer: SharedBuffer, pin: Pin):
        """Map nothing yet. `pin` is called with all that is mapped."""
        self._buffer = buffer
        self._pin = pin
        self._memory: memoryview | None = None
        self._unpin: Callable[[], object]

    @property
    def size(self) -> int:
        """Number of bytes that are mapped."""
        return 0 if self._memory is None else len(self._memory)

    def view(self, size: int, at: int) -> memoryview:
        """Return `size` bytes from an offset, valid until the buffer is written again."""
        if self._memory is None or at + size > len(self._memory):
            self.release()
            self._memory = self._map(at + size)
        return self._memory[at : at + size]

    def _map(self, size: int) -> memoryview:
        """Map at least `size` bytes, and up to an eighth more for requests that are larger."""
        step = max(LEAST_MAPPED, (1 << size.bit_length()) // 8)
        size = max(1, -(-size // step)) * step
        if self._buffer.size < size:
            os.ftruncate(self._buffer.descriptor, size)
        memory = memoryview(mmap(self._buffer.descriptor, size))
        self._unpin = self._pin(memory)
        return memory

    def release(self) -> None:
        """Unmap the buffer, at the latest when the last view of it is gone."""
        if self._memory is not None:
            self._unpin()  # first: memory that is not mapped any more cannot be unpinned
            self._memory = None
