"""Compression of responses by `Accept-Encoding`, for all routes but those that compute.

Responses with a result are compressed by `service.codecs`, in the executor that computed them.
"""

import asyncio
from typing import Final

from starlette.types import Message, Scope, Send

from service.codecs.compression import PACKERS, SHORTEST_BYTES, VARY
from service.http.negotiation import COMPRESSIBLE, IDENTITY, choose_coding

Headers = list[tuple[bytes, bytes]]

# Compressing more than this takes longer than handing it to a thread.
INLINE_BYTES: Final = 32_768


def select_send(send: Send, headers: Headers, scope: Scope) -> Send:
    """Return `send`, or a CompressingSender around it if the response is to be compressed.

    Only text of at least `SHORTEST_BYTES` is compressed; event streams have no length and pass as
    they are. A response that depends on `Accept-Encoding` gets a Vary header, added to `headers`.
    """
    fields = dict(headers)
    if int(fields.get(b"content-length", 0)) < SHORTEST_BYTES:
        return send
    if not COMPRESSIBLE.match(fields.get(b"content-type", b"")) or b"content-encoding" in fields:
        return send
    accepted = dict(scope["headers"]).get(b"accept-encoding", b"")
    coding = choose_coding(accepted.decode("latin-1"))
    if coding != IDENTITY or scope["method"] == "GET":
        headers.append(VARY)
    return send if coding == IDENTITY else CompressingSender(send, coding)


class CompressingSender:
    """Buffer a response, and send it compressed with its new Content-Length."""

    __slots__ = ("_chunks", "_coding", "_send", "_start")

    def __init__(self, send: Send, coding: str):
        """Send to `send` what is compressed by `coding`, a name in PACKERS."""
        self._send = send
        self._coding = coding
        self._start: Message = {}
        self._chunks: list[bytes | memoryview] = []

    async def __call__(self, message: Message) -> None:
        """Buffer a message; after the last one, send the response."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._chunks.append(message.get("body", b""))
        if message.get("more_body", False):
            return
        pack = PACKERS[self._coding]
        if sum(map(len, self._chunks)) <= INLINE_BYTES:
            packed = pack(self._chunks)
        else:
            packed = await asyncio.to_thread(pack, self._chunks)
        headers = [each for each in self._start["headers"] if each[0] != b"content-length"]
        headers.append((b"content-encoding", self._coding.encode()))
        headers.append((b"content-length", b"%d" % len(packed)))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": packed})
