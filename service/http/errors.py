"""Errors of HTTP alone: routing, negotiation, authentication, connections."""

from service.errors import ServiceError


class TransportError(ServiceError):
    """The request cannot be routed, or no common format exists."""


class NotFoundError(TransportError):
    """Nothing is served at this path; the detail lists what is."""

    code = "not-found"
    title = "Nothing is here"


class MethodNotAllowedError(TransportError):
    """The path exists and does not take this method; `Allow` lists those it takes."""

    code = "method-not-allowed"
    title = "The method is not allowed here"
    allowed: tuple[str, ...] = ()


class NotAcceptableError(TransportError):
    """`Accept` admits none of the formats that the service writes; the detail lists them."""

    code = "not-acceptable"
    title = "No acceptable format"


class UnsupportedMediaTypeError(TransportError):
    """Bodies of this `Content-Type` or `Content-Encoding` are not read."""

    code = "unsupported-media-type"
    title = "Unsupported media type"


class MalformedRequestError(ServiceError):
    """The bytes on the connection are no HTTP request (RFC 9112), so it was closed.

    Content-Length must be one number, Host one address, the method one that HTTP has, and a chunk
    as long as it says.
    """

    code = "malformed-request"
    title = "Not an HTTP request"


class HttpVersionError(ServiceError):
    """The request states a major version of HTTP other than 1, so the connection was closed."""

    code = "http-version-not-supported"
    title = "Unsupported version of HTTP"


class UnsupportedTransferCodingError(ServiceError):
    """Of `Transfer-Encoding`, `chunked` alone is read."""

    code = "unsupported-transfer-coding"
    title = "Unsupported transfer coding"


class HeadTooLargeError(ServiceError):
    """Request line and headers are over `SERVICE_MAX_HEAD_BYTES`; the connection was closed."""

    code = "head-too-large"
    title = "The head is too large"


class RequestTimeoutError(ServiceError):
    """The request came too slowly, and the connection was closed.

    Its head may take `SERVICE_HEAD_S` seconds, all of it `SERVICE_REQUEST_S`.
    """

    code = "request-timeout"
    title = "The request took too long to come"


class UnauthorizedError(ServiceError):
    """An API key is required, and the request has none, or an unknown one.

    Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`. In a browser, the lab page at `/`
    and Swagger UI at `/docs` take it. The operator of the service issues keys.
    """

    code = "unauthorized"
    title = "An API key is needed"

    def __init__(self, detail: str, *, hint: str | None = None, wrong_key: bool = False):
        """Make the error; `wrong_key` says that there was a key."""
        super().__init__(detail, hint=hint)
        self.wrong_key = wrong_key


class CrossOriginError(ServiceError):
    """A browser has asked whether a page may send a request, and it may not.

    `SERVICE_CORS_ORIGINS` has the origins whose pages may, with the methods and headers of this
    service.
    """

    code = "cross-origin-refused"
    title = "A page of this origin may not send this"


class RateLimitedError(ServiceError):
    """One key, or one client address, has sent more requests than it may (`SERVICE_RATE`).

    Wait as long as `Retry-After` says. Larger requests, and fewer, get more done.
    """

    code = "rate-limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after_s: int):
        """Make the error, with the seconds to wait."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s
