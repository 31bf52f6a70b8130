"""Who may enter a lane: by places, by the wait to expect there, and by the bytes in flight.

Turning a call away at once is kinder than letting it wait for its deadline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import perf_counter_ns

from service.errors import OverloadedError

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
LATE = "the answer was not ready by its deadline (deadline_ms, SERVICE_DEADLINE_MS)"


@dataclass(slots=True, eq=False)
class Reservation:
    """A call that runs or waits: how long it should take, and when it began, if it has."""

    estimated_ns: float
    guessed: bool
    began_ns: int | None = None


class Admission:
    """The places of one lane: `slots` of calls that run, and a `queue` of calls that wait.

    A call without an estimate, because it is not decoded yet, counts as the mean of such calls.
    """

    def __init__(self, slots: int, queue: int, clock: Callable[[], int] = perf_counter_ns):
        """Begin empty; `clock` gives nanoseconds."""
        self._slots = slots
        self._room = slots + queue
        self._clock = clock
        self._places: set[Reservation] = set()
        self._mean_ns = 0.0

    @property
    def inside(self) -> int:
        """How many calls run or wait."""
        return len(self._places)

    def expected_wait_ns(self) -> float:
        """How long a call that came now would wait: what is left to do, over the slots."""
        if len(self._places) < self._slots:
            return 0.0
        now = self._clock()
        left = sum(
            place.estimated_ns
            if place.began_ns is None
            else max(0.0, place.estimated_ns - (now - place.began_ns))
            for place in self._places
        )
        return left / self._slots

    def enter(self, estimated_ns: float | None, deadline_ms: int) -> Reservation:
        """A place; OverloadedError where there is none, or the wait would outlast the deadline."""
        expected_ns = self._mean_ns if estimated_ns is None else estimated_ns
        wait_ns = self.expected_wait_ns()
        if len(self._places) >= self._room:
            raise _overloaded(
                f"{len(self._places)} calls run or wait, and there is room for {self._room} "
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
        place = Reservation(expected_ns, guessed=estimated_ns is None)
        self._places.add(place)
        return place

    def begin(self, place: Reservation) -> None:
        """Note that the call has its slot now."""
        place.began_ns = self._clock()

    def leave(self, place: Reservation) -> None:
        """Give the place back; calls without an estimate are learned from."""
        self._places.discard(place)
        if place.guessed and place.began_ns is not None:
            self._mean_ns += (self._clock() - place.began_ns - self._mean_ns) / 8


class ByteBudget:
    """The bytes of all bodies that are received or worked on, kept within a limit."""

    def __init__(self, limit: int):
        """Begin with nothing held."""
        self._limit = limit
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def hold(self, size: int = 0) -> "Hold":
        """A share of `size` bytes; OverloadedError if that is over the limit."""
        hold = Hold(self)
        hold.grow(size)
        return hold

    def take(self, size: int) -> None:
        """Count `size` bytes more; OverloadedError over the limit, unless nothing else is held."""
        if self._held and self._held + size > self._limit:
            raise _overloaded(
                f"bodies of {self._held} bytes are in flight, and with {size} more they would be "
                f"over {self._limit} (SERVICE_MAX_INFLIGHT_BYTES)",
                NS_PER_S,
            )
        self._held += size

    def give(self, size: int) -> None:
        """Count `size` bytes less."""
        self._held -= size


class Hold:
    """One call's share of a budget; to be released however the call ends."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: ByteBudget):
        """Begin with nothing."""
        self._budget = budget
        self._size = 0

    def grow(self, size: int) -> None:
        """Hold `size` bytes in all, if that is more than now; OverloadedError over the limit."""
        if size > self._size:
            self._budget.take(size - self._size)
            self._size = size

    def release(self) -> None:
        """Give all of it back, once."""
        size, self._size = self._size, 0
        self._budget.give(size)


def _overloaded(detail: str, wait_ns: float) -> OverloadedError:
    error = OverloadedError(detail)
    error.retry_after_s = max(1, ceil(wait_ns / NS_PER_S))
    return error
