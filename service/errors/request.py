"""Errors of a request that is well-formed and cannot be served."""

from service.errors.base import ServiceError


class RequestError(ServiceError):
    """The request is well-formed and cannot be served."""


class UnknownFieldError(RequestError):
    """The request has a field that its operation does not have. The hint gives the nearest one."""

    code = "unknown-field"
    title = "Unknown field"


class MissingFieldError(RequestError):
    """A field that the operation needs is missing."""

    code = "missing-field"
    title = "A field is missing"


class InvalidFieldError(RequestError):
    """A field has a value of the wrong kind or outside its choices. The detail lists them."""

    code = "invalid-field"
    title = "A field has an unusable value"


class UnknownStrategyError(RequestError):
    """No strategy of this operation has that name. `GET /strategies` lists them."""

    code = "unknown-strategy"
    title = "Unknown strategy"


class UnsuitableStrategyError(RequestError):
    """The strategy exists and does not support this dtype, device, rank or parameter.

    The hint names the strategies that do.
    """

    code = "strategy-unsuitable"
    title = "The strategy does not take this call"


class UnknownDtypeError(RequestError):
    """No dtype has that name. The detail lists those that exist."""

    code = "unknown-dtype"
    title = "Unknown dtype"


class UnsupportedDtypeError(RequestError):
    """The operation is not defined for operands of this dtype. The hint names one that works."""

    code = "dtype-unsupported"
    title = "The operation does not take this dtype"


class DeviceUnavailableError(RequestError):
    """This host has no such device. A named device is never replaced by another.

    `GET /devices` lists the devices of this host; `"device": "auto"` uses the best of them.
    """

    code = "device-unavailable"
    title = "The device is not available"


class ArrayUnavailableError(RequestError):
    """No stored array has that name, or its file cannot be read or written.

    Names are those of files in the folder of stored arrays (`SERVICE_DATA`), such as `weights.npy`
    or `layers/first.zarr`.
    """

    code = "array-unavailable"
    title = "The stored array is not available"


class ArrayExistsError(RequestError):
    """The name under which the result should be stored is taken.

    Choose another name, or send `"overwrite": true` with it.
    """

    code = "array-exists"
    title = "The name is taken"


class RaggedArrayError(RequestError):
    """Rows of one axis have different lengths, or rows and numbers are mixed.

    A tensor is rectangular. The pointer names the first place that differs from row 0.
    """

    code = "ragged-array"
    title = "The array is not rectangular"


class InvalidElementError(RequestError):
    """An element is not a number of the tensor's dtype: a null, a boolean, a string, an object.

    NaN and infinities are the strings `"NaN"`, `"Infinity"`, `"-Infinity"`; booleans need
    a dtype; integers may be decimal strings.
    """

    code = "invalid-element"
    title = "An element is not a number"


class ValueOutOfRangeError(RequestError):
    """The dtype cannot hold a number: it would become infinite, wrap around or lose its fraction.

    The hint names a dtype that can hold it.
    """

    code = "value-out-of-range"
    title = "A number does not fit the dtype"


class IntegerOverflowError(RequestError):
    """The exact result does not fit the integer dtype of the operands.

    Integer results are exact or refused; nothing wraps around. Send a wider dtype, or floats.
    """

    code = "integer-overflow"
    title = "The exact result does not fit the integer dtype"


class ShapeMismatchError(RequestError):
    """The shapes of the operands do not fit together. The detail names the axes and sizes."""

    code = "shape-mismatch"
    title = "Operand shapes do not fit"


class InvalidEquationError(RequestError):
    """The einsum equation cannot be read. The detail gives position and letter.

    The grammar is that of `torch.einsum`: one term of letters for each operand, joined by commas,
    then optionally `->` and the letters of the result; `...` stands for axes without a letter.
    """

    code = "invalid-equation"
    title = "The equation cannot be read"


class LimitExceededError(RequestError):
    """A tensor of the call would exceed a limit. Nothing was computed.

    The detail gives the limit, the value and the setting; `GET /limits` lists all of them.
    """

    code = "limit-exceeded"
    title = "A size is over its limit"


class WorkExceededError(RequestError):
    """The strategy would take longer than the deadline, as measured on this host.

    The detail gives the estimate. A faster strategy or a later deadline may work.
    """

    code = "work-exceeded"
    title = "The work would take too long"
