"""The tree of errors a call can end in. It knows no HTTP: `service.api.problems` gives statuses.

ServiceError
├── BodyError                 the bytes are not a document
│   ├── MalformedJsonError            malformed-json
│   ├── InvalidUtf8Error              invalid-utf8
│   ├── DuplicateKeyError             duplicate-key
│   └── NestingError                  nesting-too-deep
├── BodyTooLargeError                 body-too-large
├── RequestError              well-formed, and cannot be served
│   ├── UnknownFieldError             unknown-field
│   ├── MissingFieldError             missing-field
│   ├── InvalidFieldError             invalid-field
│   ├── UnknownStrategyError          unknown-strategy
│   ├── UnsuitableStrategyError       strategy-unsuitable
│   ├── UnknownDtypeError             unknown-dtype
│   ├── UnsupportedDtypeError         dtype-unsupported
│   ├── DeviceUnavailableError        device-unavailable
│   ├── RaggedArrayError              ragged-array
│   ├── InvalidElementError           invalid-element
│   ├── ValueOutOfRangeError          value-out-of-range
│   ├── IntegerOverflowError          integer-overflow
│   ├── ShapeMismatchError            shape-mismatch
│   ├── InvalidEquationError          invalid-equation
│   ├── LimitExceededError            limit-exceeded
│   └── WorkExceededError             work-exceeded
├── TransportError            the request cannot be routed or negotiated
│   ├── NotFoundError                 not-found
│   ├── MethodNotAllowedError         method-not-allowed
│   ├── NotAcceptableError            not-acceptable
│   └── UnsupportedMediaTypeError     unsupported-media-type
├── BusyError                 not now
│   ├── WarmingUpError                warming-up
│   ├── DrainingError                 draining
│   ├── OverloadedError               overloaded
│   └── OutOfMemoryError              out-of-memory
├── DeadlineExceededError             deadline-exceeded
└── InternalError                     internal-error

The docstring of each leaf is what `GET /problems/{code}` tells its reader.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

MAX_PLACES = 20
MAX_QUOTED = 64
MAX_DETAIL = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """One place in the request, as a JSON pointer, and what is wrong there."""

    pointer: str
    detail: str


class ServiceError(Exception):
    """Anything a call can end in other than an answer."""

    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, *, hint: str | None = None, places: Iterable[Place] = ()):
        """Say what was asked and found (`detail`), what would work (`hint`), and where."""
        super().__init__(detail)
        self.detail = clip(detail, MAX_DETAIL)
        self.hint = None if hint is None else clip(hint, MAX_DETAIL)
        self.places = tuple(
            Place(clip(place.pointer, 200), clip(place.detail, MAX_DETAIL))
            for place, _ in zip(places, range(MAX_PLACES), strict=False)
        )


def clip(text: str, length: int) -> str:
    """`text`, cut to at most `length` characters, and free of lone surrogates (not UTF-8)."""
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.encode("utf-8", "replace").decode()


def quote(value: object) -> str:
    """Repr of something a client sent, short enough to be repeated in an answer."""
    if isinstance(value, int) and value.bit_length() > 4 * MAX_QUOTED:
        return f"an integer of {value.bit_length()} bits"
    text = value[: MAX_QUOTED + 1] if isinstance(value, str) else value
    return clip(repr(text), MAX_QUOTED)


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice spelt most like `name`, for a hint; None when nothing is near."""
    return next(iter(get_close_matches(name[:MAX_QUOTED], list(choices), n=1)), None)


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """A hint with the nearest choice, or None."""
    near = nearest(name, choices)
    return None if near is None else f"did you mean {near!r}?"


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


class BodyTooLargeError(ServiceError):
    """The body is over `SERVICE_MAX_BODY_BYTES`, counted before and while it is read.

    `GET /limits` gives the limit. The same numbers take less room as base64.
    """

    code = "body-too-large"
    title = "The body is too large"


class RequestError(ServiceError):
    """The body is well-formed, and what it asks for cannot be served."""


class UnknownFieldError(RequestError):
    """The request has a field that its operation does not know; the hint gives the nearest one."""

    code = "unknown-field"
    title = "Unknown field"


class MissingFieldError(RequestError):
    """A field that the operation needs is absent."""

    code = "missing-field"
    title = "A field is missing"


class InvalidFieldError(RequestError):
    """A field has a value of the wrong kind, or outside its choices; the detail lists them."""

    code = "invalid-field"
    title = "A field has an unusable value"


class UnknownStrategyError(RequestError):
    """No strategy of this operation has that name. `GET /strategies` lists them."""

    code = "unknown-strategy"
    title = "Unknown strategy"


class UnsuitableStrategyError(RequestError):
    """The strategy exists and does not take this dtype, device, rank or parameter.

    The hint names the strategies that do.
    """

    code = "strategy-unsuitable"
    title = "The strategy does not take this call"


class UnknownDtypeError(RequestError):
    """No dtype has that name; the detail lists those that exist."""

    code = "unknown-dtype"
    title = "Unknown dtype"


class UnsupportedDtypeError(RequestError):
    """The operation has no meaning for operands of this dtype; the hint names one to ask for."""

    code = "dtype-unsupported"
    title = "The operation does not take this dtype"


class DeviceUnavailableError(RequestError):
    """This host has no such device. A named device is never replaced by another.

    `GET /devices` lists what is here; `"device": "auto"` takes what is best among them.
    """

    code = "device-unavailable"
    title = "The device is not available"


class RaggedArrayError(RequestError):
    """Rows of one axis have different lengths, or rows and numbers are mixed.

    A tensor is rectangular. The pointer names the first place that differs from row 0.
    """

    code = "ragged-array"
    title = "The array is not rectangular"


class InvalidElementError(RequestError):
    """An element is not a number of the tensor's dtype: a null, a boolean, a string, an object.

    NaN and infinities are the strings `"NaN"`, `"Infinity"`, `"-Infinity"`; booleans need
    `"dtype": "bool"`; integers may be decimal strings.
    """

    code = "invalid-element"
    title = "An element is not a number"


class ValueOutOfRangeError(RequestError):
    """A number cannot be held: it would become infinite, wrap around or lose its fraction.

    The hint names a dtype that would hold it.
    """

    code = "value-out-of-range"
    title = "A number does not fit the dtype"


class IntegerOverflowError(RequestError):
    """The exact result does not fit the integer dtype of the operands.

    Integer results are exact or refused; nothing wraps. Ask for a wider dtype, or a float.
    """

    code = "integer-overflow"
    title = "The exact result does not fit the integer dtype"


class ShapeMismatchError(RequestError):
    """The shapes of the operands do not fit together; the detail names the axes and sizes."""

    code = "shape-mismatch"
    title = "Operand shapes do not fit"


class InvalidEquationError(RequestError):
    """The einsum equation cannot be read; the detail gives position and letter.

    The grammar is that of `torch.einsum`: one term of letters for each operand, joined by commas,
    then optionally `->` and the letters of the result; `...` stands for the axes without letter.
    """

    code = "invalid-equation"
    title = "The equation cannot be read"


class LimitExceededError(RequestError):
    """A tensor of the call would be over a limit. Nothing was allocated.

    The detail gives the limit, the value and the setting; `GET /limits` lists all of them.
    """

    code = "limit-exceeded"
    title = "A size is over its limit"


class WorkExceededError(RequestError):
    """The strategy would take longer than the deadline, as measured on this host at its start.

    The detail gives the estimate. A faster strategy, or a later deadline, would work.
    """

    code = "work-exceeded"
    title = "The work would take too long"


class TransportError(ServiceError):
    """The request cannot be routed, or no common format exists."""


class NotFoundError(TransportError):
    """Nothing is served at this path; the detail lists what is."""

    code = "not-found"
    title = "Nothing is here"


class MethodNotAllowedError(TransportError):
    """The path exists and does not take this method; `Allow` lists those that it takes."""

    code = "method-not-allowed"
    title = "The method is not allowed here"
    allowed: tuple[str, ...] = ()


class NotAcceptableError(TransportError):
    """`Accept` admits none of the formats that the service writes; the detail lists them."""

    code = "not-acceptable"
    title = "No acceptable format"


class UnsupportedMediaTypeError(TransportError):
    """The service does not read bodies of this `Content-Type` or `Content-Encoding`."""

    code = "unsupported-media-type"
    title = "Unsupported media type"


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


class OutOfMemoryError(BusyError):
    """The host or the device ran out of memory during the call; what it held has been freed."""

    code = "out-of-memory"
    title = "Out of memory"


class DeadlineExceededError(ServiceError):
    """The deadline passed before the answer was ready. `deadline_ms` can only shorten it."""

    code = "deadline-exceeded"
    title = "The deadline passed"


class InternalError(ServiceError):
    """A fault of the service, not of the request. Report it with the request id."""

    code = "internal-error"
    title = "The service failed"


def leaves(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Every error class with a code, in the order of the tree."""
    for child in root.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from leaves(child)
