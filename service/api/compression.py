"""Content codings: what `Content-Encoding` and `Accept-Encoding` ask for, and compressed answers.

Answers of operations are compressed by `service.codecs`, on the slot that computed them. Here are
those of all other routes: `Packer` stands between one of them and its client.
"""

import asyncio
import re
from typing import Final

from starlette.types import Message, Scope, Send

from service.codecs import CODINGS, InflatingReader, PackingWriter, Reader, Writer
from service.codecs.packing import PACKERS, SHORTEST_BYTES, VARY
from service.errors import quote
from service.http.errors import UnsupportedMediaTypeError
from service.http.quality import quality, ranges

Headers = list[tuple[bytes, bytes]]

IDENTITY: Final = "identity"
# Compressing more takes longer than a hop to a thread.
INLINE_BYTES: Final = 32_768
TEXT: Final = re.compile(rb"text/(?!event-stream)|application/([a-z.-]+\+)?json")


def coded_reader(reader: Reader, coding: str | None) -> Reader:
    """The reader of a body with this `Content-Encoding`; UnsupportedMediaTypeError lists them."""
    if coding is None or (name := coding.strip().lower()) == IDENTITY:
        return reader
    name = "gzip" if name == "x-gzip" else name  # RFC 9110, section 8.4.1.3
    if name not in CODINGS:
        chained = "; several at once are not" if "," in name else ""
        raise UnsupportedMediaTypeError(
            f"Content-Encoding {quote(coding)} is not read; {', '.join(CODINGS)} are{chained}",
            hint="send the body as it is, without the header",
        )
    return InflatingReader(reader, name)


def coded_writer(writer: Writer, accepted: str | None) -> Writer:
    """The writer itself, or one that compresses as this `Accept-Encoding` asks."""
    if accepted is None or not TEXT.match(writer.media_type.encode()):
        return writer
    coding = choose(accepted)
    return writer if coding == IDENTITY else PackingWriter(writer, coding)


def choose(accepted: str) -> str:
    """The coding that the client prefers, the quickest of equals; `identity` if it wants none."""
    wanted = ranges(accepted)
    best = max(PACKERS, key=lambda name: quality(wanted, name, "*"))
    found = quality(wanted, best, "*")
    return best if found > 0 and found >= quality(wanted, IDENTITY) else IDENTITY


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
