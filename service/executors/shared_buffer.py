"""Memory that the server shares with one worker process, for requests and responses of any size.

It is an anonymous file in memory (memfd), so that nothing is left in /dev/shm however the processes
end. It is read and written by system calls, which need no mapping and release the GIL.
"""

import os
from typing import Final

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
