"""JSON bytes to the fields of a request, strictly (RFC 8259, with unique keys as in RFC 7493).

All errors about the text as JSON are raised here. The fields are checked elsewhere.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection
from typing import Any, Final, NoReturn

import numpy as np
import orjson

from service.codecs.base import Body, DecodeContext, SlowTextError, Text
from service.codecs.json.negative_zeros import STRING, state_negative_zeros
from service.codecs.json.nested import nesting_error
from service.codecs.json.rounding import OverflowedFloat, SettledArray, WrittenFloat
from service.codecs.json_pointer import kind_of
from service.codecs.number_text import Extracted
from service.errors import (
    DuplicateKeyError,
    InvalidFieldError,
    InvalidUtf8Error,
    MalformedJsonError,
    Place,
    escape,
    quote,
)

BOM: Final = b"\xef\xbb\xbf"
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
NONFINITE_TOKEN: Final = re.compile(STRING.pattern.decode() + "|(-?(?:NaN|Infinity))", re.DOTALL)
# So begins orjson's message where it has no memory for the text.
NO_MEMORY: Final = "Not enough memory"
NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def read_document(
    body: Body,
    operands: Collection[str] | None,
    context: DecodeContext,
    *,
    list_field: str = "operands",
) -> dict[str, object]:
    """Return the top-level fields.

    `operands` names the fields that are operands; if None, the operands are the items of the list
    in the field `list_field`. No field but the data of an operand is nested deeper than the limit:
    the depth of data is checked when they are read. Raises SlowTextError.
    """
    if len(body) > context.max_slow_bytes:
        raise SlowTextError
    if context.exact:
        return _reread_exactly(body)
    text = bytes(body) if isinstance(body, memoryview) else body
    try:
        document = orjson.loads(text)
        if b"-0" in text and (stated := state_negative_zeros(text)) is not None:
            document = orjson.loads(stated)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith(NO_MEMORY):
            raise MemoryError from None
        document = _reread(text, error, context)
    if not isinstance(document, dict):
        refuse_deep(text, context)
        raise InvalidFieldError(
            "the body is a JSON object with the fields of the operation; "
            f"it was {kind_of(document)}",
            places=[Place("", "expected an object")],
        )
    if not _has_all_pairs(document, text, operands, context, list_field):
        refuse_deep(text, context)
        refuse_duplicate_keys(text)
    return document


def read_extracted(
    extracted: Extracted,
    operands: Collection[str] | None,
    context: DecodeContext,
    *,
    list_field: str = "operands",
) -> dict[str, object] | None:
    """Return the fields as `read_document` does, with each array that was extracted in its operand.

    None if what stands around the arrays is not plain: the whole text has to be read.
    """
    text, arrays = extracted
    try:
        document: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    # A `-0` that is left would be a number alone.
    if b"-0" in text or not _has_all_pairs(document, text, operands, context, list_field):
        return None
    names = None if operands is None else tuple(operands)
    for position, in_object, numbers, _, is_doubtful in arrays:
        array = numbers if is_doubtful else numbers.view(SettledArray)
        holder: Any = document[list_field] if names is None else document
        key: Any = position if names is None else names[position]
        if in_object:
            holder, key = holder[key], "data"
        holder[key] = array
    return document


def _has_all_pairs(
    document: dict[str, object],
    text: Text,
    operands: Collection[str] | None,
    context: DecodeContext,
    list_field: str,
) -> bool:
    """Return whether no pair of the text is missing: orjson keeps the last of two with one key.

    Without escapes, each colon of the text belongs to a pair or to a string.
    """
    colons = _count_colons(document, operands, context, list_field)
    return colons == text.count(b":") and b"\\" not in text


def refuse_deep(text: Body, context: DecodeContext) -> None:
    """Raise NestingError if arrays and objects are nested deeper than the limit anywhere."""
    if depth_of(text) > context.max_nesting:
        raise nesting_error(context)


def refuse_deep_extracted(
    extracted: Extracted, operands: Collection[str] | None, context: DecodeContext
) -> None:
    """Do the same for a text whose arrays were extracted: only what is around them is searched."""
    text, arrays = extracted
    around = 1 if operands is not None else 2
    depths = (around + in_object + array.ndim for _, in_object, array, _, _ in arrays)
    if max(depths, default=0) > context.max_nesting:
        raise nesting_error(context)
    refuse_deep(text, context)


def depth_of(text: Body) -> int:
    """Return the greatest number of arrays and objects that are nested in each other."""
    brackets = np.frombuffer(STRING.sub(b"", text).translate(None, NOT_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(steps.cumsum().max(initial=0))


def _count_colons(
    fields: dict[str, object],
    operands: Collection[str] | None,
    context: DecodeContext,
    list_field: str,
) -> int:
    """Return the number of pairs and of colons in strings, without the data of operands."""
    names = (list_field,) if operands is None else operands
    total = 0
    for key, value in fields.items():
        total += 1 + key.count(":")
        if key not in names:
            total += _colons(value, 2, context)
        elif operands is None and isinstance(value, list):
            total += sum(_operand_colons(each, 3, context) for each in value)
        else:
            total += _operand_colons(value, 2, context)
    return total


def _operand_colons(value: object, depth: int, context: DecodeContext) -> int:
    if isinstance(value, dict):
        plain = {key: 0 if key == "data" else each for key, each in value.items()}
        return _colons(plain, depth, context)
    return _colons(value, depth, context) if isinstance(value, str) else 0


def _colons(value: object, depth: int, context: DecodeContext) -> int:
    if isinstance(value, str):
        return value.count(":")
    if not isinstance(value, list | dict):
        return 0
    if depth > context.max_nesting:
        raise nesting_error(context)
    if isinstance(value, list):
        return sum(_colons(each, depth + 1, context) for each in value)
    pairs: int = sum(1 + key.count(":") for key in value)
    return pairs + sum(_colons(each, depth + 1, context) for each in value.values())


def _reread(body: Text, error: orjson.JSONDecodeError, context: DecodeContext) -> object:
    """Return the document that orjson refused for a number beyond float64, or raise the error.

    Such a number is an `OverflowedFloat`, so that the error can point at it.
    """
    if not body.strip(b" \t\r\n"):
        raise MalformedJsonError(
            f"the body is empty ({len(body)} bytes); it has to be a JSON object",
            hint='such as {"a": [[1, 2]], "b": [[3], [4]]}',
        )
    if body.startswith(BOM):
        raise MalformedJsonError(
            "the body begins with a byte order mark (EF BB BF), which JSON does not",
            hint="write it as UTF-8 without one",
        )
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        raise InvalidUtf8Error(
            f"byte {wrong.start} of the body (0x{body[wrong.start]:02x}) is not UTF-8: "
            f"{wrong.reason}",
            hint="send the text encoded as UTF-8",
        ) from None
    refuse_deep(text[: error.pos + 1].encode(), context)
    number = NUMBER.match(text, error.pos)
    if number is None or not math.isinf(float(number[0])):
        _refuse_malformed(text, error.pos, error.msg)
    try:
        return json.loads(
            text, parse_float=_number, parse_int=_integer, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as wrong:
        _refuse_malformed(text, wrong.pos, wrong.msg)
    except _ConstantError:
        literal = next(match for match in NONFINITE_TOKEN.finditer(text) if match[1])
        _refuse_malformed(text, literal.start(), "unexpected character")


class _ConstantError(Exception):
    """A bare NaN or Infinity."""


def _refuse_constant(_: str) -> NoReturn:
    raise _ConstantError


def _reread_exactly(body: Body) -> dict[str, object]:
    """Return the fields of a document that was read before, with the text of each number.

    Integers within 64 bits are exact without it.
    """
    found: dict[str, object] = json.loads(
        bytes(body).decode(), parse_float=_number, parse_int=_integer
    )
    return found


def _number(text: str) -> float:
    value = WrittenFloat(text)
    return OverflowedFloat(value) if math.isinf(value) else value


def _integer(text: str) -> int | float:
    """Return an integer as orjson reads it, a float if it is beyond 64 bits; `-0` is -0.0."""
    if text == "-0":
        return -0.0
    value = int(text) if len(text) <= 20 else _number(text)
    return value if -(2**63) <= value < 2**64 else _number(text)


def _refuse_malformed(text: str, position: int, why: str) -> NoReturn:
    """Raise MalformedJsonError with line, column and text of a position."""
    start = position - (text[position - 1 : position] == "-")
    literal = NONFINITE_TOKEN.match(text, start)
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    found = f"found {quote(text[position : position + 12])}" if text[position:] else "it ends there"
    raise MalformedJsonError(
        f"the body is not JSON: {why[:1].lower()}{why[1:]} at line {line}, column {column} "
        f"(character {position}); {found}",
        hint='write "NaN", "Infinity" and "-Infinity" in quotes'
        if literal and literal[1]
        else None,
    )


class _DuplicateKeyObject(dict[str, object]):
    """An object with two pairs for `key`."""

    key: str


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    doubled = _DuplicateKeyObject(plain)
    times = Counter(key for key, _ in pairs)
    doubled.key = next(key for key, count in times.items() if count > 1)
    return doubled


def refuse_duplicate_keys(body: Text, pointer: str = "") -> None:
    """Raise DuplicateKeyError if an object of a well-formed document has a key twice.

    `pointer` is that of the document within the request.
    """
    # Numbers are not needed here, and `int` refuses texts of more than 4300 digits.
    document = json.loads(body.decode(), object_pairs_hook=_object, parse_int=len, parse_float=len)
    found: list[tuple[str, object]] = [(pointer, document)]
    while found:
        pointer, value = found.pop()
        if isinstance(value, _DuplicateKeyObject):
            raise DuplicateKeyError(
                f"the key {quote(value.key)} appears twice in "
                + (f"the object at {pointer}" if pointer else "the body"),
                hint="send it once",
                places=[Place(f"{pointer}/{escape(value.key)}", "appears twice")],
            )
        if isinstance(value, dict):
            found += ((f"{pointer}/{escape(key)}", each) for key, each in value.items())
        elif isinstance(value, list):
            found += ((f"{pointer}/{index}", each) for index, each in enumerate(value))
