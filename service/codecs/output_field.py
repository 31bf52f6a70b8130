"""The field `output`: the form of the result in a JSON response, or the name to store it under."""

from typing import Final

from service.codecs.base import Arrays, DecodeContext
from service.core.call import OUTPUTS, Output
from service.core.validators import boolean, choice
from service.errors import (
    ArrayUnavailableError,
    InvalidFieldError,
    Place,
    UnknownFieldError,
    did_you_mean,
    escape,
    quote,
)

STORE_KEYS: Final = ("store", "overwrite")
_OUTPUT: Final = choice("output", OUTPUTS)
_OVERWRITE: Final = boolean("overwrite")


def parse_output(value: object, context: DecodeContext) -> Output:
    """Return one of `OUTPUTS`, or the target that the result is stored in."""
    if not context.has_outputs:
        raise InvalidFieldError(
            "output chooses among the forms of JSON answers; the answer asked for is none",
            hint="leave it out, or send 'Accept: application/json'",
            places=[Place("/output", "expected no such field")],
        )
    return _parse_store_target(value, context) if isinstance(value, dict) else _OUTPUT(value)


def _parse_store_target(value: dict[str, object], context: DecodeContext) -> Output:
    """Return the store target of an object with `store` and optionally `overwrite`."""
    if unknown := [key for key in value if key not in STORE_KEYS]:
        raise UnknownFieldError(
            f"output has {quote(unknown[0])}; an object there has {' and '.join(STORE_KEYS)}",
            hint=did_you_mean(unknown[0], STORE_KEYS),
            places=[Place(f"/output/{escape(unknown[0])}", "unknown field")],
        )
    overwrite = value.get("overwrite")
    overwrite = False if overwrite is None else _OVERWRITE(overwrite)
    pointer = "/output/store"
    return arrays_of(context, pointer).store_target(
        value.get("store"), pointer, overwrite=overwrite
    )


def arrays_of(context: DecodeContext, pointer: str) -> Arrays:
    """Return the stored arrays; ArrayUnavailableError if the service has none."""
    if context.arrays is None:
        raise ArrayUnavailableError(
            "this service has no stored arrays: SERVICE_DATA is not set",
            hint="send the elements",
            places=[Place(pointer, "not available")],
        )
    return context.arrays
