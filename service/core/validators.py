"""Parsers of small request fields, which return a checked value or raise InvalidFieldError."""

import math
from collections.abc import Callable, Iterable
from typing import NoReturn, TypeGuard

from service.errors import InvalidFieldError, Place, did_you_mean, quote

Parser = Callable[[object], object]


def refuse(name: str, value: object, wanted: str, *, hint: str | None = None) -> NoReturn:
    """Raise the error of a field, with what is expected and the value that was given."""
    raise InvalidFieldError(
        f"{name} is {wanted}; it was {quote(value)}",
        hint=hint,
        places=[Place(f"/{name}", f"expected {wanted}")],
    )


def choice(name: str, choices: Iterable[str]) -> Callable[[object], str]:
    """Return a parser of one of `choices`."""
    names = tuple(choices)

    def parse(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        hint = did_you_mean(value, names) if isinstance(value, str) else None
        refuse(name, value, f"one of {', '.join(names)}", hint=hint)

    return parse


def boolean(name: str) -> Callable[[object], bool]:
    """Return a parser of true or false."""

    def parse(value: object) -> bool:
        if isinstance(value, bool):
            return value
        refuse(name, value, "true or false")

    return parse


def text(name: str, *, longest: int) -> Callable[[object], str]:
    """Return a parser of a string of at most `longest` characters."""

    def parse(value: object) -> str:
        if isinstance(value, str) and len(value) <= longest:
            return value
        refuse(name, value, f"a string of at most {longest} characters")

    return parse


def integer(name: str, *, least: int, most: int) -> Callable[[object], int]:
    """Return a parser of an integer in `least..most`."""

    def parse(value: object) -> int:
        whole = as_integer(value)
        if whole is not None and least <= whole <= most:
            return whole
        refuse(name, value, f"an integer from {least} to {most}")

    return parse


def integers(value: object, *, longest: int = 64) -> tuple[int, ...] | None:
    """Return `value` as a tuple if it is a list of at most `longest` integers, else None."""
    if not isinstance(value, list) or len(value) > longest:
        return None
    whole = tuple(each for each in map(as_integer, value) if each is not None)
    return whole if len(whole) == len(value) else None


def as_integer(value: object) -> int | None:
    """Return `value` as an int if it is an integer of JSON Schema, as 1.0 and 1e3 are, else None.

    Beyond 64 bits a float may have been written as another integer.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**64:
        return int(value)
    return value if is_integer(value) else None


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether `value` is an int; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether `value` is a finite JSON number; booleans are not."""
    if is_integer(value):
        return abs(value) < 2**1023
    return isinstance(value, float) and math.isfinite(value)
