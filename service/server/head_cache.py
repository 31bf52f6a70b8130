"""Heads of requests that were parsed before, so that the next like it needs no parser."""

from dataclasses import dataclass
from typing import Final

from service.pipeline.inference import InferTerms
from service.pipeline.request import Negotiated

AnyTerms = Negotiated | InferTerms

LENGTH: Final = b"\r\ncontent-length:"
# Ten digits are more than any limit on bodies.
MOST_DIGITS: Final = 10
# Longer ones are not kept: each connection would hold its own.
LONGEST_HEAD: Final = 2048


@dataclass(frozen=True, slots=True)
class CachedHead:
    """The head of a plain POST, but for the digits of its Content-Length: `start` and `rest`.

    Clients send the same head with each request of a connection; to parse and negotiate it takes as
    long as a small product.
    """

    start: bytes
    rest: bytes
    query: bytes
    terms: AnyTerms

    def body_of(self, data: bytes) -> bytearray | None:
        """The body, if `data` is one whole request with this head; else None."""
        if not data.startswith(self.start):
            return None
        digits_at = len(self.start)
        rest_at = data.find(b"\r", digits_at, digits_at + MOST_DIGITS + 1)
        if not data.startswith(self.rest, rest_at):
            return None
        digits = data[digits_at:rest_at]
        body_at = rest_at + len(self.rest)
        length = len(data) - body_at
        if not digits.isdigit() or int(digits) != length or length > self.terms.max_body_bytes:
            return None
        return bytearray(data[body_at:])


def head_of(text: bytes, query: bytes, terms: AnyTerms) -> CachedHead | None:
    """The head that this is the whole text of, its empty line included; None if it is too odd."""
    lower = text.lower()
    if len(text) > LONGEST_HEAD or lower.count(LENGTH) != 1:
        return None
    value_at = lower.index(LENGTH) + len(LENGTH)
    rest_at = lower.index(b"\r\n", value_at)
    digits = text[value_at:rest_at].lstrip(b" \t")  # a plain POST has nothing else there
    return CachedHead(text[: rest_at - len(digits)], text[rest_at:], query, terms)
