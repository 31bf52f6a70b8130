"""The schemas of operands, and of the field that says what becomes of a result.

Each is a component of the document: generators of clients make a class of each name.
"""

from collections.abc import Sequence
from typing import Any, Final

from service.core.call import OUTPUTS
from service.core.dtypes import DTYPES

REF: Final = "#/components/schemas/{model}"
DTYPE_NAMES: Final = [*DTYPES, *(d.protocol for d in DTYPES.values() if d.protocol)]
SIZES: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}
NAME: Final = {"type": "string", "maxLength": 255, "examples": ["weights.npy"]}


def ref(model: str) -> dict[str, Any]:
    """A reference to a component."""
    return {"$ref": REF.format(model=model)}


def _object(
    properties: dict[str, Any], required: Sequence[str], text: str | None = None
) -> dict[str, Any]:
    found = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return found if text is None else found | {"description": text}


_STATED: Final = {"shape": SIZES, "dtype": ref("Dtype")}
_BASE64: Final = {"type": "string", "contentEncoding": "base64"}

SCHEMAS: Final[dict[str, Any]] = {
    "Dtype": {
        "type": "string",
        "enum": DTYPE_NAMES,
        # Generators name the members of an enum in capitals: int8 and INT8 would be one.
        "x-enum-varnames": [
            *map(str.upper, DTYPES),
            *(f"{name}_OIP" for name in DTYPE_NAMES if name.isupper()),
        ],
        "description": "A dtype; the names in capitals are those of the Open Inference Protocol.",
    },
    "Elements": _object(
        {**_STATED, "data": {"description": "Nested, or flat in row-major order."}}, ["data"]
    ),
    "Bytes": _object({**_STATED, "b64": _BASE64}, ["shape", "dtype", "b64"]),
    "Reference": _object(
        {**_STATED, "ref": NAME}, ["ref"], "An array in the folder SERVICE_DATA, by its name."
    ),
    "Shape": _object(_STATED, ["shape"]),
    "Tensor": {
        "description": "A nested array, a number, or an object that states shape and dtype.",
        "anyOf": [
            {"type": "number", "title": "Number"},
            {"type": "boolean", "title": "Boolean"},
            {"type": "array", "items": {}, "title": "Nested array"},
            ref("Elements"),
            ref("Bytes"),
            ref("Reference"),
        ],
    },
    "PlannedTensor": {
        "description": "A tensor, or its shape and dtype alone.",
        "anyOf": [ref("Tensor"), ref("Shape")],
    },
    "Store": _object(
        {"store": NAME, "overwrite": {"type": "boolean", "default": False}},
        ["store"],
        "Keep the result under a name; the answer has that as its `ref`.",
    ),
    "Output": {"anyOf": [{"enum": list(OUTPUTS), "title": "Form"}, ref("Store")]},
}

DTYPE: Final = ref("Dtype") | {
    "description": "dtype of plain arrays; float32 unless an operand states one."
}
OUTPUT: Final = ref("Output") | {
    "default": OUTPUTS[0],
    "description": "How the answer gives the result, or the name to store it under.",
}
