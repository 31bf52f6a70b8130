"""Components of the document: operands, outputs, media types, headers and security.

Each is a component of the document: generators of clients make a class of each name.
"""

from collections.abc import Sequence
from typing import Any, Final

from service.api.inference.openapi import errors as inference_errors
from service.codecs import READERS, WRITERS
from service.codecs.binary.npy import NpyCodec
from service.codecs.media_types import JSON
from service.core.call import OUTPUTS
from service.core.dtypes import DTYPES
from service.http.auth import is_open
from service.http.problems import is_inference_path, problem_answers
from service.http.schemas import BINARY, REF
from service.registry import Op

DTYPE_NAMES: Final = [*DTYPES, *(d.protocol for d in DTYPES.values() if d.protocol)]
SIZES: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}
NAME: Final = {"type": "string", "maxLength": 255, "examples": ["weights.npy"]}


def ref(model: str) -> dict[str, Any]:
    """Return a reference to a component."""
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

Described = dict[str, Any]

ALSO_IN_BODY: Final = "Here, or in a JSON body."
# Annotations that Swagger UI would send as if the reader had typed them.
PREFILLED: Final = ("default", "examples")
ANSWER_HEADERS: Final = {
    "Server-Timing": "Milliseconds of each phase (W3C).",
    "X-Strategy": "What computed the result; in answers that are not JSON.",
    "X-Device": "Where it was computed; in answers that are not JSON.",
    "X-Envelope": "The JSON answer without its result, at most 4 KB; its longest blocks may be "
    "`dropped`. In answers that are not JSON.",
    "X-Tensor-Shape": "Sizes of the axes, joined by commas; of application/octet-stream.",
    "X-Tensor-Dtype": "dtype of the bytes; of application/octet-stream.",
}


def body_content(op: Op[Any]) -> Described:
    """Return the media types of a request's body beside JSON. An npy file is one tensor."""
    one = op.operands is None or len(op.operands) == 1
    taken = (name for name in READERS if one or name != NpyCodec.media_type)
    return {name: {"schema": BINARY} for name in taken if name != JSON}


def answer_content() -> Described:
    """Return the media types of a result beside JSON."""
    return {name: {"schema": BINARY} for name in WRITERS if name != JSON}


def answer_headers() -> Described:
    """Return the headers of a result."""
    return {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in ANSWER_HEADERS.items()
    }


def query_parameters(op: Op[Any], properties: Described) -> list[Described]:
    """Return the fields of a request that the query string may have: all but its operands.

    What may be a list is JSON text.
    """
    tensors = op.tensor_fields
    return [_parameter(name, field) for name, field in properties.items() if name not in tensors]


def _parameter(name: str, field: Described) -> Described:
    schema = {key: value for key, value in field.items() if key not in PREFILLED}
    text = schema.pop("description")
    kinds = [schema, *schema.get("anyOf", ())]
    is_list = any(kind.get("type") == "array" for kind in kinds)
    form = {"content": {JSON: {"schema": schema}}} if is_list else {"schema": schema}
    return {"name": name, "in": "query", "description": f"{text} {ALSO_IN_BODY}", **form}


SCHEMES: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer KEY`, where this service has keys.",
    },
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "`X-API-Key: KEY`, where this service has keys.",
    },
}
# Either, or none where the operator has set no keys.
SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"key": []}, {}]
REFUSAL_HEADERS: Final = {
    "401": {
        "WWW-Authenticate": {
            "description": "What a key is sent as (RFC 6750).",
            "schema": {"type": "string"},
        }
    },
    "429": {
        "Retry-After": {
            "description": "Seconds until there is room again.",
            "schema": {"type": "integer"},
        }
    },
}


def describe_security(document: dict[str, Any]) -> None:
    """Add the security schemes, and to each path its requirements and refusals."""
    document["components"]["securitySchemes"] = SCHEMES
    document["security"] = SECURITY
    for path, operations in document["paths"].items():
        answers = inference_errors if is_inference_path(path) else problem_answers
        refusals = {
            str(status): {**each, "headers": REFUSAL_HEADERS[str(status)]}
            for status, each in answers(401, 429).items()
        }
        for operation in operations.values():
            if is_open(path):
                operation["security"] = []
            else:
                operation["responses"] = dict(sorted((operation["responses"] | refusals).items()))
