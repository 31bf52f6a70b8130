"""The POSTs of one turn of the event loop, answered together; and the wait for the next."""

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from service.server.fast_request import FastRequest

# So many answers are made before the first of them is sent.
BATCH_SIZE: Final = 16


class ResponseBatch:
    """The POSTs that became whole in one turn of the event loop.

    Their answers are made one after the other, and then sent: over two system calls the processor
    forgets so much of Python's code that a small product takes twice as long. Where the turn before
    had one POST alone, the first of this turn waits for no other.

    If it could answer them all, the loop goes on for `poll_ns` without sleeping: who sends one
    product after the other is soon back, and to wake a process takes longer than to answer a 2 x 2.
    """

    def __init__(self, poll_ns: int = 0, clock: Callable[[], int] = perf_counter_ns):
        """Begin with none. `clock` gives nanoseconds."""
        self._waiting: list[FastRequest] = []
        self._count = 0
        self._count_before = 0
        self._poll_ns = poll_ns
        self._clock = clock
        self._polls = False
        self._polls_until = 0
        self._sent = True

    def add(self, post: FastRequest, loop: asyncio.AbstractEventLoop) -> None:
        """Answer this one: at once, or with the others that `loop` finds now."""
        self._count += 1
        if self._count > 1 or self._count_before > 1:
            self._waiting.append(post)
        else:
            post.answer()
            post.send()
            self._sent = post.response_complete
        if self._count == 1:
            loop.call_soon(self._end, loop)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        posts, self._waiting = self._waiting, []
        self._count_before, self._count = self._count, 0
        for first in range(0, len(posts), BATCH_SIZE):
            some = posts[first : first + BATCH_SIZE]
            for post in some:
                post.answer()
            for post in some:
                post.send()
        sent = self._sent and all(post.response_complete for post in posts)
        self._sent = True
        # Whoever computes for another may need this very core.
        self._polls_until = self._clock() + self._poll_ns if sent else 0
        if not self._polls:
            self._polls = True
            self._poll(loop)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keep `loop` from sleeping, which it does when nothing is to be called."""
        if self._clock() < self._polls_until:
            loop.call_soon(self._poll, loop)
        else:
            self._polls = False
