"""The OpenAPI document: FastAPI's own, with request bodies written from the registry."""

from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.api import schemas
from service.api.problems import MEDIA_TYPE, explanations
from service.call import AUTO, OUTPUTS
from service.dtypes import DTYPES
from service.examples import examples
from service.registry import Op, Registry, Strategy

REF: Final = "#/components/schemas/{model}"
DTYPE_NAMES: Final = [*DTYPES, *(d.protocol for d in DTYPES.values() if d.protocol)]
SIZES: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}
DESCRIPTION: Final = """\
Matrix products, Einstein summation, norms and broadcasting, each by several strategies that can be
compared: from three Python loops to PyTorch's own operator. Every answer says which strategy and
device ran, and how long each phase took.

A tensor is a nested array (`[[1, 2], [3, 4]]`), a number, or an object with `shape`, `dtype` and
`data` (nested or flat) or `b64`. NaN and infinities are the strings `"NaN"`, `"Infinity"`,
`"-Infinity"`; complex numbers are pairs on a last axis. A result can be sent back as an operand.

Every error is a problem document (RFC 9457); `GET /problems/{code}` explains its code.
"""

TENSOR: Final = {
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
    ],
}


def request_schema(op: Op[Any]) -> dict[str, Any]:
    """The schema of a request body of `op`."""
    tensor: Any = {"$ref": REF.format(model="Tensor")}
    operands: dict[str, Any]
    if op.operands is None:
        operands = {"operands": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 64}}
    else:
        operands = dict.fromkeys(op.operands, tensor)
    params = {
        param.name: {**param.schema, "description": param.summary}
        | ({} if param.required else {"default": param.default})
        for param in op.params
    }
    return {
        "title": f"{op.name.capitalize()}Request",
        "type": "object",
        "properties": {
            **operands,
            **params,
            "strategy": {
                "enum": [AUTO, *op.strategies],
                "default": AUTO,
                "description": "How to compute it; the answer says what `auto` picked.",
            },
            "device": {
                "type": "string",
                "default": AUTO,
                "description": "`auto`, `cpu`, `cuda` or `cuda:N`.",
            },
            "dtype": {
                "enum": DTYPE_NAMES,
                "description": "dtype of plain arrays; float32 unless an operand states one.",
            },
            "output": {
                "enum": list(OUTPUTS),
                "default": OUTPUTS[0],
                "description": "How the answer gives the result.",
            },
            "deadline_ms": {
                "type": "integer",
                "minimum": 1,
                "description": "Shortens the service's deadline.",
            },
        },
        "required": [*operands, *(param.name for param in op.params if param.required)],
        "additionalProperties": False,
    }


def describe_operation(op: Op[Any]) -> dict[str, Any]:
    """What FastAPI is told of `POST /{op}`."""
    body = {
        "schema": {"$ref": REF.format(model=f"{op.name.capitalize()}Request")},
        "examples": {
            example.name: {"summary": example.summary, "value": example.body}
            for example in examples()
            if example.op == op.name
        },
    }
    return {
        "operation_id": op.name,
        "summary": op.summary,
        "description": "\n".join(["Strategies, slowest first:", "", *_listed(op)]),
        "tags": ["operations"],
        "response_model": schemas.Answer,
        "response_description": "The result, what computed it, and how long each phase took.",
        "responses": problems(400, 406, 413, 415, 422, 500, 503, 504),
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": body}}},
    }


def _listed(op: Op[Any]) -> list[str]:
    return [f"- `{each.name}`: {_without_stop(each)}" for each in op.strategies.values()]


def _without_stop(strategy: Strategy[Any]) -> str:
    return strategy.summary.rstrip(".")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem documents that a route may answer with, by status."""
    known = explanations().values()
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    return {
        status: {
            "description": ", ".join(f"`{p['code']}`" for p in known if p["status"] == status),
            "content": content,
        }
        for status in statuses
    }


def document(app: FastAPI, registry: Registry) -> dict[str, Any]:
    """The document, complete and valid as OpenAPI 3.1."""
    found = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    components = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for path in found["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422", "")):
                del answers["422"]
    _, models = models_json_schema([(schemas.Problem, "serialization")], ref_template=REF)
    components |= models["$defs"]
    components["Tensor"] = TENSOR
    for op in registry.values():
        components[f"{op.name.capitalize()}Request"] = request_schema(op)
    found["components"]["schemas"] = dict(sorted(components.items()))
    return found


def render(found: dict[str, Any]) -> str:
    """The document as it is committed."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n"
