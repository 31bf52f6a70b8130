"""Who may enter: a key where keys are set, and a quota where a rate is. It reads no body."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from math import ceil
from time import monotonic_ns
from typing import Final

from service.http.errors import RateLimitedError, UnauthorizedError
from service.settings import Settings, listed

# The first part of the paths that are open to all: whether the service lives, and what it can be
# asked. The pages could not take a key otherwise, nor `type` explain a refusal.
OPEN: Final = frozenset({"health", "problems", "docs", "lab", "openapi.json"})
Client = tuple[str, int] | None


def is_open(path: str) -> bool:
    """Whether a path is served without a key and outside any quota."""
    first = path[1:].partition("/")[0]
    return first in OPEN or path == "/" or path.startswith("/v2/health/")


class Authenticator:
    """Admits requests by their headers and their client's address."""

    __slots__ = ("_keyring", "_quota", "asks")

    def __init__(self, settings: Settings):
        """Ask for keys and keep quotas as `settings` say."""
        self._keyring = Keyring.of(settings.api_keys)
        self._quota = Quota(settings.rate, settings.rate_burst) if settings.rate else None
        # False where everyone may enter as often as they like: then nobody need call `admit`.
        self.asks = bool(self._keyring.hashes or self._quota)

    @property
    def counts(self) -> bool:
        """Whether each request of a client that may enter uses something up."""
        return self._quota is not None

    def admit(self, headers: Mapping[bytes, bytes], client: Client) -> None:
        """Return if the request may enter; raise UnauthorizedError or RateLimitedError if not."""
        visitor = self._owner(headers) if self._keyring.hashes else _address(client)
        if self._quota is not None:
            wait_ns = self._quota.take(visitor)
            if wait_ns:
                raise RateLimitedError(
                    f"{visitor} has used up its requests (SERVICE_RATE, SERVICE_RATE_BURST)",
                    retry_after_s=ceil(wait_ns / 1e9),
                )

    def _owner(self, headers: Mapping[bytes, bytes]) -> str:
        key = shown_key(headers)
        if key is None:
            raise UnauthorizedError(
                "the request has no API key",
                hint="send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )
        owner = self._keyring.owner(key)
        if owner is None:
            raise UnauthorizedError("the API key is not one of this service's", wrong_key=True)
        return f"key {owner}"


def _address(client: Client) -> str:
    return f"address {network_of(client[0]) if client else 'unknown'}"


# Finds a key that was left in a repository or a log.
MARK: Final = "tsk_"
LONGEST: Final = 256
BEARER: Final = b"bearer "
NAME_DIGITS: Final = 8


def new_key() -> str:
    """A key of 256 random bits: too many to guess, so that one plain hash of it is enough."""
    return MARK + secrets.token_urlsafe(32)


def key_hash(key: bytes) -> str:
    """What `SERVICE_API_KEYS` holds of a key: its SHA-256, in hex."""
    return sha256(key).hexdigest()


def shown_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key of `X-API-Key`, else of `Authorization: Bearer`; None if there is neither."""
    key = headers.get(b"x-api-key")
    if key is None:
        authorization = headers.get(b"authorization", b"")
        if authorization[: len(BEARER)].lower() == BEARER:
            key = authorization[len(BEARER) :].strip()
    return key


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that may enter: a name and a hash of each."""

    hashes: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, text: str) -> "Keyring":
        """The keys of a setting: `hash` or `name:hash`, with commas between."""
        pairs = [item.rpartition(":") for item in listed(text)]
        return cls(tuple((name or found[:NAME_DIGITS], found.encode()) for name, _, found in pairs))

    def owner(self, key: bytes) -> str | None:
        """The name of a key, or None; it takes equally long whichever it is, and if it is none."""
        given = key_hash(key[:LONGEST]).encode()
        owner = None
        for name, known in self.hashes:
            if compare_digest(given, known):
                owner = name
        return owner


MOST_CLIENTS: Final = 65_536
# One household or one server has a whole network of this length.
IPV6_PREFIX_BYTES: Final = 8


class Quota:
    """A bucket of `burst` tokens for each client, filled at `rate` tokens per second.

    One number is kept of a client: when its bucket will be full again (GCRA). A full bucket is no
    different from none, so it is forgotten when room is needed.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], int] = monotonic_ns):
        """Begin with full buckets; `clock` tells nanoseconds."""
        self._interval_ns = round(1e9 / rate)
        self._burst_ns = burst * self._interval_ns
        self._clock = clock
        self._full_at: dict[str, int] = {}

    def take(self, client: str) -> int:
        """Take a token of `client` and give 0; if it has none, the nanoseconds until it has."""
        now = self._clock()
        full_at = max(self._full_at.get(client, now), now) + self._interval_ns
        missing_ns = full_at - now - self._burst_ns
        if missing_ns > 0:
            return missing_ns
        if client not in self._full_at and len(self._full_at) >= MOST_CLIENTS:
            self._forget(now)
        self._full_at[client] = full_at
        return 0

    def _forget(self, now: int) -> None:
        """Forget the clients whose buckets are full; if those are few, the fuller half of all."""
        kept = {client: at for client, at in self._full_at.items() if at > now}
        if len(kept) > MOST_CLIENTS // 2:
            emptiest = sorted(kept, key=kept.__getitem__)[len(kept) // 2 :]
            kept = {client: kept[client] for client in emptiest}
        self._full_at = kept


def network_of(address: str) -> str:
    """Who shares a quota: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address  # a Unix socket's client has none
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return found.packed[:IPV6_PREFIX_BYTES].hex()
    return address
