"""Hostile requests and the responses that they must get."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.rigs.request_bodies import JSON

# Bodies by the problem code that they must get; "" where that is no problem document.
Coded = Mapping[str, tuple[object, ...]]
SHOWN_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class Hostile:
    """Bytes to send, the statuses of all responses to them, and the code of the last.

    The connection closes after them. Errors of the Open Inference Protocol have no code.
    """

    family: str
    wire: bytes
    statuses: tuple[int, ...]
    code: str

    def __str__(self) -> str:
        """The family, and how the request begins and ends."""
        return f"{self.family}: {shown(self.wire)}"


def shown(data: bytes) -> str:
    """Return the beginning and end of `data` for an assertion message."""
    if len(data) <= 2 * SHOWN_BYTES:
        return repr(data)
    return f"{data[:SHOWN_BYTES]!r}... {len(data)} bytes ...{data[-SHOWN_BYTES:]!r}"


def posts(
    family: str, path: str, bodies: Coded, status: int, *, kind: str = JSON, **headers: str
) -> list[Hostile]:
    """Return one record for each body: bytes and text as they are, anything else as JSON.

    Each body is sent twice: on a connection that is kept, and as the last request of the
    connection, since the service reads these in two ways.
    """
    lines = {"content-type": kind}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    return [
        Hostile(
            family,
            post(path, body, lines, keep=True) + post(path, body, lines),
            (status, status),
            code,
        )
        for code, group in bodies.items()
        for body in map(raw, group)
    ]


def post(path: str, body: bytes, headers: Mapping[str, str], *, keep: bool = False) -> bytes:
    """Return a complete POST, whose connection closes after the response unless `keep`."""
    lines = [f"POST {path} HTTP/1.1", "host: here"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["connection: close"] * (not keep)
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def raw(body: object) -> bytes:
    """Return the bytes of a body."""
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
