"""An HTTP response in its final bytes, before any framework."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Headers = tuple[tuple[bytes, bytes], ...]
# Bytes that are sent one after the other: joining them would copy megabytes.
Chunks = tuple[bytes | memoryview, ...]
# Up to here one write of joined chunks is quicker than several; joining large ones costs a copy.
JOINED_BYTES: Final = 65_536
END_OF_LINE: Final = b"\r\n"
# Headers of every response.
SECURITY_HEADERS: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(slots=True)  # frozen ones take 2 us to make
class HttpResponse:
    """Status, lines of headers and body of a response, whose chunks have `length` bytes together.

    The lines are those that are sent: to write all at once takes a quarter of the time of a tuple
    for each. The chunks are never joined.
    """

    status: int
    lines: bytes
    chunks: Chunks
    length: int

    @classmethod
    def of(
        cls, media_type: str, chunks: Chunks, lines: bytes = b"", *, status: int = 200
    ) -> "HttpResponse":
        """Return a response with `Content-Type` and `Content-Length` before other headers."""
        length = sum(map(len, chunks))
        content = b"content-type: %b\r\ncontent-length: %d\r\n" % (media_type.encode(), length)
        return cls(status, content + lines, chunks, length)

    @property
    def headers(self) -> Headers:
        """Name and value of each header, for servers that write the lines themselves."""
        lines = self.lines.split(END_OF_LINE)[:-1]
        pairs = (line.partition(b": ") for line in lines)
        return tuple((name, value) for name, _, value in pairs)


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the lines of these headers."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
