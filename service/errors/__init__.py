"""Errors of a call, as a tree of classes. HTTP statuses are in `service.http.problems`.

ServiceError
├── BodyError                 the bytes are not a document
│   ├── MalformedJsonError            malformed-json
│   ├── InvalidUtf8Error              invalid-utf8
│   ├── DuplicateKeyError             duplicate-key
│   ├── NestingError                  nesting-too-deep
│   └── MalformedBodyError            malformed-body
├── BodyTooLargeError                 body-too-large
├── BusyError                 the service cannot take the call now
│   ├── WarmingUpError                warming-up
│   ├── DrainingError                 draining
│   ├── OverloadedError               overloaded
│   ├── ClusterUnavailableError       cluster-unavailable
│   ├── OutOfMemoryError              out-of-memory
│   ├── WorkerDiedError               worker-died
│   ├── DeviceFailedError             device-failed
│   └── DeviceUnreadyError            device-unready
├── DeadlineExceededError             deadline-exceeded
├── InternalError                     internal-error
└── RequestError              the request is well-formed and cannot be served
    ├── UnknownFieldError             unknown-field
    ├── MissingFieldError             missing-field
    ├── InvalidFieldError             invalid-field
    ├── UnknownStrategyError          unknown-strategy
    ├── UnsuitableStrategyError       strategy-unsuitable
    ├── UnknownDtypeError             unknown-dtype
    ├── UnsupportedDtypeError         dtype-unsupported
    ├── DeviceUnavailableError        device-unavailable
    ├── ArrayUnavailableError         array-unavailable
    ├── ArrayExistsError              array-exists
    ├── RaggedArrayError              ragged-array
    ├── InvalidElementError           invalid-element
    ├── ValueOutOfRangeError          value-out-of-range
    ├── IntegerOverflowError          integer-overflow
    ├── ShapeMismatchError            shape-mismatch
    ├── InvalidEquationError          invalid-equation
    ├── LimitExceededError            limit-exceeded
    └── WorkExceededError             work-exceeded

`service.http.errors` adds those of routing and negotiation.
`GET /problems/{code}` shows the docstring of each leaf.
"""

from service.errors.base import (
    MAX_DETAIL,
    MAX_PLACES,
    MAX_QUOTED,
    Place,
    ServiceError,
    clip,
    counted,
    did_you_mean,
    escape,
    leaves,
    nearest,
    quote,
    quote_names,
)
from service.errors.body import (
    BodyError,
    BodyTooLargeError,
    DuplicateKeyError,
    InvalidUtf8Error,
    MalformedBodyError,
    MalformedJsonError,
    NestingError,
)
from service.errors.failures import (
    BusyError,
    ClusterUnavailableError,
    DeadlineExceededError,
    DeviceFailedError,
    DeviceUnreadyError,
    DrainingError,
    InternalError,
    OutOfMemoryError,
    OverloadedError,
    WarmingUpError,
    WorkerDiedError,
)
from service.errors.request import (
    ArrayExistsError,
    ArrayUnavailableError,
    DeviceUnavailableError,
    IntegerOverflowError,
    InvalidElementError,
    InvalidEquationError,
    InvalidFieldError,
    LimitExceededError,
    MissingFieldError,
    RaggedArrayError,
    RequestError,
    ShapeMismatchError,
    UnknownDtypeError,
    UnknownFieldError,
    UnknownStrategyError,
    UnsuitableStrategyError,
    UnsupportedDtypeError,
    ValueOutOfRangeError,
    WorkExceededError,
)

__all__ = [
    "MAX_DETAIL",
    "MAX_PLACES",
    "MAX_QUOTED",
    "ArrayExistsError",
    "ArrayUnavailableError",
    "BodyError",
    "BodyTooLargeError",
    "BusyError",
    "ClusterUnavailableError",
    "DeadlineExceededError",
    "DeviceFailedError",
    "DeviceUnavailableError",
    "DeviceUnreadyError",
    "DrainingError",
    "DuplicateKeyError",
    "IntegerOverflowError",
    "InternalError",
    "InvalidElementError",
    "InvalidEquationError",
    "InvalidFieldError",
    "InvalidUtf8Error",
    "LimitExceededError",
    "MalformedBodyError",
    "MalformedJsonError",
    "MissingFieldError",
    "NestingError",
    "OutOfMemoryError",
    "OverloadedError",
    "Place",
    "RaggedArrayError",
    "RequestError",
    "ServiceError",
    "ShapeMismatchError",
    "UnknownDtypeError",
    "UnknownFieldError",
    "UnknownStrategyError",
    "UnsuitableStrategyError",
    "UnsupportedDtypeError",
    "ValueOutOfRangeError",
    "WarmingUpError",
    "WorkExceededError",
    "WorkerDiedError",
    "clip",
    "counted",
    "did_you_mean",
    "escape",
    "leaves",
    "nearest",
    "quote",
    "quote_names",
]
