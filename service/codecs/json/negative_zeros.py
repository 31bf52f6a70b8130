"""Negative zeros that are written as integers.

`-0` is a number of its own in RFC 8259, and -0.0 in a float dtype. orjson reads it as the integer
0. It reads `-0.0` as it is, so the text is changed to that before it is read again.
"""

import re
from typing import Final

from service.codecs.base import Body

STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# `1e-0` has an exponent, and `-0.5` and `-0e1` are floats already.
TOKEN: Final = rb"(?<![eE])-0(?![.0-9eE])"
ZERO_OR_STRING: Final = re.compile(b"%b|%b" % (STRING.pattern, TOKEN), re.DOTALL)


def state_negative_zeros(body: Body) -> bytes | None:
    """Return the text with `-0.0` for each number `-0`, or None if it has none."""
    text = bytes(body)
    if text.count(b"-0") == text.count(b"-0."):
        return None
    stated = ZERO_OR_STRING.sub(_state, text)
    return stated if len(stated) > len(text) else None


def _state(found: re.Match[bytes]) -> bytes:
    token = found[0]
    return b"-0.0" if token == b"-0" else bytes(token)
