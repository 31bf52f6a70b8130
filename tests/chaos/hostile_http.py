"""Bytes that two HTTP parsers could read in two ways, and other abuse of heads."""

from collections.abc import Mapping
from typing import Final

from tests.chaos.hostile_request import Hostile, post, posts
from tests.chaos.settings import MAX_BODY_BYTES, MAX_HEAD_BYTES

BODY: Final = b'{"x":[3,4]}'
HIDDEN: Final = b"GET /health/live HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"


def head(*lines: str, first: str = "POST /norm HTTP/1.1", end: str = "\r\n") -> bytes:
    """A head of these lines, whose connection closes after the answer."""
    return end.join((first, "host: here", "connection: close", *lines, "", "")).encode("latin-1")


LENGTH: Final = f"content-length: {len(BODY)}"
CHUNKED: Final = "transfer-encoding: chunked"
CHUNKS: Final = b"b\r\n" + BODY + b"\r\n0\r\n\r\n"

# One 400 and the end, whatever comes behind: nothing of it is read as a second request.
REFUSED: Final[tuple[bytes, ...]] = (
    head(LENGTH, CHUNKED) + CHUNKS, head(CHUNKED, LENGTH) + CHUNKS,
    head("content-length: 0", CHUNKED) + CHUNKS, head(LENGTH, "content-length: 12") + BODY,
    head(LENGTH, LENGTH) + BODY, head("content-length: 11, 12") + BODY,
    head("content-length: 11, 11") + BODY, head("content-length: +11") + BODY,
    head("content-length: -1") + BODY, head("content-length: 0x0b") + BODY,
    head("content-length: 11 11") + BODY, head("content-length: 1_1") + BODY,
    head("content-length: 11.0") + BODY, head("content-length: 1e1") + BODY,
    head("content-length: eleven") + BODY, head("content-length:") + BODY,
    head("content-length: \xb2") + BODY, head("content-length: 99999999999999999999999") + BODY,
    head("content-length: " + "9" * 5_000) + BODY, head("content-length : 11") + BODY,
    head("content-length\t: 11") + BODY, head("content-length: 11\x00") + BODY,
    head("content-length: 11\r\n folded: 1") + BODY, head("transfer-encoding : chunked") + CHUNKS,
    head("transfer-encoding: chunked\x00") + CHUNKS,
    head("transfer-encoding: \x0bchunked") + CHUNKS,
    head("transfer-encoding: chunked, identity") + CHUNKS,
    head("transfer-encoding: chunked, chunked") + CHUNKS,
    head("transfer-encoding: xchunked") + CHUNKS, head("transfer-encoding: chunked;q=1") + CHUNKS,
    head(CHUNKED, "transfer-encoding: identity") + CHUNKS,
    head("transfer-encoding: identity") + CHUNKS, head('transfer-encoding: "chunked"') + CHUNKS,
    head(CHUNKED) + b"x\r\n" + BODY, head(CHUNKED) + b"-b\r\n" + BODY,
    head(CHUNKED) + b"+b\r\n" + BODY, head(CHUNKED) + b"0xb\r\n" + BODY,
    head(CHUNKED) + b"\r\n" + BODY, head(CHUNKED) + b" b\r\n" + BODY,
    head(CHUNKED) + b"b \r\n" + BODY, head(CHUNKED) + b"ffffffffffffffffff\r\n" + BODY,
    head(CHUNKED) + b"a\r\n" + BODY + b"\r\n0\r\n\r\n",
    head(CHUNKED) + b"c\r\n" + BODY + b"\r\n0\r\n\r\n", head(CHUNKED) + b"b\n" + BODY + b"\n0\n\n",
    head(CHUNKED) + b"b\r" + BODY, head(CHUNKED) + b"b;\x00\r\n" + BODY,
    head(CHUNKED) + b"b\r\n" + BODY + b"0\r\n\r\n",
    head(CHUNKED) + b"b\r\n" + BODY + b"\r\n0\r\nx y: 1\r\n\r\n", head("a b: 1"), head(": 1"),
    head("a"), head("a\x00b: 1"), head("a: b\x00c"), head("a: b\rc"), head(" a: 1"), head("a[]: 1"),
    head("a: 1\r\n b: 2"), head("x(y): 1"), head("\xe9: 1"), head("a\x7f: 1"), head("a: \x01"),
    b" " + head(), b"\x00" + head(), b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\nhost: here\n\n", head(end="\n"),
    head(first="POST /norm HTTP/1.1 "), head(first="POST\t/norm\tHTTP/1.1"),
    head(first="POST /no rm HTTP/1.1"),
    head(first="POST /norm HTTP/1.10"), head(first="POST /norm http/1.1"),
    head(first="POST /norm HTTP/1,1"), head(first="/norm HTTP/1.1"),
    head(first="post /norm HTTP/1.1"), head(first="P\xd6ST /norm HTTP/1.1"),
    head(first="POST norm HTTP/1.1"), head(first="POST /no\x00rm HTTP/1.1"),
    head(first="POST /no\x01rm HTTP/1.1"), head(first="FOO /norm HTTP/1.1"),
    head(first="GET http:// HTTP/1.1"),
    b"\x80" * 1_000 + b"\r\n\r\n", head("host: here"), head("host: there"), head("host:"),
    *(head().replace(b"host: here", each) for each in (b"x: 1", b"host:", b"host: a b")),
)  # fmt: skip
# Served as it stands, once: what looks like another request is body, or is not read at all.
ONCE: Final[Mapping[tuple[int, str], tuple[bytes, ...]]] = {
    (400, "malformed-json"): (
        head(first="POST  /norm HTTP/1.1") + HIDDEN, head(first="POST /norm  HTTP/1.1") + HIDDEN,
        head(f"content-length: {len(HIDDEN)}") + HIDDEN, head("content-length: 0") + HIDDEN,
    ),
    (505, "http-version-not-supported"): (
        head(first="POST /norm HTTP/2.0") + HIDDEN, head(first="POST /norm") + HIDDEN,
        head(first="POST /norm HTTP/9.9") + HIDDEN,
    ),
    (200, ""): (
        head("content-length: 0000000011") + BODY, head(CHUNKED) + CHUNKS,
        head("Transfer-Encoding: Chunked") + CHUNKS,
        head(CHUNKED) + b"B;a=b\r\n" + BODY + b"\r\n000\r\n\r\n", head(LENGTH) + BODY + HIDDEN,
        head(CHUNKED) + CHUNKS + HIDDEN,
        head(LENGTH, first="POST http://here/norm HTTP/1.1") + BODY,
        head(LENGTH, first="POST http://evil.example/norm HTTP/1.1") + BODY,
        head(LENGTH, first="POST /%6eorm HTTP/1.1") + BODY,
        head(LENGTH, first="POST /norm/ HTTP/1.1") + BODY,
        head(LENGTH, first="POST /norm?" + "&" * 10_000 + " HTTP/1.1") + BODY,
        head(LENGTH, "x-request-id: a b\tc") + BODY,
        head(LENGTH, "x-request-id: " + "a" * 10_000) + BODY,
        head(LENGTH, "expect: nonsense") + BODY,
        head(LENGTH, "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__") + BODY,
        head(LENGTH, *(f"x{index}: 1" for index in range(2_000))) + BODY,
    ),
    (400, "malformed-request"): (
        head(CHUNKED) + b"b\r\n" + BODY + b"\r\n0\r\ncontent-length: 5\r\n\r\n",
    ),
    (501, "unsupported-transfer-coding"): (
        head("transfer-encoding: gzip, chunked") + CHUNKS,
        head("transfer-encoding: gzip", CHUNKED) + CHUNKS,
    ),
    (404, "not-found"): (
        head(LENGTH, first="POST //norm HTTP/1.1") + BODY,
        head(LENGTH, first="POST /norm/../norm HTTP/1.1") + BODY,
        head(LENGTH, first="POST /norm%00 HTTP/1.1") + BODY,
        head(LENGTH, first="POST /..%2f..%2fetc/passwd HTTP/1.1") + BODY,
        head(first="GET /../../etc/passwd HTTP/1.1"),
        head(first="GET /static/..%2f..%2fpyproject.toml HTTP/1.1"),
        head(first="GET /%ff%fe HTTP/1.1"), head(first="GET /" + "a" * 20_000 + " HTTP/1.1"),
        head(first="M-SEARCH * HTTP/1.1"),
    ),
    (405, "method-not-allowed"): (
        head(first="GET /norm HTTP/1.1"), head(first="PUT /norm HTTP/1.1"),
        head(first="DELETE /norm HTTP/1.1"),
        head(first="PATCH /norm HTTP/1.1"), head(first="CONNECT / HTTP/1.1"),
        head(first="TRACE /norm HTTP/1.1"), head(first="PROPFIND / HTTP/1.1"),
        head(first="POST /health/live HTTP/1.1"),
    ),
    (400, "duplicate-key"): (
        head(LENGTH, first="POST /norm?x=1&x=2 HTTP/1.1") + BODY,
        head(LENGTH, first="POST /norm?ord=2&ord=2 HTTP/1.1") + BODY,
    ),
    (400, "nesting-too-deep"): tuple(
        head(LENGTH, first=f"POST /norm?dim={'[' * depth}{']' * depth} HTTP/1.1") + BODY
        for depth in (65, 500, 1_000)
    ),
    (422, "unknown-field"): (
        head(LENGTH, first="POST /norm?%ff=1 HTTP/1.1") + BODY,
        head(LENGTH, first="POST /norm?nope=1 HTTP/1.1") + BODY,
    ),
    (422, "invalid-field"): (
        head(LENGTH, first="POST /norm?dim=[[[[ HTTP/1.1") + BODY,
    ),
    (431, "head-too-large"): (
        head(LENGTH, "a: " + "b" * MAX_HEAD_BYTES) + BODY,
        head(*(f"x{index}: 1" for index in range(10_000))),
        head(first="GET /" + "a" * MAX_HEAD_BYTES + " HTTP/1.1"), b"A" * (2 * MAX_HEAD_BYTES),
    ),
    (413, "body-too-large"): (
        head(f"content-length: {MAX_BODY_BYTES + 1}"), head("content-length: 9999999999"),
        head("content-length: 18446744073709551615"),
    ),
}  # fmt: skip
LATE: Final[tuple[bytes, ...]] = (
    b"P", b"POST", b"POST /norm", b"POST /norm HTTP/1.1\r\n", head()[:-2], head()[:-1],
    b"\r\n" * 10 + b"G", head(LENGTH), head(LENGTH) + BODY[:-1], head(CHUNKED),
    head(CHUNKED) + b"b\r\n", head(CHUNKED) + CHUNKS[:-2],
    head(CHUNKED) + b"b\r\n" + BODY + b"\r\n0\r\na: 1\r\n",
)  # fmt: skip
TYPES: Final[tuple[str, ...]] = (
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/xml", "application/x-pickle", "application/octet-stream", "application", "/",
    "*/*", "json", "application/json/x", "application/yaml", "application/json, application/json",
    "\xff", "a" * 10_000,
)  # fmt: skip
CODINGS: Final = (
    "br", "compress", "x", "gzip, gzip", "gzip,deflate,gzip", "gzip;q=1", "a" * 10_000,
)  # fmt: skip
WISHES: Final = (
    "text/html", "image/png", "application/x-pickle", "application/json;q=0", "*/*;q=0",
    "application/octet-stream;q=0", "application/xml, text/*", "application/json;q=-9", "\xff",
    "a" * 10_000, ",".join(f"text/x{index}" for index in range(1_000)),
)  # fmt: skip
KEPT: Final = post("/norm", BODY, {}, keep=True)

HTTP_RECORDS: Final[tuple[Hostile, ...]] = (
    *(Hostile("refused heads", wire + HIDDEN, (400,), "malformed-request") for wire in REFUSED),
    *(
        Hostile("served once", wire, (status,), code)
        for (status, code), group in ONCE.items()
        for wire in group
    ),
    *(Hostile("late", wire, (408,), "request-timeout") for wire in LATE),
    *(
        record
        for each in TYPES
        for record in posts("types", "/norm", {"unsupported-media-type": (BODY,)}, 415, kind=each)
    ),
    *(
        record
        for each in CODINGS
        for record in posts(
            "codings", "/norm", {"unsupported-media-type": (BODY,)}, 415, content_encoding=each
        )
    ),
    *(
        record
        for each in WISHES
        for record in posts("wishes", "/norm", {"not-acceptable": (BODY,)}, 406, accept=each)
    ),
    Hostile("pipelines", KEPT * 50 + HIDDEN, (200,) * 51, ""),
    Hostile("pipelines", KEPT + b"rubbish\r\n\r\n", (400,), "malformed-request"),
    Hostile("pipelines", KEPT[:-1] + b"\n" + HIDDEN, (400, 200), "malformed-json"),
)
