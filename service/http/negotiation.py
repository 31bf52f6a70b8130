"""Content negotiation: query strings, formats of body and answer, content codings.

Lists with quality values are those of RFC 9110, section 12.4.2, and what clients make of them: a
quality that cannot be read is 1, and one out of range the nearest end of the range.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

import torch

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
from service.codecs.chain import CHAIN_WRITERS
from service.codecs.compression import PACKERS
from service.codecs.media_types import JSON
from service.core.dtypes import describe
from service.errors import DuplicateKeyError, quote
from service.http.errors import NotAcceptableError, UnsupportedMediaTypeError

FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
IDENTITY: Final = "identity"
# The media types whose answers are compressed.
COMPRESSIBLE: Final = re.compile(rb"text/(?!event-stream)|application/([a-z.-]+\+)?json")
QUALITY: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
# A parameter may hold a comma or a semicolon within quotes.
QUOTED: Final = re.compile(r'"[^"]*"')
# The headers that formats are negotiated by.
FORMAT_HEADERS: Final = (b"content-type", b"content-encoding", b"accept", b"accept-encoding")
RawHeaders = Sequence[tuple[bytes, bytes]]
Formats = tuple[Reader, tuple[Writer, ...]]
Ranges = Sequence[tuple[str, float]]
EVERYTHING: Final[Ranges] = (("*/*", 1.0),)


def query_fields(query: bytes) -> Mapping[str, str]:
    """Return the fields of a query string; DuplicateKeyError if one is given twice."""
    if not query:
        return NO_FIELDS
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKeyError(f"the query string has {quote(twice)} twice", hint="send it once")
    return fields


def join_lines(raw: RawHeaders) -> RawHeaders:
    """Return raw headers in which each of FORMAT_HEADERS is one line (RFC 9110, section 5.3).

    A `Content-Type` of several lines is joined as well, which is no media type.
    """
    lines: dict[bytes, list[bytes]] = {name: [] for name in FORMAT_HEADERS}
    others = []
    for name, value in raw:
        if name in lines:
            lines[name].append(value)
        else:
            others.append((name, value))
    joined = [(name, b", ".join(values)) for name, values in lines.items() if values]
    return [*others, *joined]


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return raw headers as text, by their names, which are in small letters."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}


def formats(headers: Mapping[bytes, bytes]) -> Formats:
    """Return the formats of body and answer that raw headers state."""
    return _formats(*map(headers.get, FORMAT_HEADERS))


@lru_cache(maxsize=256)
def _formats(*values: bytes | None) -> Formats:
    given = zip(FORMAT_HEADERS, values, strict=True)
    headers = headers_of((name, value) for name, value in given if value is not None)
    return reader_for(headers), writers_for(headers)


def chain_formats(
    headers: Mapping[bytes, bytes], served: Mapping[str, Writer] = CHAIN_WRITERS
) -> Formats:
    """Return the formats of body and answer where answers may have several results."""
    texts = headers_of(headers.items())
    return reader_for(texts), writers_for(texts, served)


def reader_for(headers: Mapping[str, str]) -> Reader:
    """Return the codec of the body: JSON unless `Content-Type` names another."""
    given = headers.get("content-type", JSON)
    if "," in QUOTED.sub("", given):
        raise UnsupportedMediaTypeError(
            f"Content-Type {quote(given)} names several media types; a body has one",
            hint=f"send one header 'Content-Type: {JSON}'",
        )
    media_type = given.partition(";")[0].strip().lower()
    reader = READERS.get(media_type)
    if reader is None:
        hint = f"send the header 'Content-Type: {JSON}'" if media_type in FORMS else None
        raise UnsupportedMediaTypeError(
            f"Content-Type {quote(media_type)} is not read; send one of {', '.join(READERS)}",
            hint=hint,
        )
    return coded_reader(reader, headers.get("content-encoding"))


def writers_for(
    headers: Mapping[str, str], served: Mapping[str, Writer] = WRITERS
) -> tuple[Writer, ...]:
    """Return the codecs that the client accepts, those of the highest quality first."""
    names = accepted(headers, tuple(served))
    return tuple(coded_writer(served[name], headers.get("accept-encoding")) for name in names)


def writer_for(writers: tuple[Writer, ...], dtype: torch.dtype) -> Writer:
    """Return the first accepted codec that holds a result of `dtype`; else NotAcceptableError."""
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
    """Return the served media type that the client accepts with the highest quality."""
    return accepted(headers, served)[0]


def prefers(headers: Mapping[str, str], media_type: str, other: str) -> bool:
    """Return whether the client gives `media_type` a higher quality than `other`."""
    wanted = ranges(headers.get("accept", ""))
    return _quality(media_type, wanted) > _quality(other, wanted)


def accepted(headers: Mapping[str, str], served: tuple[str, ...]) -> list[str]:
    """Return the served media types that the client accepts: by quality, then as served.

    NotAcceptableError lists what is served.
    """
    accept = headers.get("accept", "")
    wanted = ranges(accept) or EVERYTHING
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
    # Java's URLConnection writes `*` for `*/*`.
    return quality(wanted, media_type, f"{family}/*", "*/*", "*")


def coded_reader(reader: Reader, coding: str | None) -> Reader:
    """Return the reader of a body with this `Content-Encoding`.

    UnsupportedMediaTypeError lists the codings that are read.
    """
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


def coded_writer(writer: Writer, accept_encoding: str | None) -> Writer:
    """Return the writer itself, or one that compresses by this `Accept-Encoding`."""
    if accept_encoding is None or not COMPRESSIBLE.match(writer.media_type.encode()):
        return writer
    coding = choose_coding(accept_encoding)
    return writer if coding == IDENTITY else PackingWriter(writer, coding)


def choose_coding(accept_encoding: str) -> str:
    """Return the coding that the client prefers: the quickest of equals, `identity` for none."""
    wanted = ranges(accept_encoding)
    best = max(PACKERS, key=lambda name: quality(wanted, name, "*"))
    found = quality(wanted, best, "*")
    return best if found > 0 and found >= quality(wanted, IDENTITY) else IDENTITY


def ranges(header: str) -> Ranges:
    """Return each name of a list and its quality, which is 1 unless it is stated."""
    found = []
    for item in QUOTED.sub("", header.lower()).split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        value = 1.0
        for parameter in parameters:
            key, _, text = parameter.partition("=")
            if key.strip() == "q":
                value = _number(text.strip())
        if name:
            found.append((name, value))
    return found


def quality(found: Ranges, *names: str) -> float:
    """Return the quality of the first of `names` that is listed: the most specific one decides."""
    for wanted in names:
        for name, value in found:
            if name == wanted:
                return value
    return 0.0


def _number(text: str) -> float:
    return min(1.0, max(0.0, float(text))) if QUALITY.fullmatch(text) else 1.0
