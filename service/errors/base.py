"""Base class of all errors, and functions that quote input in a limited length."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

MAX_PLACES = 20
MAX_QUOTED = 64
MAX_DETAIL = 1000


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
    """Return the repr of a value from a client, short enough for a response."""
    if isinstance(value, int) and value.bit_length() > 4 * MAX_QUOTED:
        return f"an integer of {value.bit_length()} bits"
    text = value[: MAX_QUOTED + 1] if isinstance(value, str) else value
    return clip(repr(text), MAX_QUOTED)


def escape(key: str) -> str:
    """Return a key as a step of a pointer, cut to the length that an error may quote."""
    return clip(key, MAX_QUOTED).replace("~", "~0").replace("/", "~1")


def quote_names(names: Iterable[str]) -> str:
    """Return names from a client for a message, in the length that an error may quote."""
    return clip(", ".join(names), MAX_QUOTED)


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice spelt most like `name`, for a hint; None if none is similar."""
    return next(iter(get_close_matches(name[:MAX_QUOTED], list(choices), n=1)), None)


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
