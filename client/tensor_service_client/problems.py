"""Problems of the service, a class for each code, in the tree that the service has of them.

A service that is newer than this client may send other codes: they are a ProblemError.
"""

from typing import Any, Final

from tensor_service_client.errors import ProblemError


class BodyError(ProblemError):
    """The body cannot be read as a document of its media type."""


class MalformedJsonError(BodyError):
    """The body is not JSON (RFC 8259). The detail gives the position of the first mistake."""

    code = "malformed-json"


class InvalidUtf8Error(BodyError):
    """The body is not UTF-8. JSON between systems is always UTF-8 (RFC 8259, section 8.1)."""

    code = "invalid-utf8"


class DuplicateKeyError(BodyError):
    """An object has the same key twice, so the value that was meant is not clear."""

    code = "duplicate-key"


class NestingError(BodyError):
    """Arrays or objects are nested deeper than `SERVICE_MAX_NESTING`. Flatten the data."""

    code = "nesting-too-deep"


class MalformedBodyError(BodyError):
    """The body does not match its `Content-Type` or `Content-Encoding`. The detail says why."""

    code = "malformed-body"


class BodyTooLargeError(ProblemError):
    """The body is larger than `SERVICE_MAX_BODY_BYTES`, as sent or after decompression."""

    code = "body-too-large"


class BusyError(ProblemError):
    """The service cannot take the call now. `Retry-After` says when to try again."""


class WarmingUpError(BusyError):
    """The service has started and is still measuring its strategies. Try again in a second."""

    code = "warming-up"


class DrainingError(BusyError):
    """The service is shutting down and takes no new calls. Another instance may take the call."""

    code = "draining"


class OverloadedError(BusyError):
    """All slots are in use and the queue is full. Wait for the seconds in `Retry-After`."""

    code = "overloaded"


class ClusterUnavailableError(BusyError):
    """The Dask cluster was lost, or cannot do the call. The strategies of this host still work."""

    code = "cluster-unavailable"


class OutOfMemoryError(BusyError):
    """The host or the device ran out of memory during the call. The memory has been freed."""

    code = "out-of-memory"


class WorkerDiedError(BusyError):
    """The process that computed the call died, and so did the one that tried it again."""

    code = "worker-died"


class DeviceFailedError(BusyError):
    """A device of this host computes wrong results or none. The operator has to check it."""

    code = "device-failed"


class DeviceUnreadyError(BusyError):
    """The process that computes on the device is starting, or is being replaced after a fault."""

    code = "device-unready"


class DeadlineExceededError(ProblemError):
    """The deadline passed before the result was ready. `deadline_ms` can only shorten it."""

    code = "deadline-exceeded"


class InternalError(ProblemError):
    """The fault is in the service, not in the request. Report it with the request id."""

    code = "internal-error"


class RequestError(ProblemError):
    """The request is well-formed and cannot be served."""


class UnknownFieldError(RequestError):
    """The request has a field that its operation does not have. The hint gives the nearest one."""

    code = "unknown-field"


class MissingFieldError(RequestError):
    """A field that the operation needs is missing."""

    code = "missing-field"


class InvalidFieldError(RequestError):
    """A field has a value of the wrong kind or outside its choices. The detail lists them."""

    code = "invalid-field"


class UnknownStrategyError(RequestError):
    """No strategy of this operation has that name. `GET /strategies` lists them."""

    code = "unknown-strategy"


class UnsuitableStrategyError(RequestError):
    """The strategy exists and does not support this dtype, device, rank or parameter."""

    code = "strategy-unsuitable"


class UnknownDtypeError(RequestError):
    """No dtype has that name. The detail lists those that exist."""

    code = "unknown-dtype"


class UnsupportedDtypeError(RequestError):
    """The operation is not defined for operands of this dtype. The hint names one that works."""

    code = "dtype-unsupported"


class DeviceUnavailableError(RequestError):
    """This host has no such device. A named device is never replaced by another."""

    code = "device-unavailable"


class ArrayUnavailableError(RequestError):
    """No stored array has that name, or its file cannot be read or written."""

    code = "array-unavailable"


class ArrayExistsError(RequestError):
    """The name under which the result should be stored is taken."""

    code = "array-exists"


class RaggedArrayError(RequestError):
    """Rows of one axis have different lengths, or rows and numbers are mixed."""

    code = "ragged-array"


class InvalidElementError(RequestError):
    """An element is not a number of the tensor's dtype: a null, a boolean, a string, an object."""

    code = "invalid-element"


class ValueOutOfRangeError(RequestError):
    """The dtype cannot hold a number: it would overflow, wrap around or lose its fraction."""

    code = "value-out-of-range"


class IntegerOverflowError(RequestError):
    """The exact result does not fit the integer dtype of the operands."""

    code = "integer-overflow"


class ShapeMismatchError(RequestError):
    """The shapes of the operands do not fit together. The detail names the axes and sizes."""

    code = "shape-mismatch"


class InvalidEquationError(RequestError):
    """The einsum equation cannot be read. The detail gives position and letter."""

    code = "invalid-equation"


class LimitExceededError(RequestError):
    """A tensor of the call would exceed a limit. Nothing was computed."""

    code = "limit-exceeded"


class WorkExceededError(RequestError):
    """The strategy would take longer than the deadline, as measured on this host."""

    code = "work-exceeded"


class TransportError(ProblemError):
    """The request cannot be routed, or no common format exists."""


class NotFoundError(TransportError):
    """Nothing is served at this path; the detail lists what is."""

    code = "not-found"


class MethodNotAllowedError(TransportError):
    """The path exists and does not take this method; `Allow` lists those it takes."""

    code = "method-not-allowed"


class NotAcceptableError(TransportError):
    """`Accept` admits none of the formats that the service writes; the detail lists them."""

    code = "not-acceptable"


class UnsupportedMediaTypeError(TransportError):
    """Bodies of this `Content-Type` or `Content-Encoding` are not read."""

    code = "unsupported-media-type"


class MalformedRequestError(ProblemError):
    """The bytes on the connection are no HTTP request (RFC 9112), so it was closed."""

    code = "malformed-request"


class HttpVersionError(ProblemError):
    """The request states a major version of HTTP other than 1, so the connection was closed."""

    code = "http-version-not-supported"


class CrossOriginError(ProblemError):
    """Pages of this origin may not send the request that a browser has asked about."""

    code = "cross-origin-refused"


class UnsupportedTransferCodingError(ProblemError):
    """Of `Transfer-Encoding`, `chunked` alone is read."""

    code = "unsupported-transfer-coding"


class HeadTooLargeError(ProblemError):
    """Request line and headers are over `SERVICE_MAX_HEAD_BYTES`; the connection was closed."""

    code = "head-too-large"


class RequestTimeoutError(ProblemError):
    """The request came too slowly, and the connection was closed."""

    code = "request-timeout"


class UnauthorizedError(ProblemError):
    """An API key is required, and the request has none, or an unknown one."""

    code = "unauthorized"


class RateLimitedError(ProblemError):
    """One key, or one client address, has sent more requests than it may (`SERVICE_RATE`)."""

    code = "rate-limited"


BY_CODE: Final = {
    kind.code: kind
    for kind in [*globals().values()]
    if isinstance(kind, type) and issubclass(kind, ProblemError) and "code" in vars(kind)
}


def problem(document: dict[str, Any]) -> ProblemError:
    """Return the error of a problem document, of the class that has its code."""
    return BY_CODE.get(document["code"], ProblemError)(document)
