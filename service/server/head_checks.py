"""Checks of a head that the parser leaves to its server: version, Host, codings, target."""

import re
from collections.abc import Sequence
from typing import Final

from httptools import parse_url

from service.errors import quote
from service.http.errors import (
    HttpVersionError,
    MalformedRequestError,
    UnsupportedTransferCodingError,
)

# A name, an IPv4 address or an IPv6 address in brackets, and a port (RFC 3986, section 3.2).
HOST: Final = re.compile(rb"(\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(:[0-9]*)?")
MAJOR: Final = "1."
BEFORE_HOST: Final = "1.0"
CHUNKED: Final = "chunked"
RawHeaders = Sequence[tuple[bytes, bytes]]


def check_head(version: str, headers: RawHeaders) -> None:
    """Raise MalformedRequestError for an unclear host, and for a body without a clear end.

    HttpVersionError for another major version: its requests have another form. A minor version
    beyond 1.1 is served as 1.1 (RFC 9110, section 2.5).
    UnsupportedTransferCodingError for a body that is coded otherwise than in chunks. A proxy in
    front of this server might take such a request for another one.
    """
    if not version.startswith(MAJOR):
        raise HttpVersionError(f"HTTP/{version} is not spoken here; HTTP/1.1 is")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        if hosts or version != BEFORE_HOST:
            raise MalformedRequestError(f"the request has {len(hosts)} Host headers; send one")
    elif not HOST.fullmatch(hosts[0].strip(b" \t")):
        raise MalformedRequestError(
            f"Host {_quoted(hosts[0])} is not a name or an address, with a port or without"
        )
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        _check_codings(b",".join(codings))


def _check_codings(given: bytes) -> None:
    names = [name.strip().lower() for name in given.decode("latin-1").split(",")]
    *others, last = [name for name in names if name] or [""]
    if last != CHUNKED or CHUNKED in others:
        raise MalformedRequestError(
            f"Transfer-Encoding {_quoted(given)} does not end with its one {CHUNKED}, so that the "
            "end of the body is unknown"
        )
    if others:
        raise UnsupportedTransferCodingError(
            f"Transfer-Encoding {_quoted(given)} is not read; {CHUNKED} alone is",
            hint="compress by Content-Encoding instead",
        )


def _quoted(value: bytes) -> str:
    return quote(value.decode("latin-1"))


def with_path(target: bytes) -> bytes:
    """Return `/` and the query of an absolute target without a path; other targets as they are."""
    if target == b"*":  # of OPTIONS
        return target
    url = parse_url(target)
    return target if url.path else b"/" + (b"?" + url.query if url.query else b"")
