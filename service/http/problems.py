"""Errors as problem documents (RFC 9457). The one place that gives an error its HTTP status."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import uuid4

import orjson
from starlette.responses import Response
from starlette.types import Scope

from service import errors
from service.errors import Place, ServiceError
from service.http.errors import (
    HeadTooLargeError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
)
from service.http.schemas import ProblemKind

MEDIA_TYPE: Final = "application/problem+json"
# Where the Open Inference Protocol is spoken, whose errors look otherwise.
INFERENCE: Final = "/v2"
MAX_PLACES_BYTES: Final = 4096

# The nearest class in an error's ancestry decides.
STATUSES: Final[Mapping[type[ServiceError], int]] = {
    errors.BodyError: 400,
    MalformedRequestError: 400,
    UnauthorizedError: 401,
    NotFoundError: 404,
    MethodNotAllowedError: 405,
    NotAcceptableError: 406,
    RequestTimeoutError: 408,
    errors.BodyTooLargeError: 413,
    UnsupportedMediaTypeError: 415,
    errors.RequestError: 422,
    RateLimitedError: 429,
    HeadTooLargeError: 431,
    errors.InternalError: 500,
    errors.BusyError: 503,
    errors.DeadlineExceededError: 504,
}


def status_of(kind: type[ServiceError]) -> int:
    """The HTTP status of an error class."""
    return next(STATUSES[base] for base in kind.__mro__ if base in STATUSES)


def problem_response(error: ServiceError) -> Response:
    """The answer to a call that ended in `error`."""
    status = status_of(type(error))
    document: dict[str, object] = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": status,
        "code": error.code,
        "detail": error.detail,
    }
    if error.hint is not None:
        document["hint"] = error.hint
    if error.places:
        document["errors"] = _bounded(error.places)
    document["instance"] = f"urn:uuid:{uuid4()}"
    return Response(orjson.dumps(document), status, _headers(error), MEDIA_TYPE)


def inference_error(error: ServiceError) -> Response:
    """The same as the Open Inference Protocol has it: one sentence or more."""
    text = error.detail if error.hint is None else f"{error.detail}. Hint: {error.hint}"
    document = orjson.dumps({"error": text})
    return Response(document, status_of(type(error)), _headers(error), "application/json")


def error_response(scope: Scope, error: ServiceError) -> Response:
    """The answer to a request that ended in `error`, in the form of its path."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path == INFERENCE or path.startswith(f"{INFERENCE}/"):
        return inference_error(error)
    return problem_response(error)


def _headers(error: ServiceError) -> dict[str, str]:
    """What the status of an error asks for besides the document."""
    match error:
        case errors.BusyError() | RateLimitedError():
            return {"Retry-After": str(error.retry_after_s)}
        case MethodNotAllowedError():
            return {"Allow": ", ".join(error.allowed)}
        case UnauthorizedError():
            why = ', error="invalid_token"' if error.wrong_key else ""
            return {"WWW-Authenticate": f'Bearer realm="tensor service"{why}'}
        case _:
            return {}


def _bounded(places: Iterable[Place]) -> list[dict[str, str]]:
    """As many places as fit; a client's names in pointers may take six bytes a letter."""
    shown: list[dict[str, str]] = []
    room = MAX_PLACES_BYTES
    for place in places:
        shown.append({"pointer": place.pointer, "detail": place.detail})
        room -= len(orjson.dumps(shown[-1]))
        if room < 0 and len(shown) > 1:
            return shown[:-1]
    return shown


def explanations() -> dict[str, ProblemKind]:
    """What each code means and what to do, from the docstrings of the errors."""
    return {
        kind.code: ProblemKind(
            code=kind.code,
            title=kind.title,
            status=status_of(kind),
            explanation=inspect.getdoc(kind) or "",
        )
        for kind in errors.leaves()
    }


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem documents that a route may answer with, by status."""
    known = explanations().values()
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {
            "description": ", ".join(f"`{p.code}`" for p in known if p.status == status),
            "content": content,
        }
        for status in statuses
    }
