"""Errors of a body that is no document, of a service that is busy or late, and of a fault."""

from service.errors.base import ServiceError


class BodyError(ServiceError):
    """The body cannot be read as a document of its media type."""


class MalformedJsonError(BodyError):
    """The body is not JSON (RFC 8259); the detail gives the position of the first mistake.

    Bare `NaN` and `Infinity` are not JSON either: write `"NaN"`, `"Infinity"`, `"-Infinity"`.
    """

    code = "malformed-json"
    title = "The body is not JSON"


class InvalidUtf8Error(BodyError):
    """The body is not UTF-8. JSON between systems is always UTF-8 (RFC 8259, section 8.1)."""

    code = "invalid-utf8"
    title = "The body is not UTF-8"


class DuplicateKeyError(BodyError):
    """An object names a key twice, so that which value was meant is anyone's guess.

    Keys are compared after escapes are resolved. Send each key once.
    """

    code = "duplicate-key"
    title = "A key appears twice"


class NestingError(BodyError):
    """Arrays or objects are nested deeper than `SERVICE_MAX_NESTING`. Flatten the data.

    `{"shape": [...], "data": [...]}` takes any tensor as one flat row-major list.
    """

    code = "nesting-too-deep"
    title = "The body is nested too deep"


class MalformedBodyError(BodyError):
    """The body is not what its `Content-Type` or `Content-Encoding` says; the detail says why.

    Binary formats and compressed bodies are read strictly: lengths add up, no byte is left over,
    and nothing overlaps. `numpy.save`, `numpy.savez` and `safetensors` write what is read.
    """

    code = "malformed-body"
    title = "The body is not of its media type"


class BodyTooLargeError(ServiceError):
    """The body is over `SERVICE_MAX_BODY_BYTES`, counted before, while it is read and inflated.

    `GET /limits` gives the limit. Numbers as bytes take less room than as text: send base64, or
    one of the binary formats.
    """

    code = "body-too-large"
    title = "The body is too large"


class BusyError(ServiceError):
    """The service cannot take the call now; `Retry-After` says when to try again."""

    retry_after_s: int = 1


class WarmingUpError(BusyError):
    """The service has started and is still measuring its strategies. Try again in a second."""

    code = "warming-up"
    title = "The service is warming up"


class DrainingError(BusyError):
    """The service is shutting down and takes no new calls. Another instance may serve you."""

    code = "draining"
    title = "The service is shutting down"


class OverloadedError(BusyError):
    """All places are taken and the queue is full. Wait as long as `Retry-After` says."""

    code = "overloaded"
    title = "The service is busy"


class ClusterUnavailableError(BusyError):
    """The Dask cluster was lost, or cannot do the call; this host's own strategies go on.

    It is connected to again when the next call needs it.
    """

    code = "cluster-unavailable"
    title = "The cluster is not available"


class OutOfMemoryError(BusyError):
    """The host or the device ran out of memory during the call; what it held has been freed."""

    code = "out-of-memory"
    title = "Out of memory"


class WorkerDiedError(BusyError):
    """The process that computed the call died, and so did the one that tried it again.

    It was killed from outside, or what it computed ended it. Others may work: try again later.
    """

    code = "worker-died"
    title = "The process of the call died"


class DeviceFailedError(BusyError):
    """A device of this host does not compute what it should. The operator has to look at it."""

    code = "device-failed"
    title = "A device fails"


class DeviceUnreadyError(BusyError):
    """The process that computes on the device is starting, or is being replaced after a fault.

    Other devices go on, and `"device": "auto"` takes one of them. `GET /devices` says why.
    """

    code = "device-unready"
    title = "A device is not ready"


class DeadlineExceededError(ServiceError):
    """The deadline passed before the answer was ready. `deadline_ms` can only shorten it."""

    code = "deadline-exceeded"
    title = "The deadline passed"


class InternalError(ServiceError):
    """A fault of the service, not of the request. Report it with the request id."""

    code = "internal-error"
    title = "The service failed"
