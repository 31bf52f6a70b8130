"""Cache of a parsed head: the next request with the same head needs no parser."""

from dataclasses import dataclass
from typing import Final

from service.pipeline.application import AnyNegotiated

LENGTH: Final = b"\r\ncontent-length:"
# More digits than any limit on bodies has.
MOST_DIGITS: Final = 10
# Longer heads are not kept: each connection would hold one.
LONGEST_HEAD: Final = 2048


@dataclass(frozen=True, slots=True)
class CachedHead:
    """The head of a plain POST, whole and in two parts: before and after the digits of its length.

    Clients send the same head with each request of a connection; to parse and negotiate it takes as
    long as a small product. Binary bodies of one shape have the same length, too: then `text` is
    the whole head, and `size` that of head and body.
    """

    text: bytes
    size: int
    start: bytes
    rest: bytes
    query: bytes
    negotiated: AnyNegotiated

    def body_at(self, data: bytes) -> int:
        """Return the offset of the body if `data` is one whole request with this head, else 0."""
        if len(data) == self.size and data.startswith(self.text):
            return len(self.text)
        if not data.startswith(self.start):
            return 0
        digits_at = len(self.start)
        rest_at = data.find(b"\r", digits_at, digits_at + MOST_DIGITS + 1)
        if not data.startswith(self.rest, rest_at):
            return 0
        body_at = rest_at + len(self.rest)
        # Zeros before the digits are left to the parser.
        return body_at if data[digits_at:rest_at] == b"%d" % (len(data) - body_at) else 0


def cache_head(text: bytes, query: bytes, negotiated: AnyNegotiated) -> CachedHead | None:
    """Return the cached form of a head, its empty line included; None for an unusual one."""
    lower = text.lower()
    if len(text) > LONGEST_HEAD or lower.count(LENGTH) != 1:
        return None
    value_at = lower.index(LENGTH) + len(LENGTH)
    rest_at = lower.index(b"\r\n", value_at)
    digits = text[value_at:rest_at].lstrip(b" \t")  # a plain POST has nothing else there
    size = len(text) + int(digits)
    start, rest = text[: rest_at - len(digits)], text[rest_at:]
    return CachedHead(text, size, start, rest, query, negotiated)
