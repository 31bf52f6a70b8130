"""Errors of a request body that is too large or is not a document of its media type."""

from service.errors.base import ServiceError


class BodyError(ServiceError):
    """The body cannot be read as a document of its media type."""


class MalformedJsonError(BodyError):
    """The body is not JSON (RFC 8259). The detail gives the position of the first mistake.

    Bare `NaN` and `Infinity` are not JSON either: write `"NaN"`, `"Infinity"`, `"-Infinity"`.
    """

    code = "malformed-json"
    title = "The body is not JSON"


class InvalidUtf8Error(BodyError):
    """The body is not UTF-8. JSON between systems is always UTF-8 (RFC 8259, section 8.1)."""

    code = "invalid-utf8"
    title = "The body is not UTF-8"


class DuplicateKeyError(BodyError):
    """An object has the same key twice, so the value that was meant is not clear.

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
    """The body does not match its `Content-Type` or `Content-Encoding`. The detail says why.

    Binary formats and compressed bodies are read strictly: lengths must add up, without bytes left
    over and without overlap. Files of `numpy.save`, `numpy.savez` and `safetensors` are valid.
    """

    code = "malformed-body"
    title = "The body is not of its media type"


class BodyTooLargeError(ServiceError):
    """The body is larger than `SERVICE_MAX_BODY_BYTES`, as sent or after decompression.

    `GET /limits` gives the limit. Numbers take fewer bytes in binary than as text: send base64 or
    one of the binary formats.
    """

    code = "body-too-large"
    title = "The body is too large"
