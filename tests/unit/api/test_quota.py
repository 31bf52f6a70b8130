"""Requests per second and at once, by a clock that the test moves."""

import pytest

from service.api import auth as quota
from service.http.auth import Quota, network_of


class Clock:
    """Nanoseconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.mark.parametrize("rate", [0.01, 2.0, 3.0, 7.0, 1000.0])
@pytest.mark.parametrize("burst", [1, 5, 20])
def test_a_burst_then_a_rate(clock: Clock, rate: float, burst: int) -> None:
    """`burst` at once, then one for each interval; whoever waits as told gets in."""
    limit = Quota(rate, burst, clock)
    assert [limit.take("a") for _ in range(burst)] == [0] * burst
    for _ in range(10):
        wait_ns = limit.take("a")
        assert wait_ns == pytest.approx(1e9 / rate, abs=1)
        clock.now += wait_ns - 1
        assert limit.take("a") == 1
        clock.now += 1
        assert limit.take("a") == 0


def test_a_refusal_costs_nothing(clock: Clock) -> None:
    """However often a client asks too early, its next token comes at the same time."""
    limit = Quota(1.0, 1, clock)
    assert limit.take("a") == 0
    waits = {limit.take("a") for _ in range(100)}
    assert waits == {10**9}


def test_clients_do_not_share(clock: Clock) -> None:
    """Each has a bucket of its own."""
    limit = Quota(1.0, 1, clock)
    assert limit.take("a") == limit.take("b") == 0
    assert limit.take("a") > 0


def test_a_bucket_fills_no_further_than_its_burst(clock: Clock) -> None:
    """A long rest gives no more than that."""
    limit = Quota(10.0, 3, clock)
    limit.take("a")
    clock.now += 10**15
    assert [limit.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_clients_are_forgotten_when_there_are_too_many(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with full buckets first, then the fuller half: memory stays bounded."""
    monkeypatch.setattr(quota, "MOST_CLIENTS", 8)
    limit = Quota(1.0, 2, clock)
    for number in range(6):
        limit.take(f"old {number}")
    clock.now += 10**10
    for number in range(3):
        limit.take(f"new {number}")
    assert sorted(limit._full_at) == ["new 0", "new 1", "new 2"]
    limit.take("new 0")
    for number in range(1000):
        limit.take(f"flood {number}")
        assert len(limit._full_at) <= 8
        if number == 6:
            assert limit.take("new 0") > 0, "the emptiest bucket is kept longest"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2::", "20010db800010002"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_who_shares_a_quota(address: str, network: str) -> None:
    """An IPv4 address, a /64 of IPv6, or whatever name there is."""
    assert network_of(address) == network
