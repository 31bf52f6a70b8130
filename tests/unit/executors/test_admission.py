"""Admission control: by slots, by expected wait, and by bytes."""

import pytest

from service.errors import OverloadedError
from service.executors import Admission, ByteBudget

S = 1_000_000_000
LONG_MS = 60_000


class Clock:
    """Clock that returns what it is set to, in nanoseconds."""

    now = 0

    def __call__(self) -> int:
        """Return the time."""
        return self.now


def test_no_wait_for_a_free_slot() -> None:
    """Neither the calls in other slots nor the estimate of the call itself count."""
    admission = Admission(2, 0)
    admission.enter(100 * S, LONG_MS)
    assert admission.expected_wait_ns() == 0
    admission.enter(100 * S, 1)
    assert admission.active_calls == 2


def test_the_wait_is_what_is_left_over_the_slots() -> None:
    """A running call counts with its remaining time; one beyond its estimate, with nothing."""
    clock = Clock()
    admission = Admission(2, 2, clock)
    first, second = (admission.enter(seconds * S, LONG_MS) for seconds in (4, 10))
    assert admission.expected_wait_ns() == 7 * S
    admission.begin(first)
    admission.begin(second)
    clock.now = 6 * S
    assert admission.expected_wait_ns() == 2 * S
    admission.leave(second)
    assert admission.expected_wait_ns() == 0


def test_a_wait_that_outlasts_the_deadline_is_rejected() -> None:
    """Retry-After is the time after which the call would be admitted."""
    admission = Admission(1, 10)
    admission.enter(8 * S, LONG_MS)
    with pytest.raises(OverloadedError, match=r"about 8\.0 s more.* 5000 ms") as rejected:
        admission.enter(1 * S, 5000)
    assert rejected.value.retry_after_s == 4
    assert admission.active_calls == 1
    admission.enter(1 * S, 9000)


def test_a_full_queue_rejects() -> None:
    """Retry-After is the time that the admitted calls will take, and one second at least."""
    admission = Admission(1, 1)
    first, second = (admission.enter(3.2 * S, LONG_MS) for _ in range(2))
    with pytest.raises(OverloadedError, match="2 calls run or wait, and there is room") as rejected:
        admission.enter(0, LONG_MS)
    assert rejected.value.retry_after_s == 7
    admission.leave(first)
    admission.leave(second)
    held = [admission.enter(0, LONG_MS) for _ in range(2)]
    with pytest.raises(OverloadedError) as rejected:
        admission.enter(0, LONG_MS)
    assert rejected.value.retry_after_s == 1
    assert len(held) == admission.active_calls


def test_a_call_without_an_estimate_counts_as_those_before() -> None:
    """It counts as their mean, weighted to the last; calls that never began are no part of it."""
    clock = Clock()
    admission = Admission(1, 10, clock)
    reservation = admission.enter(None, LONG_MS)
    admission.begin(reservation)
    clock.now = 8 * S
    admission.leave(reservation)
    admission.leave(admission.enter(None, LONG_MS))
    admission.enter(None, LONG_MS)
    assert admission.expected_wait_ns() == 1 * S


def test_bytes_over_the_limit_are_rejected() -> None:
    """Before they are received; released bytes no longer count."""
    budget = ByteBudget(100)
    first = budget.hold(60)
    with pytest.raises(OverloadedError, match=r"60 bytes.*50 more.*100 \(SERVICE_MAX_INFLIGHT"):
        budget.hold(50)
    second = budget.hold(40)
    assert budget.held == 100
    first.release()
    first.release()
    assert budget.held == 40
    second.release()
    assert budget.held == 0


def test_a_hold_grows_as_a_body_does() -> None:
    """It keeps the largest size that was requested, and releases all of it."""
    budget = ByteBudget(100)
    hold = budget.hold()
    for size in (10, 30, 20):
        hold.grow(size)
    assert budget.held == 30
    other = budget.hold(50)
    with pytest.raises(OverloadedError):
        hold.grow(51)
    assert budget.held == 80
    hold.release()
    other.release()
    assert budget.held == 0


def test_a_body_alone_is_never_over_the_limit() -> None:
    """The limit of a single body is another setting."""
    budget = ByteBudget(10)
    hold = budget.hold(1000)
    with pytest.raises(OverloadedError):
        budget.hold(1)
    hold.release()
    budget.hold(1).release()
    for size in (6, 12, 1000):  # it comes in chunks
        hold.grow(size)
    assert budget.held == 1000


def test_bodies_that_grow_beside_each_other() -> None:
    """Neither may take both over the limit, and the one that is left may."""
    budget = ByteBudget(10)
    first, second = budget.hold(4), budget.hold(4)
    for hold in (first, second):
        with pytest.raises(OverloadedError, match=r"8 bytes.*3 more"):
            hold.grow(7)
    second.release()
    first.grow(11)
    assert budget.held == 11
