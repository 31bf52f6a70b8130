"""Lists with quality values, as `Accept` and `Accept-Encoding` are (RFC 9110, section 12.4.2)."""

import re
from collections.abc import Sequence
from typing import Final

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
