"""A large body on its way: the kernel puts it where it stays, and no parser looks at it."""

import asyncio
from collections.abc import Callable
from typing import Final

# What is left of a body is received so from here on: uvloop reads 256 KB at a time by itself.
BULK_BYTES: Final = 2**18


class BodyReceiver(asyncio.BufferedProtocol):
    """Receives the rest of a body for a protocol, which learns of everything else as before."""

    def __init__(self, owner: asyncio.Protocol, room: memoryview, done: Callable[[], object]):
        """Fill `room`, and call `done`."""
        self._owner = owner
        self._room = room
        self._done = done

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: no more than are missing."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self._room = self._room[nbytes:]
        if not self._room:
            self._done()

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        self._owner.resume_writing()
