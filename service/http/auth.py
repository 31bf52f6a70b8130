"""Authentication and rate limits: API keys where keys are set, a quota where a rate is.

Requests are admitted by their headers and their client's address, before a body is read.
"""

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
from service.http.problems import INFERENCE
from service.settings import Settings, listed

# The first part of the paths that need no key: health, pages, and the explanations of problems.
OPEN_PATHS: Final = frozenset({"health", "problems", "docs", "guide", "lab", "openapi.json"})
# A mark by which scanners find keys in repositories and logs.
KEY_PREFIX: Final = "tsk_"
MAX_KEY_BYTES: Final = 256
BEARER: Final = b"bearer "
NAME_DIGITS: Final = 8
MOST_CLIENTS: Final = 65_536
# One client usually has a whole network of this length.
IPV6_PREFIX_BYTES: Final = 8
Client = tuple[str, int] | None


def is_open(path: str) -> bool:
    """Return whether a path is served without a key and outside any quota."""
    first = path[1:].partition("/")[0]
    return first in OPEN_PATHS or path == "/" or path.startswith(f"{INFERENCE}/health/")


class Authenticator:
    """Admission of requests by API key and rate limit."""

    __slots__ = ("_keyring", "_quota", "is_required")

    def __init__(self, settings: Settings):
        """Require the keys and the rate of `settings`."""
        self._keyring = Keyring.of(settings.api_keys)
        self._quota = Quota(settings.rate, settings.rate_burst) if settings.rate else None
        # False where every request is admitted: then `admit` need not be called.
        self.is_required = bool(self._keyring.hashes or self._quota)

    @property
    def has_quota(self) -> bool:
        """True if each admitted request uses up a part of its client's quota."""
        return self._quota is not None

    def admit(self, path: str, headers: Mapping[bytes, bytes], client: Client) -> None:
        """Admit a request, or raise UnauthorizedError or RateLimitedError."""
        if not self.is_required or is_open(path):
            return
        name = self._key_name(headers) if self._keyring.hashes else _address(client)
        if self._quota is not None:
            wait_ns = self._quota.take(name)
            if wait_ns:
                raise RateLimitedError(
                    f"{name} has used up its requests (SERVICE_RATE, SERVICE_RATE_BURST)",
                    retry_after_s=ceil(wait_ns / 1e9),
                )

    def _key_name(self, headers: Mapping[bytes, bytes]) -> str:
        key = key_in(headers)
        if key is None:
            raise UnauthorizedError(
                "the request has no API key",
                hint="send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )
        name = self._keyring.name_of(key)
        if name is None:
            raise UnauthorizedError("the API key is not one of this service's", wrong_key=True)
        return f"key {name}"


def _address(client: Client) -> str:
    return f"address {network_of(client[0]) if client else 'unknown'}"


def new_key() -> str:
    """Return a key of 256 random bits: too many to guess, so that one plain hash is enough."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_hash(key: bytes) -> str:
    """Return what `SERVICE_API_KEYS` holds of a key: its SHA-256, in hex."""
    return sha256(key).hexdigest()


def key_in(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the key of `X-API-Key`, else of `Authorization: Bearer`, else None."""
    key = headers.get(b"x-api-key")
    if key is None:
        authorization = headers.get(b"authorization", b"")
        if authorization[: len(BEARER)].lower() == BEARER:
            key = authorization[len(BEARER) :].strip()
    return key


@dataclass(frozen=True, slots=True)
class Keyring:
    """The admitted keys: a name and a hash of each."""

    hashes: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, text: str) -> "Keyring":
        """Return the keys of a setting: `hash` or `name:hash`, with commas between."""
        pairs = [item.rpartition(":") for item in listed(text)]
        return cls(tuple((name or found[:NAME_DIGITS], found.encode()) for name, _, found in pairs))

    def name_of(self, key: bytes) -> str | None:
        """Return the name of a key, or None, in a time that does not depend on the key."""
        given = key_hash(key[:MAX_KEY_BYTES]).encode()
        found = None
        for name, known in self.hashes:
            if compare_digest(given, known):
                found = name
        return found


class Quota:
    """Token-bucket rate limiter per client: `burst` tokens, filled at `rate` tokens per second.

    One number is kept of a client: when its bucket will be full again (GCRA). A full bucket equals
    none, so it is removed when room is needed.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], int] = monotonic_ns):
        """Begin with full buckets; `clock` gives nanoseconds."""
        self._interval_ns = round(1e9 / rate)
        self._burst_ns = burst * self._interval_ns
        self._clock = clock
        self._full_at: dict[str, int] = {}

    def take(self, client: str) -> int:
        """Take a token of `client` and return 0, or the nanoseconds until there is one."""
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
        """Remove full buckets; if those are few, the fuller half of all."""
        kept = {client: at for client, at in self._full_at.items() if at > now}
        if len(kept) > MOST_CLIENTS // 2:
            emptiest = sorted(kept, key=kept.__getitem__)[len(kept) // 2 :]
            kept = {client: kept[client] for client in emptiest}
        self._full_at = kept


def network_of(address: str) -> str:
    """Return what a quota is counted by: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address  # a Unix socket's client has none
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return found.packed[:IPV6_PREFIX_BYTES].hex()
    return address
