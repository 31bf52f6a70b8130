"""The tree of errors a call can end in. It knows no HTTP: `service.http.problems` gives statuses.

ServiceError
├── BodyError                 the bytes are not a document
│   ├── MalformedJsonError            malformed-json
│   ├── InvalidUtf8Error              invalid-utf8
│   ├── DuplicateKeyError             duplicate-key
│   ├── NestingError                  nesting-too-deep
│   └── MalformedBodyError            malformed-body
├── BodyTooLargeError                 body-too-large
├── BusyError                 not now
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
└── RequestError              well-formed, and cannot be served
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
The docstring of each leaf is what `GET /problems/{code}` tells its reader.
"""

from service.errors.base import (
    MAX_DETAIL,
    MAX_PLACES,
    MAX_QUOTED,
    Place,
    ServiceError,
    clip,
    did_you_mean,
    leaves,
    nearest,
    quote,
)
from service.errors.other import (
    BodyError,
    BodyTooLargeError,
    BusyError,
    ClusterUnavailableError,
    DeadlineExceededError,
    DeviceFailedError,
    DeviceUnreadyError,
    DrainingError,
    DuplicateKeyError,
    InternalError,
    InvalidUtf8Error,
    MalformedBodyError,
    MalformedJsonError,
    NestingError,
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
    "did_you_mean",
    "leaves",
    "nearest",
    "quote",
]
