"""Connections without sockets: a transport that keeps what is written, requests and responses."""

import asyncio
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

import httpx

from tests.rigs.request_bodies import SAFETENSORS

BODY: Final = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
# Bodies that are padded by this are not decoded on the event loop.
PADDING: Final = b" " * 2**20
CHUNKED: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
# What differs between two responses to the same request.
VARYING: Final = ("date", "server-timing", "x-request-id", "content-length", "x-envelope")


class MemoryTransport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol: asyncio.BaseProtocol = protocol
        self.written = bytearray()
        self.writes = 0
        self.closed = False
        self.is_half_closed = False
        self.aborted = False
        self.paused = False
        # How much of it the client does not take.
        self.unsent = 0

    def write(self, data: Any) -> None:
        """Keep the data."""
        assert not self.has_ended, "nothing may be written after the end"
        self.written += data
        self.writes += 1

    def close(self) -> None:
        """Close the connection in the next iteration of the event loop, once."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        """Close the connection without sending the rest."""
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        """Return whether the connection was closed."""
        return self.closed

    def write_eof(self) -> None:
        """Note that nothing more is sent."""
        self.is_half_closed = True

    @property
    def has_ended(self) -> bool:
        """Return whether the client sees the end of the connection."""
        return self.closed or self.is_half_closed

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the client does not take."""
        return self.unsent

    def feed(self, data: bytes) -> None:
        """Pass data of a client to the protocol in charge, as uvloop does."""
        rest = memoryview(data)
        while rest:
            protocol = self.protocol
            if isinstance(protocol, asyncio.BufferedProtocol):
                buffer = memoryview(protocol.get_buffer(-1))
                count = min(len(buffer), len(rest))
                buffer[:count] = rest[:count]
                protocol.buffer_updated(count)
            else:
                assert isinstance(protocol, asyncio.Protocol)
                count = len(rest)
                protocol.data_received(bytes(rest))
            rest = rest[count:]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change the protocol, which uvloop allows while nothing is read."""
        assert self.paused
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Note it."""
        self.paused = True

    def resume_reading(self) -> None:
        """Note it."""
        self.paused = False


def post(
    body: bytes = BODY,
    path: str = "/matmul",
    method: str = "POST",
    version: str = "1.1",
    **headers: str,
) -> bytes:
    """Return the bytes of a request; a header with an empty value is left out."""
    fields = {"host": "lab", "content-length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"{method} {path} HTTP/{version}", *(f"{k}: {v}" for k, v in fields.items() if v)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str, method: str = "GET") -> bytes:
    """Return the bytes of a request without a body."""
    return post(b"", path, method, content_length="")


def cut(text: bytes, *sizes: int) -> Iterator[bytes]:
    """Yield the text in pieces of these sizes, which are repeated."""
    start = 0
    for size in cycle(sizes):
        if start >= len(text):
            return
        yield text[start : start + size]
        start += size


def responses(text: bytes | bytearray) -> list[httpx.Response]:
    """Return the responses that follow each other on a connection."""
    found = []
    text = bytes(text)
    while text:
        head, _, rest = text.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = httpx.Headers([(k, v) for k, _, v in (line.partition(b": ") for line in lines)])
        length = int(headers.get("content-length", "0"))
        code = int(status.split()[1])
        found.append(httpx.Response(code, headers=headers, content=rest[:length]))
        text = rest[length:]
    return found


def product(response: httpx.Response) -> Any:
    """Return the result in a response."""
    return response.json()["result"]["data"]


def essence(response: httpx.Response) -> tuple[int, list[tuple[str, str]], Any]:
    """Return a response without what differs between two of the same request."""
    headers = sorted(each for each in response.headers.multi_items() if each[0] not in VARYING)
    media_type = response.headers.get("content-type", "")
    if media_type == SAFETENSORS:
        start = 8 + int.from_bytes(response.content[:8], "little")
        return response.status_code, headers, response.content[start:]
    if "json" not in media_type or not response.content:
        return response.status_code, headers, response.content
    body = response.json()
    for name in ("request_id", "instance", "timing", "strategies"):
        body.pop(name, None)
    return response.status_code, headers, body
