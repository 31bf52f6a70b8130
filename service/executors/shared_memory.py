"""Memory that the server and one worker share: requests and answers of any size pass through it.

It is a file in memory without a name, so that nothing is left in /dev/shm however both may end.
Reading and writing it by system calls takes no mapping, and lets go of the GIL.
"""

import os
from typing import Final

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
