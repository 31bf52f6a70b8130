"""Options of a race: the fields of a compare request besides those of its operation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.core.arithmetic import PRECISIONS
from service.core.validators import choice, integer, is_number, refuse, text
from service.registry import Param


@dataclass(frozen=True)  # no slots: the fields below take its defaults
class CompareOptions:
    """Options of a race.

    If `strategies` is None, all strategies take part. If `devices` or `precisions` is None, that of
    the call is used.
    """

    strategies: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    baseline: str | None = None
    repeat: int = 20
    budget_ms: int = 1000
    rtol: float = 1e-3
    atol: float = 1e-5
    precisions: tuple[str, ...] | None = None

    @classmethod
    def of(cls, parsed: Mapping[str, Any]) -> "CompareOptions":
        """Return the options that PARAMS parsed; null means the default."""
        return cls(**{name: value for name, value in parsed.items() if value is not None})


def _is_text(value: object) -> bool:
    """Return whether `value` is a string."""
    return isinstance(value, str)


def _names(name: str, absent: str) -> Callable[[object], tuple[str, ...]]:
    """Return the parser of a list of names; `absent` is the meaning of a field left out."""

    def parse(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > 64 or not all(map(_is_text, value)):
            refuse(name, value, "a list of names")
        if not value:
            refuse(name, value, "a list of one name or more", hint=f"without {name}: {absent}")
        return tuple(dict.fromkeys(value))

    return parse


def _precisions(value: object) -> tuple[str, ...]:
    """Return the precisions of a list of names."""
    names = _names("precisions", "the call's precision")(value)
    return tuple(map(choice("precisions", PRECISIONS), names))


def _tolerance(name: str) -> Callable[[object], float]:
    """Return the parser of a tolerance."""

    def parse(value: object) -> float:
        if not is_number(value) or value < 0:
            refuse(name, value, "a number from 0")
        return float(value)

    return parse


_NAMES: Final = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}
_TOLERANCE: Final = {"type": "number", "minimum": 0}

# The fields of a compare request besides those of its operation.
PARAMS: Final = (
    Param(
        "strategies",
        "Strategies to race; all of them if absent.",
        _NAMES,
        _names("strategies", "all of them"),
    ),
    Param(
        "devices",
        'Devices to race on, such as ["cpu", "cuda"].',
        _NAMES,
        _names("devices", "the call's device"),
    ),
    Param(
        "precisions",
        'Precisions to race in, such as ["ieee", "tf32"].',
        _NAMES | {"items": {"enum": [*PRECISIONS]}},
        _precisions,
    ),
    Param(
        "baseline",
        "Strategy that speed-ups are relative to; the slowest that ran if absent.",
        {"type": "string"},
        text("baseline", longest=64),
    ),
    Param(
        "repeat",
        "Greatest number of runs of a strategy.",
        {"type": "integer", "minimum": 1, "maximum": 1000},
        integer("repeat", least=1, most=1000),
        default=CompareOptions.repeat,
    ),
    Param(
        "budget_ms",
        "Time for all runs in milliseconds; each strategy runs at least once.",
        {"type": "integer", "minimum": 1, "maximum": 60_000},
        integer("budget_ms", least=1, most=60_000),
        default=CompareOptions.budget_ms,
    ),
    Param(
        "rtol",
        "Relative tolerance of the agreement with the reference.",
        _TOLERANCE,
        _tolerance("rtol"),
        default=CompareOptions.rtol,
    ),
    Param(
        "atol",
        "Absolute tolerance of the agreement with the reference.",
        _TOLERANCE,
        _tolerance("atol"),
        default=CompareOptions.atol,
    ),
)
