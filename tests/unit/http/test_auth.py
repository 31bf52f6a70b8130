"""Admission of requests: API keys, and the quota of each client by a clock of the test."""

from hashlib import sha256

import pytest

from service.http import auth
from service.http.auth import Authenticator, Keyring, Quota, key_hash, key_in, network_of, new_key
from service.http.errors import RateLimitedError, UnauthorizedError
from service.settings import Settings

KEYS = [new_key() for _ in range(3)]
HASHES = [key_hash(key.encode()) for key in KEYS]


def test_a_key_cannot_be_guessed() -> None:
    """It has 32 random bytes after a mark that scanners of repositories find."""
    assert len(set(KEYS)) == len(KEYS)
    for key in KEYS:
        assert key.startswith("tsk_")
        assert len(key) == len("tsk_") + 43
        assert key.isascii()


def test_a_hash_is_sha256() -> None:
    """It is in lower-case hex digits, as `sha256sum` writes it."""
    assert key_hash(b"tsk_abc") == sha256(b"tsk_abc").hexdigest()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({b"x-api-key": b"k"}, b"k"),
        ({b"authorization": b"Bearer k"}, b"k"),
        ({b"authorization": b"bearer  k "}, b"k"),
        ({b"authorization": b"Basic k"}, None),
        ({b"authorization": b"Bearer"}, None),
        # A proxy may have used the other header for itself.
        ({b"authorization": b"Bearer other", b"x-api-key": b"k"}, b"k"),
    ],
)
def test_a_key_is_found_in_two_headers(headers: dict[bytes, bytes], key: bytes | None) -> None:
    """X-API-Key is preferred to a bearer token, whose scheme has no case."""
    assert key_in(headers) == key


def test_a_keyring_names_its_keys() -> None:
    """The names are those of the setting, or else the first digits of the hashes."""
    ring = Keyring.of(f"alice:{HASHES[0]}, {HASHES[1]},")
    assert ring.name_of(KEYS[0].encode()) == "alice"
    assert ring.name_of(KEYS[1].encode()) == HASHES[1][:8]
    assert ring.name_of(KEYS[2].encode()) is None
    assert ring.name_of(b"") is None
    assert ring.name_of(b"\xff" * 100_000) is None
    assert ring.name_of(HASHES[0].encode()) is None, "a hash is no key"


def test_an_empty_keyring_admits_no_key() -> None:
    """Without a setting no key has a name."""
    assert Keyring.of("").name_of(KEYS[0].encode()) is None


class Clock:
    """A clock that is set by the test, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.mark.parametrize("rate", [0.01, 2.0, 3.0, 7.0, 1000.0])
@pytest.mark.parametrize("burst", [1, 5, 20])
def test_a_burst_then_a_rate(clock: Clock, rate: float, burst: int) -> None:
    """`burst` requests pass at once, then one in each interval, after the stated wait."""
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
    """Requests that come too early do not delay the next token."""
    limit = Quota(1.0, 1, clock)
    assert limit.take("a") == 0
    waits = {limit.take("a") for _ in range(100)}
    assert waits == {10**9}


def test_clients_do_not_share(clock: Clock) -> None:
    """Each client has a bucket of its own."""
    limit = Quota(1.0, 1, clock)
    assert limit.take("a") == limit.take("b") == 0
    assert limit.take("a") > 0


def test_a_bucket_fills_no_further_than_its_burst(clock: Clock) -> None:
    """A long pause gives no more tokens than that."""
    limit = Quota(10.0, 3, clock)
    limit.take("a")
    clock.now += 10**15
    assert [limit.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_clients_are_forgotten_when_there_are_too_many(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full buckets go first, then the fuller half, so that memory is bounded."""
    monkeypatch.setattr(auth, "MOST_CLIENTS", 8)
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
def test_networks_share_a_quota(address: str, network: str) -> None:
    """A quota is for an IPv4 address, a /64 of IPv6, or any other name."""
    assert network_of(address) == network


NO_KEYS = Settings()
RIGHT = {b"x-api-key": KEYS[0].encode()}
ADDRESS = ("192.0.2.7", 1234)


def test_without_keys_and_rate_all_requests_are_admitted() -> None:
    """Then the server need not call `admit`."""
    authenticator = Authenticator(NO_KEYS)
    assert not authenticator.is_required
    assert not authenticator.has_quota
    authenticator.admit("/matmul", {}, None)


def test_a_key_is_required() -> None:
    """A missing key and a wrong one are different errors; open paths need none."""
    authenticator = Authenticator(Settings(api_keys=f"alice:{HASHES[0]}"))
    assert authenticator.is_required
    assert not authenticator.has_quota
    authenticator.admit("/matmul", RIGHT, ADDRESS)
    for path in ("/", "/health/live", "/v2/health/ready", "/docs/assets/docs.js"):
        authenticator.admit(path, {}, ADDRESS)
    for headers, is_wrong in (({}, False), ({b"x-api-key": KEYS[1].encode()}, True)):
        with pytest.raises(UnauthorizedError) as caught:
            authenticator.admit("/matmul", headers, ADDRESS)
        assert caught.value.wrong_key == is_wrong


@pytest.mark.parametrize(
    ("settings", "client", "name"),
    [
        pytest.param({}, ADDRESS, "address 192.0.2.7", id="address"),
        pytest.param({}, ("2001:db8:1:2::3", 1), "address 20010db800010002", id="network"),
        pytest.param({}, None, "address unknown", id="no address"),
        pytest.param({"api_keys": f"alice:{HASHES[0]}"}, ADDRESS, "key alice", id="key"),
    ],
)
def test_a_quota_is_that_of_a_key_or_an_address(
    settings: dict[str, str], client: auth.Client, name: str
) -> None:
    """Requests beyond it are refused with the time to wait; open paths are not counted."""
    authenticator = Authenticator(Settings(rate=0.01, rate_burst=2, **settings))
    assert authenticator.is_required
    assert authenticator.has_quota
    for path in ("/matmul", "/health/live", "/docs", "/matmul"):
        authenticator.admit(path, RIGHT, client)
    with pytest.raises(RateLimitedError, match=name) as caught:
        authenticator.admit("/matmul", RIGHT, client)
    assert 1 <= caught.value.retry_after_s <= 100
    authenticator.admit("/health/live", RIGHT, client)
