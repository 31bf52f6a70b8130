"""Fields in a query string: texts to the values that they would be in JSON.

Numbers, words, `true`, `false` and `null` are written plainly, lists as JSON text. The values are
not validated here: `service.codecs.request` validates them like those of a JSON body.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from service.codecs.base import DecodeContext
from service.codecs.json.document import refuse_deep, refuse_duplicate_keys
from service.codecs.json.rounding import OverflowedFloat
from service.errors import InvalidFieldError, Place, UnknownFieldError, escape, quote
from service.registry import Op

LITERALS: Final = {"true": True, "false": False, "null": None}
NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
# Fields whose values are always words, even those that read as numbers. None is named `null`.
WORDS: Final = ("strategy", "device", "dtype", "output", "precision")


def read_query(query: Mapping[str, str], op: Op[Any], context: DecodeContext) -> dict[str, object]:
    """Return the fields of a query string by name.

    Operands are not allowed there: UnknownFieldError. DuplicateKeyError for an object with a key
    twice.
    """
    if not query:
        return {}
    if given := [name for name in query if name in op.tensor_fields]:
        raise UnknownFieldError(
            f"the query string has {quote(given[0])}, which is an operand",
            hint="send operands in the body",
            places=[Place(f"/{name}", "an operand") for name in given],
        )
    params = (*op.params, *context.params)
    words = {*WORDS, *(each.name for each in params if each.schema.get("type") == "string")}
    required = {each.name for each in params if each.required}
    return {
        name: text
        if name in words and (text != "null" or name in required)
        else _value(name, text, context)
        for name, text in query.items()
    }


def _value(name: str, text: str, context: DecodeContext) -> object:
    if text in LITERALS:
        return LITERALS[text]
    if not (text.startswith(("[", '"')) or NUMBER.fullmatch(text)):
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        if NUMBER.fullmatch(text):
            return OverflowedFloat(text)
        raise InvalidFieldError(
            f"{quote(name)} of the query string is no JSON: {quote(text)}",
            hint="lists are JSON text, such as [0,1]; words stand plain",
            places=[Place(f"/{escape(name)}", "malformed JSON text")],
        ) from None
    refuse_deep(text.encode(), context)
    if "{" in text:
        refuse_duplicate_keys(text.encode(), f"/{escape(name)}")
    return value
