"""The schemas of operands, and of the field that says what becomes of a result."""

from typing import Any, Final

from service.call import OUTPUTS
from service.dtypes import DTYPES

DTYPE_NAMES: Final = [*DTYPES, *(d.protocol for d in DTYPES.values() if d.protocol)]
SIZES: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}
NAME: Final = {"type": "string", "maxLength": 255, "examples": ["weights.npy"]}
TENSOR: Final[dict[str, Any]] = {
    "title": "Tensor",
    "description": "A nested array, a number, or an object that states shape and dtype.",
    "anyOf": [
        {"type": "number", "title": "Number"},
        {"type": "boolean", "title": "Boolean"},
        {"type": "array", "items": {}, "title": "Nested array"},
        {
            "type": "object",
            "title": "Elements",
            "properties": {
                "shape": SIZES,
                "dtype": {"enum": DTYPE_NAMES},
                "data": {"description": "Nested, or flat in row-major order."},
            },
            "required": ["data"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "title": "Bytes",
            "properties": {
                "shape": SIZES,
                "dtype": {"enum": DTYPE_NAMES},
                "b64": {"type": "string", "contentEncoding": "base64"},
            },
            "required": ["shape", "dtype", "b64"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "title": "Reference",
            "description": "An array in the folder SERVICE_DATA, by its name.",
            "properties": {
                "shape": SIZES,
                "dtype": {"enum": DTYPE_NAMES},
                "ref": NAME,
            },
            "required": ["ref"],
            "additionalProperties": False,
        },
    ],
}

OUTPUT: Final[dict[str, Any]] = {
    "anyOf": [
        {"enum": list(OUTPUTS), "title": "Form"},
        {
            "type": "object",
            "title": "Store",
            "description": "Keep the result under a name; the answer has that as its `ref`.",
            "properties": {"store": NAME, "overwrite": {"type": "boolean", "default": False}},
            "required": ["store"],
            "additionalProperties": False,
        },
    ],
    "default": OUTPUTS[0],
    "description": "How the answer gives the result, or the name to store it under.",
}

PLANNED_TENSOR: Final = TENSOR | {
    "title": "PlannedTensor",
    "description": "A tensor, or its shape and dtype alone.",
    "anyOf": [
        *TENSOR["anyOf"],
        {
            "type": "object",
            "title": "Shape",
            "properties": {"shape": SIZES, "dtype": {"enum": DTYPE_NAMES}},
            "required": ["shape"],
            "additionalProperties": False,
        },
    ],
}
