"""Responses read from a socket, without an HTTP client."""

import socket
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawResponse:
    """One response as it was received."""

    status: int
    headers: dict[str, str]
    body: bytes


def received(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes; TimeoutError if it does not."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def parse_responses(data: bytes) -> list[RawResponse]:
    """Return the responses in `data`; AssertionError if one is incomplete."""
    found: list[RawResponse] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert end, f"half a head: {head!r}"
        assert first.startswith("HTTP/1.1 "), first
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        length = int(headers["content-length"])
        assert len(data) >= length, f"{len(data)} of {length} bytes"
        found.append(RawResponse(int(first.split()[1]), headers, data[:length]))
        data = data[length:]
    return found
