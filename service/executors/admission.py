"""Admission control: limits on calls by slots and expected wait, and on bytes in flight.

A call that cannot be served in time is rejected at once, instead of waiting for its deadline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import perf_counter_ns
from typing import Final

from service.core.timing import NS_PER_MS
from service.errors import OverloadedError

NS_PER_S: Final = 1_000_000_000
LATE: Final = "the answer was not ready by its deadline (deadline_ms, SERVICE_DEADLINE_MS)"


@dataclass(slots=True, eq=False)
class Reservation:
    """An admitted call: its estimated time, and its start, or None while it waits."""

    estimated_ns: float
    guessed: bool
    began_ns: int | None = None


class Admission:
    """Admission to one executor: `slots` calls run and at most `queue` calls wait.

    A call without an estimate, because it is not decoded yet, counts as the mean of such calls.
    """

    def __init__(self, slots: int, queue: int, clock: Callable[[], int] = perf_counter_ns):
        """Begin without calls; `clock` returns nanoseconds."""
        self._slots = slots
        self._room = slots + queue
        self._clock = clock
        self._reservations: set[Reservation] = set()
        self._mean_ns = 0.0

    @property
    def active_calls(self) -> int:
        """Number of calls that run or wait."""
        return len(self._reservations)

    def expected_wait_ns(self) -> float:
        """Return the wait to expect by a call that arrives now: remaining time over slots."""
        if len(self._reservations) < self._slots:
            return 0.0
        now = self._clock()
        left = sum(
            each.estimated_ns
            if each.began_ns is None
            else max(0.0, each.estimated_ns - (now - each.began_ns))
            for each in self._reservations
        )
        return left / self._slots

    def enter(self, estimated_ns: float | None, deadline_ms: int) -> Reservation:
        """Admit a call; OverloadedError if the queue is full or the wait exceeds the deadline."""
        expected_ns = self._mean_ns if estimated_ns is None else estimated_ns
        wait_ns = self.expected_wait_ns()
        if len(self._reservations) >= self._room:
            raise _overloaded(
                f"{len(self._reservations)} calls run or wait, and there is room for {self._room} "
                "(SERVICE_SLOTS, SERVICE_QUEUE)",
                wait_ns,
            )
        late_ns = wait_ns + expected_ns - deadline_ms * NS_PER_MS
        if wait_ns and late_ns > 0:
            raise _overloaded(
                f"the calls before this one take about {wait_ns / NS_PER_S:.1f} s more, "
                f"which leaves too little of its deadline of {deadline_ms} ms",
                late_ns,
            )
        reservation = Reservation(expected_ns, guessed=estimated_ns is None)
        self._reservations.add(reservation)
        return reservation

    def begin(self, reservation: Reservation) -> None:
        """Record that the call has got its slot."""
        reservation.began_ns = self._clock()

    def leave(self, reservation: Reservation) -> None:
        """Remove the call; the time of one without an estimate goes into the mean."""
        self._reservations.discard(reservation)
        if reservation.guessed and reservation.began_ns is not None:
            self._mean_ns += (self._clock() - reservation.began_ns - self._mean_ns) / 8


class ByteBudget:
    """Limit on the total bytes of bodies that are being received or processed."""

    def __init__(self, limit: int):
        """Begin with no bytes held."""
        self._limit = limit
        self._held = 0

    @property
    def held(self) -> int:
        """Number of bytes held now."""
        return self._held

    def hold(self, size: int = 0) -> "Hold":
        """Return a share of `size` bytes; OverloadedError if that exceeds the limit."""
        hold = Hold(self)
        hold.grow(size)
        return hold

    def take(self, size: int, own: int) -> None:
        """Add `size` bytes; OverloadedError over the limit, unless no more than `own` are held."""
        if self._held > own and self._held + size > self._limit:
            raise _overloaded(
                f"bodies of {self._held} bytes are in flight, and with {size} more they would be "
                f"over {self._limit} (SERVICE_MAX_INFLIGHT_BYTES)",
                NS_PER_S,
            )
        self._held += size

    def give(self, size: int) -> None:
        """Subtract `size` bytes."""
        self._held -= size


class Hold:
    """One call's share of a ByteBudget; it has to be released at the end of the call."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: ByteBudget):
        """Begin with no bytes."""
        self._budget = budget
        self.size = 0

    def grow(self, size: int) -> None:
        """Hold `size` bytes in total, if that is more than now; OverloadedError over the limit."""
        if size > self.size:
            self._budget.take(size - self.size, self.size)
            self.size = size

    def release(self) -> None:
        """Return all bytes to the budget; a second call has no effect."""
        size, self.size = self.size, 0
        self._budget.give(size)


def _overloaded(detail: str, wait_ns: float) -> OverloadedError:
    error = OverloadedError(detail)
    error.retry_after_s = max(1, ceil(wait_ns / NS_PER_S))
    return error
