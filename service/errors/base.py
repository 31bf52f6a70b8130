"""Base class of all errors, and functions that quote input in a limited length."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import ClassVar

MAX_PLACES = 20
MAX_QUOTED = 64
MAX_DETAIL = 1000
# Of a name to a choice that a hint offers; 1 is that of equal ones.
LEAST_LIKENESS = 0.6


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the request as a JSON pointer, and the mistake there."""

    pointer: str
    detail: str


class ServiceError(Exception):
    """Base of all errors of a call. Each leaf has a `code` and a `title` of its own."""

    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, *, hint: str | None = None, places: Iterable[Place] = ()):
        """Describe the mistake (`detail`), a change that would work (`hint`), and where."""
        super().__init__(detail)
        self.detail = clip(detail, MAX_DETAIL)
        self.hint = None if hint is None else clip(hint, MAX_DETAIL)
        self.places = tuple(
            Place(clip(place.pointer, 200), clip(place.detail, MAX_DETAIL))
            for place, _ in zip(places, range(MAX_PLACES), strict=False)
        )

    def place_in(self, pointer: str, subject: str) -> None:
        """Name the part of the request that the mistake is in, by its pointer and as a subject."""
        self.detail = clip(f"{subject}: {self.detail}", MAX_DETAIL)
        self.args = (self.detail,)
        places = self.places or (Place("", "here"),)
        self.places = tuple(
            Place(clip(pointer + place.pointer, 200), place.detail) for place in places
        )


def clip(text: str, length: int) -> str:
    """Cut `text` to at most `length` characters, and replace lone surrogates (not UTF-8)."""
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.encode("utf-8", "replace").decode()


def quote(value: object) -> str:
    """Return a value from a client for a message: as JSON, but a string in single quotes.

    A shape is a tuple, `(2, 3)`. The text is short enough for a response. An infinity stands for a
    number beyond float64.
    """
    if isinstance(value, str):
        return clip(repr(value[: MAX_QUOTED + 1]), MAX_QUOTED)
    if isinstance(value, tuple):
        return clip(repr(tuple(value)), MAX_QUOTED)
    if isinstance(value, int) and value.bit_length() > 4 * MAX_QUOTED:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and math.isinf(value):
        return f"a number beyond {'-' * (value < 0)}1.8e308"
    return clip(json.dumps(value, ensure_ascii=False, default=repr), MAX_QUOTED)


def escape(key: str) -> str:
    """Return a key as a step of a pointer, cut to the length that an error may quote."""
    return clip(key, MAX_QUOTED).replace("~", "~0").replace("/", "~1")


def quote_names(names: Iterable[str]) -> str:
    """Return names from a client for a message, in the length that an error may quote."""
    return clip(", ".join(names), MAX_QUOTED)


def counted(count: int | str, noun: str, plural: str | None = None) -> str:
    """Return a number of things for a message: `1 row`, `2 rows`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice spelt most like `name`, for a hint; None if none is similar.

    Case does not matter. The first of equally similar ones is chosen.
    """
    matcher = SequenceMatcher(b=name[:MAX_QUOTED].lower())

    def likeness(choice: str) -> float:
        matcher.set_seq1(choice.lower())
        return matcher.ratio()

    best = max(choices, key=likeness, default=None)
    return best if best is not None and likeness(best) >= LEAST_LIKENESS else None


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """Return a hint with the nearest choice, or None."""
    near = nearest(name, choices)
    return None if near is None else f"did you mean {near!r}?"


def leaves(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Yield every error class with a code, in the order of the tree."""
    for child in root.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from leaves(child)
