"""How many requests a client may make: so many per second, and a few at once."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from time import monotonic_ns
from typing import Final

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
