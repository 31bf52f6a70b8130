"""API keys: made, hashed, shown, known."""

from hashlib import sha256

import pytest

from service.http.auth import Keyring, key_hash, new_key, shown_key

KEYS = [new_key() for _ in range(3)]
HASHES = [key_hash(key.encode()) for key in KEYS]


def test_a_key_cannot_be_guessed() -> None:
    """32 random bytes after a mark that scanners of repositories find; no two are alike."""
    assert len(set(KEYS)) == len(KEYS)
    for key in KEYS:
        assert key.startswith("tsk_")
        assert len(key) == len("tsk_") + 43
        assert key.isascii()


def test_a_hash_is_sha256() -> None:
    """In small hex digits, as `sha256sum` writes it."""
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
def test_where_a_key_stands(headers: dict[bytes, bytes], key: bytes | None) -> None:
    """In X-API-Key, else in Authorization as a bearer token, whose scheme has no case."""
    assert shown_key(headers) == key


def test_a_keyring_knows_its_keys() -> None:
    """By the names of the setting, else by the first digits of their hashes."""
    ring = Keyring.of(f"alice:{HASHES[0]}, {HASHES[1]},")
    assert ring.owner(KEYS[0].encode()) == "alice"
    assert ring.owner(KEYS[1].encode()) == HASHES[1][:8]
    assert ring.owner(KEYS[2].encode()) is None
    assert ring.owner(b"") is None
    assert ring.owner(b"\xff" * 100_000) is None
    assert ring.owner(HASHES[0].encode()) is None, "a hash is no key"


def test_an_empty_keyring_knows_nobody() -> None:
    """Without keys none is right."""
    assert Keyring.of("").owner(KEYS[0].encode()) is None
