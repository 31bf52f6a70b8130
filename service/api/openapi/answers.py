"""Answers of the service as examples of the document, each captured from a run.

`python -m tools.answers` writes the file; a test compares it with what the service answers.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import orjson

from service.api.inference.openapi import EXAMPLE, EXAMPLE_NAME
from service.examples import examples_by_path
from service.http.problems import is_inference_path

FILE: Final = Path(__file__).with_name("answers.json")
# By route (`POST /matmul`), status, and name of the request: empty if that has none.
Answers = dict[str, dict[str, dict[str, Any]]]
UNNAMED: Final = ""
# Components of responses by status. Python's own phrases differ between its versions.
NAMES: Final = {
    "400": "BadRequest",
    "401": "Unauthorized",
    "404": "NotFound",
    "406": "NotAcceptable",
    "413": "ContentTooLarge",
    "415": "UnsupportedMediaType",
    "422": "UnprocessableContent",
    "429": "TooManyRequests",
    "500": "InternalError",
    "503": "ServiceUnavailable",
    "504": "DeadlineExceeded",
}
INFERENCE_KIND: Final = "Inference"
RESOURCE_KIND: Final = "Resource"


def load_answers() -> Answers:
    """Return the captured answers."""
    found: Answers = orjson.loads(FILE.read_bytes())
    return found


def add_answers(document: dict[str, Any], answers: Answers) -> None:
    """Show each answer as an example of its response; it has the name of the request's example."""
    shown = examples_by_path()
    for path, operations in document["paths"].items():
        summaries = {example.name: example.summary for example in shown.get(path, ())}
        summaries[EXAMPLE_NAME] = EXAMPLE["summary"]
        for method, operation in operations.items():
            for status, named in answers.get(f"{method.upper()} {path}", {}).items():
                response = operation["responses"][status]
                # The first media type is that of the answer. Responses may have one content.
                (media_type, described), *others = response["content"].items()
                described = described | _examples(named, summaries)
                content = {media_type: described, **dict(others)}
                operation["responses"][status] = response | {"content": content}


def _examples(named: dict[str, Any], summaries: dict[str, str]) -> dict[str, Any]:
    """Return the keyword of a media type that shows answers, which are problems or have a name."""
    if UNNAMED in named:
        return {"example": named[UNNAMED]}
    return {
        "examples": {
            name: {"summary": summaries.get(name) or value["title"], "value": value}
            for name, value in named.items()
        }
    }


def share_errors(document: dict[str, Any]) -> None:
    """Replace errors that several operations have in common by references to components.

    ValueError if two different errors would have one name.
    """
    equal: dict[tuple[str, bytes], list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            for status in responses.keys() & NAMES.keys():
                equal[status, orjson.dumps(responses[status])].append((method, path, responses))
    components = document["components"]["responses"] = {}
    for (status, _), places in sorted(equal.items()):
        if len(places) > 1:
            methods = {method for method, _, _ in places}
            name = NAMES[status] + _kind(methods, [path for _, path, _ in places])
            if name in components:
                routes = ", ".join(f"{method.upper()} {path}" for method, path, _ in places)
                raise ValueError(
                    f"two different errors are to be the component {name}, the second one of "
                    f"{routes}; _kind has to tell them apart"
                )
            components[name] = places[0][2][status]
            for _, _, responses in places:
                responses[status] = {"$ref": f"#/components/responses/{name}"}


def _kind(methods: set[str], paths: list[str]) -> str:
    """Return what tells the error of these routes from the same error of others."""
    if is_inference_path(paths[0]):
        return INFERENCE_KIND
    parts = [path[1:].split("/") for path in paths]
    for common in ({each[-1] for each in parts}, {each[0] for each in parts}):
        if len(common) == 1:
            return common.pop().capitalize()
    return RESOURCE_KIND if methods == {"get"} else ""
