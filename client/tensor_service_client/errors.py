"""Errors of the client.

ClientError
├── InvalidArgumentError          an operand or a field cannot be sent; no request was
├── UnreachableError              no complete response arrived
│   └── TimedOutError             no response arrived in time
└── AnswerError                   a response with a status arrived
    ├── UnexpectedAnswerError     not from this service, or from another version of it
    └── ProblemError              a problem document of the service (RFC 9457)

`tensor_service_client.problems` has a subclass of ProblemError for each code of the service.
"""

from dataclasses import dataclass
from typing import Any, Final

MEDIA_TYPE: Final = "application/problem+json"


class ClientError(Exception):
    """Base of all errors of a call."""


class InvalidArgumentError(ClientError, TypeError):
    """An operand or a field that cannot be sent exactly; the message says what to call first."""


class UnreachableError(ClientError):
    """No complete response arrived: there was no connection, or it broke."""


class TimedOutError(UnreachableError, TimeoutError):
    """The service sent nothing for too long."""


class AnswerError(ClientError):
    """A response arrived and holds no result. `wait_s` is the value of its `Retry-After`."""

    status: int = 200
    request_id: str | None = None
    wait_s: float | None = None


class UnexpectedAnswerError(AnswerError):
    """The response is not one of this service, but perhaps of a proxy or of another version."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the request as a JSON pointer, and the mistake there."""

    pointer: str
    detail: str


class ProblemError(AnswerError):
    """A problem document: `code`, `title`, `detail`, the `places` at fault, `hint`, `instance`."""

    code: str

    def __init__(self, document: dict[str, Any]):
        """Read the problem document; KeyError, TypeError or ValueError if it is another one."""
        super().__init__(document)
        self.document = document
        self.status = int(document["status"])
        self.code = str(document["code"])
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.hint: str | None = document.get("hint")
        self.places = tuple(
            Place(each["pointer"], each["detail"]) for each in document.get("errors", ())
        )
        self.instance: str | None = document.get("instance")

    def __str__(self) -> str:
        """Detail, places and hint, in lines."""
        lines = [f"{self.status} {self.code}: {self.detail}"]
        lines += [f"at {place.pointer}: {place.detail}" for place in self.places]
        lines += [f"hint: {self.hint}"] if self.hint else []
        return "\n".join(lines)
