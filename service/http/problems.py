"""Errors as responses: problem documents (RFC 9457), each with its HTTP status."""

import inspect
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import uuid4

import orjson

from service import errors
from service.codecs.media_types import JSON, PROBLEM
from service.core.response import HttpResponse
from service.errors import Place, ServiceError
from service.http.errors import (
    CrossOriginError,
    HeadTooLargeError,
    HttpVersionError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
    UnsupportedTransferCodingError,
)
from service.http.schemas import ProblemKind

# The paths of the Open Inference Protocol.
INFERENCE: Final = "/v2"
MAX_PLACES_BYTES: Final = 4096
log: Final = logging.getLogger("service")

# The nearest class in an error's ancestry decides.
STATUSES: Final[Mapping[type[ServiceError], int]] = {
    errors.BodyError: 400,
    MalformedRequestError: 400,
    UnauthorizedError: 401,
    CrossOriginError: 403,
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
    UnsupportedTransferCodingError: 501,
    errors.BusyError: 503,
    errors.DeadlineExceededError: 504,
    HttpVersionError: 505,
}


def status_of(kind: type[ServiceError]) -> int:
    """Return the HTTP status of an error class."""
    return next(STATUSES[base] for base in kind.__mro__ if base in STATUSES)


def error_response(error: Exception, request_id: str, *, inference: bool = False) -> HttpResponse:
    """Return the response to a request that ended in `error`: the one place that makes it.

    An error that is not a ServiceError is a bug of the service: it is logged, and the response says
    nothing but the request id. With `inference` the document is that of the Open Inference
    Protocol, otherwise a problem document.
    """
    if not isinstance(error, ServiceError):
        log.error("request %s failed", request_id, exc_info=error)
        error = internal_error(request_id)
    status = status_of(type(error))
    if inference:
        text = error.detail if error.hint is None else f"{error.detail}. Hint: {error.hint}"
        document: dict[str, object] = {"error": text}
        return HttpResponse.of(JSON, (orjson.dumps(document),), _lines(error), status=status)
    document = {
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
    return HttpResponse.of(PROBLEM, (orjson.dumps(document),), _lines(error), status=status)


def internal_error(request_id: str) -> errors.InternalError:
    """Return the error for a bug of the service, which says nothing but the request id."""
    return errors.InternalError(f"request {request_id} failed")


def is_inference_path(path: str) -> bool:
    """Return whether a path speaks the Open Inference Protocol."""
    return path == INFERENCE or path.startswith(f"{INFERENCE}/")


def _lines(error: ServiceError) -> bytes:
    """Return the headers that the status of an error requires."""
    match error:
        case errors.BusyError() | RateLimitedError():
            return b"retry-after: %d\r\n" % error.retry_after_s
        case MethodNotAllowedError():
            return b"allow: %b\r\n" % ", ".join(error.allowed).encode()
        case UnauthorizedError():
            why = b', error="invalid_token"' if error.wrong_key else b""
            return b'www-authenticate: Bearer realm="tensor service"%b\r\n' % why
        case _:
            return b""


def _bounded(places: Iterable[Place]) -> list[dict[str, str]]:
    """Return as many places as fit: a name in a pointer may take six bytes a letter."""
    shown: list[dict[str, str]] = []
    room = MAX_PLACES_BYTES
    for place in places:
        shown.append({"pointer": place.pointer, "detail": place.detail})
        room -= len(orjson.dumps(shown[-1]))
        if room < 0 and len(shown) > 1:
            return shown[:-1]
    return shown


def problem_kinds() -> dict[str, ProblemKind]:
    """Return the explanation of each code, from the docstrings of the errors."""
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
    """Return the OpenAPI description of a route's problem documents, by status."""
    known = problem_kinds().values()
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {
            "description": ", ".join(f"`{p.code}`" for p in known if p.status == status),
            "content": content,
        }
        for status in statuses
    }
