"""Reading a body within its limit, and agreeing on formats."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from service.api.errors import BodyTooLargeError, NotAcceptableError, UnsupportedMediaTypeError
from service.errors import (
    DuplicateKeyError,
    MalformedJsonError,
    quote,
)
from service.wire import CODECS, NO_FIELDS, Codec

JSON: Final = "application/json"
QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by their names, which are in small letters."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


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


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int) -> bytearray:
    """The whole body, in one buffer; BodyTooLargeError before more than `limit` bytes are kept."""
    declared = headers.get("content-length", "")
    length = int(declared) if declared.isascii() and declared.isdigit() else 0
    if length > limit:
        raise _too_large(f"Content-Length is {length}", limit)
    body = bytearray(length)
    end = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        start, end = end, end + len(chunk)
        if end > limit:
            raise _too_large("more was sent", limit)
        body[start:end] = chunk
        if not message.get("more_body", False):
            break
    if end < length:
        raise MalformedJsonError(f"the body ended after {end} of {length} bytes")
    return body


def _too_large(found: str, limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body may have {limit} bytes (SERVICE_MAX_BODY_BYTES); {found}",
        hint='{"shape": ..., "b64": ...} takes less room than decimal digits',
    )


def request_codec(headers: Mapping[str, str]) -> Codec:
    """The codec that reads the body; JSON when no `Content-Type` says otherwise."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaTypeError(
            f"Content-Encoding {quote(encoding)} is not read", hint="send the body as it is"
        )
    media_type = headers.get("content-type", JSON).partition(";")[0].strip().lower()
    codec = CODECS.get(media_type)
    if codec is None:
        hint = f"send the header 'Content-Type: {JSON}'" if media_type in FORMS else None
        raise UnsupportedMediaTypeError(
            f"Content-Type {quote(media_type)} is not read; send one of {', '.join(CODECS)}",
            hint=hint,
        )
    return codec


def answer_codec(headers: Mapping[str, str]) -> Codec:
    """The codec that the client accepts with the highest quality, the first of equals."""
    return CODECS[negotiate(headers, tuple(CODECS))]


def negotiate(headers: Mapping[str, str], served: Sequence[str]) -> str:
    """The media type, of those served, that the client accepts with the highest quality.

    NotAcceptableError lists what is served; the first of equals wins.
    """
    accept = headers.get("accept", "*/*")
    if accept in ("*/*", served[0]):
        return served[0]
    ranges = _ranges(accept)
    best = max(served, key=lambda name: _quality(name, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptableError(
            f"Accept {quote(accept)} admits no format; served are {', '.join(served)}",
            hint=f"send 'Accept: {served[0]}', or no Accept",
        )
    return best


def _ranges(accept: str) -> Sequence[tuple[str, float]]:
    """Media ranges and their quality (RFC 9110, section 12.5.1); a malformed quality is 0."""
    ranges = []
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                quality = _number(value.strip())
        ranges.append((name, quality))
    return ranges


def _number(text: str) -> float:
    return float(text) if QUALITY.fullmatch(text) else 0.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Quality of a media type: the most specific range that matches it decides."""
    family = media_type.partition("/")[0]
    for wanted in (media_type, f"{family}/*", "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0
