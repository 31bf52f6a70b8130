"""OpenAPI descriptions of the protocol's requests and errors."""

from typing import Any, Final

from service.codecs.media_types import BYTES, JSON
from service.http.problems import problem_kinds
from service.http.schemas import BINARY, REF

MODEL_PART: Final = "{model}"
VERSION_PART: Final = "{model}/versions/{version}"
BY_STRATEGY: Final = "by the strategy that is the version"
LENGTH: Final = "Inference-Header-Content-Length"
LENGTH_TEXT: Final = "How many bytes of JSON the body begins with, when binary data follow."
EXAMPLE_NAME: Final = "product"
EXAMPLE: Final[dict[str, Any]] = {
    "summary": "A product of two matrices, written flat",
    "value": {
        "id": "42",
        "inputs": [
            {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
            {"name": "b", "shape": [2, 2], "datatype": "FP32", "data": [5, 6, 7, 8]},
        ],
        "outputs": [{"name": "result"}],
    },
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route by status, in the protocol's form."""
    known = problem_kinds().values()
    content = {JSON: {"schema": {"$ref": REF.format(model="InferenceError")}}}
    return {
        status: {
            "description": ", ".join(f"`{each.code}`" for each in known if each.status == status),
            "content": content,
        }
        for status in statuses
    }


def infer_paths() -> dict[str, Any]:
    """Return the routes that compute, which the framework does not describe."""
    model = _parameter("model", "An operation.", "matmul")
    version = _parameter("version", "A strategy, or `auto`.", "torch")
    base = "/v2/models/{model}"
    return {
        f"{base}/infer": {"post": _infer("infer", [model])},
        f"{base}/versions/{{version}}/infer": {"post": _infer("infer_version", [model, version])},
    }


def describe_versions(paths: dict[str, Any]) -> None:
    """Say at each route of a model that its versions have the same one, and at those what it is."""
    for path in [*paths]:
        version = path.replace(MODEL_PART, VERSION_PART)
        if path != version and version in paths:
            for method, operation in paths[path].items():
                found = [
                    operation.get("description", ""),
                    f"`{version}` is the same {BY_STRATEGY}.",
                ]
                operation["description"] = "\n\n".join(filter(None, found))
                paths[version][method]["summary"] += f", {BY_STRATEGY}"


def _parameter(name: str, text: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "examples": [example]}
    return {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


def _infer(operation: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    request = {"$ref": REF.format(model="InferenceRequest")}
    response = {"$ref": REF.format(model="InferenceResponse")}
    length = {"schema": {"type": "integer", "minimum": 1}, "description": LENGTH_TEXT}
    failures = errors(400, 404, 413, 415, 422, 500, 503, 504)
    return {
        "tags": ["open inference protocol"],
        "summary": "Result of the operation that is the model",
        "description": (
            "Binary data follow the JSON in the order of the inputs, little-endian and row by row. "
            "The result is JSON unless `binary_data_output`, or `binary_data` of the output, is "
            "true."
        ),
        "operationId": operation,
        "parameters": [*parameters, {"name": LENGTH, "in": "header", **length}],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": request, "examples": {EXAMPLE_NAME: EXAMPLE}},
                BYTES: {"schema": BINARY},
            },
        },
        "responses": {
            "200": {
                "description": "The result.",
                "headers": {LENGTH: length},
                "content": {JSON: {"schema": response}, BYTES: {"schema": BINARY}},
            },
            **{str(status): each for status, each in failures.items()},
        },
    }
