"""API keys: how one is made, and whose key a request shows. Only their hashes are kept."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from service.settings import listed

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
