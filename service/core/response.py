"""An HTTP response in its final bytes, before any framework."""

from dataclasses import dataclass
from typing import Final

Headers = tuple[tuple[bytes, bytes], ...]
# Bytes that are sent one after the other: joining them would copy megabytes.
Chunks = tuple[bytes | memoryview, ...]
# Up to here one write of joined chunks is quicker than several; joining large ones costs a copy.
JOINED_BYTES: Final = 65_536
# Headers of every response.
SECURITY_HEADERS: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(slots=True)  # frozen ones take 2 us to make
class HttpResponse:
    """Status, headers and body of a response; the chunks of the body are never joined."""

    status: int
    headers: Headers
    chunks: Chunks

    @classmethod
    def of(
        cls, media_type: str, chunks: Chunks, headers: Headers = (), *, status: int = 200
    ) -> "HttpResponse":
        """Return a response with `Content-Type` and `Content-Length` before other headers."""
        length = b"%d" % sum(map(len, chunks))
        content = ((b"content-type", media_type.encode()), (b"content-length", length))
        return cls(status, (*content, *headers), chunks)
