"""Who may enter: a key where keys are set, and a quota where a rate is. It reads no body."""

from collections.abc import Mapping
from math import ceil
from typing import Final

from service.api.keys import Keyring, shown_key
from service.api.quota import Quota, network_of
from service.http.errors import RateLimitedError, UnauthorizedError
from service.settings import Settings

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
