"""What the OpenAPI document says of keys and quotas."""

from typing import Any, Final

from service.api.auth import is_open
from service.api.inference.openapi import errors as inference_errors
from service.http.problems import problem_answers

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
HEADERS: Final = {
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


def describe_entry(document: dict[str, Any]) -> None:
    """Add the security schemes, and to each path what it asks for and how it refuses."""
    document["components"]["securitySchemes"] = SCHEMES
    document["security"] = SECURITY
    for path, operations in document["paths"].items():
        answers = inference_errors if path.startswith("/v2") else problem_answers
        refusals = {
            str(status): {**each, "headers": HEADERS[str(status)]}
            for status, each in answers(401, 429).items()
        }
        for operation in operations.values():
            if is_open(path):
                operation["security"] = []
            else:
                operation["responses"] = dict(sorted((operation["responses"] | refusals).items()))
