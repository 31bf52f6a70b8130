"""Content codings: what `Content-Encoding` and `Accept-Encoding` ask for, and compressed answers.

Answers of operations are compressed by `service.codecs`, on the slot that computed them. Here are
those of all other routes: `Packer` stands between one of them and its client.
"""

import asyncio
from typing import Final

from starlette.types import Message, Scope, Send

from service.codecs.compression import PACKERS, SHORTEST_BYTES, VARY
from service.http.negotiation import IDENTITY, TEXT, choose

Headers = list[tuple[bytes, bytes]]

# Compressing more takes longer than a hop to a thread.
INLINE_BYTES: Final = 32_768


def packing(send: Send, headers: Headers, scope: Scope) -> Send:
    """Where an answer with these headers goes: through a packer if that is worth it and asked for.

    What a cache may keep says that it might have been compressed, in one more header.
    """
    fields = dict(headers)
    if int(fields.get(b"content-length", 0)) < SHORTEST_BYTES:
        return send
    if not TEXT.match(fields.get(b"content-type", b"")) or b"content-encoding" in fields:
        return send
    asked = dict(scope["headers"]).get(b"accept-encoding", b"")
    coding = choose(asked.decode("latin-1"))
    if coding != IDENTITY or scope["method"] == "GET":
        headers.append(VARY)
    return send if coding == IDENTITY else Packer(send, coding)


class Packer:
    """Holds the messages of an answer back until it can be sent compressed, with its length."""

    __slots__ = ("_chunks", "_coding", "_send", "_start")

    def __init__(self, send: Send, coding: str):
        """Pass the answer on to `send`."""
        self._send = send
        self._coding = coding
        self._start: Message = {}
        self._chunks: list[bytes | memoryview] = []

    async def __call__(self, message: Message) -> None:
        """Keep one message, or send everything after the last one."""
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
