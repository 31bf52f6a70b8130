"""How to race: the fields of a compare request beside those of its operation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.core.validators import integer, is_number, refuse, text
from service.registry import Param


@dataclass(frozen=True)  # no slots: the fields below take its defaults
class CompareOptions:
    """How to race: `strategies` and `devices` are all of them when empty."""

    strategies: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    baseline: str | None = None
    repeat: int = 20
    budget_ms: int = 1000
    rtol: float = 1e-3
    atol: float = 1e-5

    @classmethod
    def of(cls, parsed: Mapping[str, Any]) -> "CompareOptions":
        """The options that PARAMS parsed; a name that is null is the default."""
        return cls(**{name: value for name, value in parsed.items() if value is not None})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _names(name: str) -> Callable[[object], tuple[str, ...]]:
    def parse(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > 64 or not all(map(_is_text, value)):
            refuse(name, value, "a list of names")
        return tuple(dict.fromkeys(value))

    return parse


def _tolerance(name: str) -> Callable[[object], float]:
    def parse(value: object) -> float:
        if not is_number(value) or value < 0:
            refuse(name, value, "a number from 0")
        return float(value)

    return parse


_NAMES: Final = {"type": "array", "items": {"type": "string"}, "maxItems": 64}
_TOLERANCE: Final = {"type": "number", "minimum": 0}

# The fields of a compare request beside those of its operation.
PARAMS: Final = (
    Param("strategies", "Which to race; all of them unless named.", _NAMES, _names("strategies")),
    Param("devices", 'Where to race, such as ["cpu", "cuda"].', _NAMES, _names("devices")),
    Param(
        "baseline",
        "What speed-ups are over; the slowest that ran unless named.",
        {"type": "string"},
        text("baseline", longest=64),
    ),
    Param(
        "repeat",
        "The most runs of a strategy.",
        {"type": "integer", "minimum": 1, "maximum": 1000},
        integer("repeat", least=1, most=1000),
        default=CompareOptions.repeat,
    ),
    Param(
        "budget_ms",
        "The most time for all runs; each strategy runs once in any case.",
        {"type": "integer", "minimum": 1, "maximum": 60_000},
        integer("budget_ms", least=1, most=60_000),
        default=CompareOptions.budget_ms,
    ),
    Param(
        "rtol",
        "Relative tolerance of the agreement with float64.",
        _TOLERANCE,
        _tolerance("rtol"),
        default=CompareOptions.rtol,
    ),
    Param(
        "atol",
        "Absolute tolerance of the agreement with float64.",
        _TOLERANCE,
        _tolerance("atol"),
        default=CompareOptions.atol,
    ),
)
