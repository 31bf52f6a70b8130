"""Reading a body within its limit, and agreeing on formats."""

import asyncio
import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import torch
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.codecs import (
    CODINGS,
    NO_FIELDS,
    READERS,
    WRITERS,
    InflatingReader,
    PackingWriter,
    Reader,
    Writer,
)
from service.codecs.compression import PACKERS
from service.core.dtypes import describe
from service.errors import (
    BodyTooLargeError,
    DuplicateKeyError,
    MalformedJsonError,
    OutOfMemoryError,
    quote,
)
from service.executors import Hold
from service.http.errors import NotAcceptableError, UnsupportedMediaTypeError

Ranges = Sequence[tuple[str, float]]

QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def ranges(header: str) -> Ranges:
    """Each name of a list and its quality; a malformed quality is 0."""
    found = []
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        value = 1.0
        for parameter in parameters:
            key, _, text = parameter.partition("=")
            if key.strip() == "q":
                value = _number(text.strip())
        found.append((name, value))
    return found


def quality(found: Ranges, *names: str, default: float = 0.0) -> float:
    """The quality of the first of `names` that is in the list: the most specific one decides."""
    for wanted in names:
        for name, value in found:
            if name == wanted:
                return value
    return default


def _number(text: str) -> float:
    return float(text) if QUALITY.fullmatch(text) else 0.0


JSON: Final = "application/json"
SERVED: Final = tuple(WRITERS)
NEGOTIATED: Final = (b"content-type", b"content-encoding", b"accept", b"accept-encoding")
Formats = tuple[Reader, tuple[Writer, ...]]
T = TypeVar("T")
IDENTITY: Final = "identity"
TEXT: Final = re.compile(rb"text/(?!event-stream)|application/([a-z.-]+\+)?json")
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of a request by their names, which are in small letters."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}


def query_fields(query: bytes) -> Mapping[str, str]:
    """The fields of a query string; DuplicateKeyError if one stands there twice."""
    if not query:
        return NO_FIELDS
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKeyError(f"the query string has {quote(twice)} twice", hint="send it once")
    return fields


async def read_body(
    headers: Mapping[str, str], receive: Receive, limit: int, hold: Hold
) -> bytearray:
    """The whole body, in one buffer; BodyTooLargeError before more than `limit` bytes are kept.

    Its bytes are held before they are kept: OverloadedError if there are too many in flight.
    """
    declared = headers.get("content-length", "")
    length = int(declared) if declared.isascii() and declared.isdigit() else 0
    if length > limit:
        raise too_large(f"Content-Length is {length}", limit)
    hold.grow(length)
    try:
        body = bytearray(length)
    except MemoryError:
        raise OutOfMemoryError(f"there is no memory for a body of {length} bytes") from None
    end = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        start, end = end, end + len(chunk)
        if end > limit:
            raise too_large("more was sent", limit)
        hold.grow(end)
        body[start:end] = chunk
        if not message.get("more_body", False):
            break
    if end < length:
        raise MalformedJsonError(f"the body ended after {end} of {length} bytes")
    return body


async def unless_left(coming: Awaitable[T], receive: Receive) -> T:
    """What comes, unless the client leaves before it: then it is cancelled, and ClientDisconnect.

    The whole body has been read, so `receive` has nothing to tell but that.
    """
    answering = asyncio.ensure_future(coming)
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


def too_large(found: str, limit: int) -> BodyTooLargeError:
    """The error for a body over the limit, and what was found of it."""
    return BodyTooLargeError(
        f"the body may have {limit} bytes (SERVICE_MAX_BODY_BYTES); {found}",
        hint='{"shape": ..., "b64": ...} takes less room than decimal digits',
    )


def formats(headers: Mapping[bytes, bytes]) -> Formats:
    """The formats of body and answer that a request's raw headers ask for."""
    return _formats(*map(headers.get, NEGOTIATED))


@lru_cache(maxsize=256)
def _formats(*values: bytes | None) -> Formats:
    given = zip(NEGOTIATED, values, strict=True)
    headers = headers_of((name, value) for name, value in given if value is not None)
    return request_codec(headers), answer_codecs(headers)


def request_codec(headers: Mapping[str, str]) -> Reader:
    """The codec that reads the body; JSON when no `Content-Type` says otherwise."""
    media_type = headers.get("content-type", JSON).partition(";")[0].strip().lower()
    reader = READERS.get(media_type)
    if reader is None:
        hint = f"send the header 'Content-Type: {JSON}'" if media_type in FORMS else None
        raise UnsupportedMediaTypeError(
            f"Content-Type {quote(media_type)} is not read; send one of {', '.join(READERS)}",
            hint=hint,
        )
    return coded_reader(reader, headers.get("content-encoding"))


def answer_codecs(headers: Mapping[str, str]) -> tuple[Writer, ...]:
    """The codecs that the client accepts, those of the highest quality first."""
    names = accepted(headers, SERVED)
    return tuple(coded_writer(WRITERS[name], headers.get("accept-encoding")) for name in names)


def writer_for(writers: tuple[Writer, ...], dtype: torch.dtype) -> Writer:
    """The first of the accepted codecs that holds a result of `dtype`, or a NotAcceptableError."""
    for writer in writers:
        if dtype in writer.dtypes:
            return writer
    able = [name for name, each in WRITERS.items() if dtype in each.dtypes]
    raise NotAcceptableError(
        f"{writers[0].media_type} cannot hold {describe(dtype).name}, the dtype of the result; "
        f"{', '.join(able)} can",
        hint=f"send 'Accept: {able[-1]}'",
    )


def negotiate(headers: Mapping[str, str], served: tuple[str, ...]) -> str:
    """The media type, of those served, that the client accepts with the highest quality."""
    return accepted(headers, served)[0]


def accepted(headers: Mapping[str, str], served: tuple[str, ...]) -> list[str]:
    """The media types, of those served, that the client accepts: by quality, then as served.

    NotAcceptableError lists what is served.
    """
    accept = headers.get("accept", "*/*")
    wanted = ranges(accept)
    qualities = {name: _quality(name, wanted) for name in served}
    found = sorted((name for name in served if qualities[name] > 0), key=lambda n: -qualities[n])
    if not found:
        raise NotAcceptableError(
            f"Accept {quote(accept)} admits no format; served are {', '.join(served)}",
            hint=f"send 'Accept: {served[0]}', or no Accept",
        )
    return found


def _quality(media_type: str, wanted: Ranges) -> float:
    family = media_type.partition("/")[0]
    return quality(wanted, media_type, f"{family}/*", "*/*")


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
