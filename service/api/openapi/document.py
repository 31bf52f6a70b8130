"""The OpenAPI document: FastAPI's own, with request bodies written from the registry."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import compare
from service.api.inference.openapi import describe_versions, infer_paths
from service.api.inference.schemas import InferenceError, InferenceRequest, InferenceResponse
from service.api.openapi.answers import add_answers, load_answers, share_errors
from service.api.openapi.chains import REFERENCES, chain_schemas
from service.api.openapi.components import (
    DTYPE,
    OUTPUT,
    SCHEMAS,
    answer_content,
    answer_headers,
    body_content,
    describe_security,
    query_parameters,
    ref,
)
from service.codecs.gradients import GRADIENTS_WRITERS
from service.codecs.media_types import JSON
from service.core.arithmetic import IEEE, PRECISIONS
from service.core.call import AUTO
from service.examples import examples_by_path
from service.http import schemas
from service.http.chain_schemas import ChainAnswer, ChainPlanAnswer, GradientsAnswer
from service.http.problems import problem_answers
from service.operations.chain import CHAIN as CHAIN_NAME
from service.operations.chain import ChainOp, chain_op
from service.operations.gradient_steps import gradient_ops
from service.registry import Op, Param, Registry, Strategy

DESCRIPTION: Final = """\
Matrix products, Einstein summation, norms and broadcasting, each by several strategies that can be
compared: from three Python loops to PyTorch's own operator. Every answer says which strategy and
device ran, and how long each phase took.

A tensor is a nested array (`[[1, 2], [3, 4]]`), a number, or an object with `shape`, `dtype` and
`data` (nested or flat) or `b64`. NaN and infinities are the strings `"NaN"`, `"Infinity"`,
`"-Infinity"`; complex numbers are pairs on a last axis. A result can be sent back as an operand.

Tensors may come and go as bytes: safetensors, npz and npy bodies hold the operands by name, and all
other fields stand in the query string; `Accept` chooses safetensors, npy or bare bytes.

An optional field that is null is not given, and 1.0 is an integer.

Every error is a problem document (RFC 9457); `GET /problems/{code}` explains its code.
"""

# In the order of the groups. The links are relative to the document, as those of the pages are.
TAGS: Final = [
    {
        "name": "operations",
        "description": "Calls of operations, their gradients, plans and races, and chains of calls",
        "externalDocs": {"description": "Operations and strategies", "url": "guide/operations"},
    },
    {
        "name": "system",
        "description": "Strategies, devices and limits of this service, its health and metrics",
        "externalDocs": {"description": "Monitoring", "url": "guide/monitoring"},
    },
    {
        "name": "open inference protocol",
        "description": "The same operations as models, for clients of KServe and Triton",
        "externalDocs": {
            "description": "Open Inference Protocol",
            "url": "guide/open-inference-protocol",
        },
    },
]
# The routes of an operation in the order of the document.
KINDS: Final = ("", "gradients", "plan", "compare")

OPTIONAL: Final = "The gradient of the result, of its shape; ones if it is left out."

GRADIENTS: Final = """\
The gradient of each operand is an einsum of the upstream gradient and the other operands. The
answer has its equation, an explanation, a line of torch, and the result. Complex operands are
conjugated, as in torch.
"""

CHAIN: Final = """\
The steps are planned as a whole before the first one runs: shapes, total time, and the most memory
in use at a time. They run on one device, in order, without leaving it; each is timed. A result that
no later step needs is freed.

`{"step": "h"}` is the result of an earlier step, `{"operand": 0}` a tensor of `operands`.
"""


def request_schema(
    op: Op[Any], *, more: Sequence[Param] = (), tensor_model: str = "Tensor"
) -> dict[str, Any]:
    """Return the schema of a request body of `op`, with `more` fields of its route."""
    tensor = ref(tensor_model)
    operands: dict[str, Any]
    if op.operands is None:
        operands = {"operands": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 64}}
    else:
        operands = dict.fromkeys(op.operands, tensor)
    operands |= dict.fromkeys(op.optional, tensor | {"description": OPTIONAL})
    params = {
        param.name: {**param.schema, "description": param.summary}
        | ({"default": param.default} if _admits(param, param.default) else {})
        for param in (*op.params, *more)
    }
    return {
        "type": "object",
        "properties": {
            **operands,
            **params,
            "strategy": {
                "enum": [AUTO, *op.strategy_names],
                "default": AUTO,
                "description": "How to compute it; the answer says what `auto` picked.",
            },
            "device": {
                "type": "string",
                "default": AUTO,
                "description": "`auto`, `cpu`, `cuda`, `cuda:N` or `cluster`.",
            },
            "dtype": DTYPE,
            "output": OUTPUT,
            "deadline_ms": {
                "type": "integer",
                "minimum": 1,
                "description": "Shortens the service's deadline.",
            },
            "precision": {
                "enum": [*PRECISIONS],
                "default": IEEE,
                "description": "Of float32 products; the others are for GPUs that have them.",
            },
            "deterministic": {
                "type": "boolean",
                "default": False,
                "description": "The same bits for the same strategy and device each time.",
            },
        },
        "required": [
            *(name for name in operands if op.needs_operands and name not in op.optional),
            *(param.name for param in op.params if param.required),
        ],
        "additionalProperties": False,
    }


def _admits(param: Param, value: object) -> bool:
    """Return whether a client may send `value`; some parameters are absent by default, not null."""
    return value is not None or {"type": "null"} in param.schema.get("anyOf", ())


def describe_operation(op: Op[Any]) -> dict[str, Any]:
    """Return the OpenAPI operation of `POST /{op}`, which FastAPI does not route."""
    lines = ["Strategies, slowest first:", "", *_listed(op)]
    return _direct(op, _request(op, _model(op)), "Answer", "\n".join(lines))


def describe_chain(op: ChainOp) -> dict[str, Any]:
    """Return the OpenAPI operation of `POST /chain`, which FastAPI does not route."""
    described = _direct(op, _request(op, _model(op)), "ChainAnswer", CHAIN)
    described["responses"]["200"]["description"] = (
        "The results of the steps by name, and for each step what computed it and how long."
    )
    return described


def describe_gradients(op: Op[Any]) -> dict[str, Any]:
    """Return the OpenAPI operation of the gradients of an operation."""
    described = _direct(op, _request(op, _model(op)), "GradientsAnswer", GRADIENTS)
    described["operationId"] = op.name.replace("/", "_")
    described["responses"]["200"]["description"] = (
        "The gradient of each operand by name, and the einsum that computed it."
    )
    content = described["responses"]["200"]["content"]
    described["responses"]["200"]["content"] = {name: content[name] for name in GRADIENTS_WRITERS}
    return described


def describe_chain_plan(op: ChainOp) -> dict[str, Any]:
    """Return FastAPI's arguments for the route `POST /chain/plan`."""
    return {
        "operation_id": "chain_plan",
        "summary": "Shapes and cost of a chain, in all and by step, before it is computed",
        "description": 'The body of a run; tensors may be shapes alone: `{"shape": [2, 3]}`.',
        "response_model": ChainPlanAnswer,
        "response_description": "The plan by which a run would be admitted or refused.",
    } | _request(op, _model(op, "Plan"), "/plan")


def _direct(
    op: Op[Any], found: dict[str, Any], answer_model: str, description: str
) -> dict[str, Any]:
    """Return the OpenAPI operation of a route that the pipeline serves without FastAPI."""
    answer = {"schema": ref(answer_model)}
    success = {
        "description": "The result, what computed it, and how long each phase took.",
        "headers": answer_headers(),
        "content": {JSON: answer} | answer_content(),
    }
    failures = {str(status): each for status, each in found["responses"].items()}
    return {
        "tags": found["tags"],
        "summary": _without_stop(op),
        "description": description,
        "operationId": op.name,
        **found["openapi_extra"],
        "responses": {"200": success, **failures},
    }


def describe_plan(op: Op[Any]) -> dict[str, Any]:
    """Return FastAPI's arguments for the route `POST /{op}/plan`."""
    return {
        "operation_id": f"{op.name}_plan",
        "summary": f"Result shape and cost of a call of {op.name}, before it is computed",
        "description": 'The body of a run; operands may be shapes alone: `{"shape": [2, 3]}`.',
        "response_model": schemas.PlanAnswer,
        "response_description": "The plan by which a run would be admitted or refused.",
    } | _request(op, _model(op, "Plan"), "/plan")


def describe_compare(op: Op[Any]) -> dict[str, Any]:
    """Return FastAPI's arguments for the route `POST /{op}/compare`."""
    found = _request(op, _model(op, "Compare"), "/compare", compare.PARAMS)
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    found["responses"][200] = {"content": events}
    return {
        "operation_id": f"{op.name}_compare",
        "summary": "Speed and accuracy of each strategy of "
        f"{'a chain' if op.name == CHAIN_NAME else op.name} on the same inputs",
        "description": (
            "Accept: text/event-stream gives a `row` event for each strategy that is finished "
            "and a `report` event last; a `problem` event, if it fails on the way."
        ),
        "response_model": schemas.CompareAnswer,
        "response_description": "How fast and how exact each strategy is.",
    } | found


def _model(op: Op[Any], kind: str = "") -> str:
    words = "".join(word.capitalize() for word in op.name.split("/"))
    return f"{words}{kind}Request"


def _request(op: Op[Any], model: str, kind: str = "", more: Sequence[Param] = ()) -> dict[str, Any]:
    """Return what all routes of an operation have in common; `kind` is the end of the path."""
    body = {
        "schema": ref(model),
        "examples": {
            example.name: {"summary": example.summary, "value": example.body}
            for example in examples_by_path().get(f"/{op.name}{kind}", ())
        },
    }
    content = {JSON: body} | body_content(op)
    return {
        "tags": ["operations"],
        "responses": problem_answers(400, 406, 413, 415, 422, 500, 503, 504),
        "openapi_extra": {
            "parameters": query_parameters(op, request_schema(op, more=more)["properties"]),
            "requestBody": {"required": True, "content": content},
        },
    }


def _listed(op: Op[Any]) -> list[str]:
    return [f"- `{each.name}`: {_without_stop(each)}" for each in op.strategies.values()]


def _without_stop(described: Op[Any] | Strategy[Any]) -> str:
    return described.summary.rstrip(".")


def document(app: FastAPI, registry: Registry) -> dict[str, Any]:
    """Return the document, complete and valid as OpenAPI 3.1."""
    found = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    found["tags"] = TAGS
    components = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for path in found["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422", "")):
                del answers["422"]
            if "operations" not in operation["tags"]:
                _summarize(operation)
    shown: list[tuple[type[BaseModel], Literal["serialization", "validation"]]] = [
        (schemas.Problem, "serialization"),
        (schemas.Answer, "serialization"),
        (ChainAnswer, "serialization"),
        (GradientsAnswer, "serialization"),
        (InferenceError, "serialization"),
        (InferenceRequest, "validation"),
        (InferenceResponse, "validation"),
    ]
    _, models = models_json_schema(shown, ref_template=schemas.REF)
    components |= models["$defs"]
    found["paths"] = infer_paths() | found["paths"]
    components |= SCHEMAS
    for op in registry.values():
        found["paths"][f"/{op.name}"] = {"post": describe_operation(op)}
        components[_model(op)] = request_schema(op)
        components[_model(op, "Plan")] = request_schema(op, tensor_model="PlannedTensor")
        components[_model(op, "Compare")] = request_schema(op, more=compare.PARAMS)
    chain = chain_op(registry)
    found["paths"][f"/{chain.name}"] = {"post": describe_chain(chain)}
    components[_model(chain)] = request_schema(chain)
    for op in gradient_ops(registry):
        found["paths"][f"/{op.name}"] = {"post": describe_gradients(op)}
        components[_model(op)] = request_schema(op)
    planned = request_schema(chain, tensor_model="PlannedTensor")
    planned["properties"]["steps"]["items"] = ref("PlannedStep")
    components[_model(chain, "Plan")] = planned
    components[_model(chain, "Compare")] = request_schema(chain, more=compare.PARAMS)
    components |= REFERENCES | chain_schemas(registry, "Tensor")
    components |= chain_schemas(registry, "PlannedTensor", "Planned")
    found["components"]["schemas"] = dict(sorted(components.items()))
    found["paths"] = dict(
        sorted(found["paths"].items(), key=lambda item: _place(registry, item[0]))
    )
    describe_versions(found["paths"])
    describe_security(found)
    add_answers(found, load_answers())
    share_errors(found)
    return found


def _summarize(operation: dict[str, Any]) -> None:
    """Make a summary of the first paragraph of a docstring, which FastAPI has as description."""
    summary, _, rest = operation.pop("description").partition("\n\n")
    operation["summary"] = summary.replace("\n", " ").rstrip(".")
    if rest:
        operation["description"] = rest


def _place(registry: Registry, path: str) -> tuple[int, int]:
    """Return the sort key of a path: operations first, in the order of the registry.

    All other routes have their own order.
    """
    name, _, kind = path[1:].partition("/")
    names = [*registry, CHAIN_NAME]
    if name in names:
        return names.index(name), KINDS.index(kind)
    return len(names), 0


def render(found: dict[str, Any]) -> str:
    """Return the document as it is committed."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n"
