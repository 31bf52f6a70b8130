"""Errors of the client.

ClientError
├── InvalidArgumentError          an operand or a field cannot be sent; no request was
├── UnreachableError              no complete response arrived
│   └── TimedOutError             no response arrived in time
└── AnswerError                   a response with a status arrived
    ├── UnexpectedAnswerError     not from this service, or from another version of it
    └── ProblemError              a problem document of the service (RFC 9457)

A ProblemError is also an instance of the class in `service.errors` that has its code: `except
ShapeMismatchError` works in a client as in the service.
"""

from functools import cache
from typing import Any, Final

from service.errors import Place, ServiceError, leaves

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


class ProblemError(AnswerError, ServiceError):
    """A problem document of the service: `detail`, `hint`, and the `places` at fault."""

    def __init__(self, document: dict[str, Any]):
        """Read the problem document."""
        ServiceError.__init__(
            self,
            str(document.get("detail", "")),
            hint=document.get("hint"),
            places=[Place(each["pointer"], each["detail"]) for each in document.get("errors", ())],
        )
        self.document = document
        self.status = int(document["status"])
        self.instance: str | None = document.get("instance")
        # Set on the instance: a class with a code would be a leaf of the tree of service errors.
        vars(self).update(code=document["code"], title=document.get("title", ""))

    def __str__(self) -> str:
        """Detail, places and hint, in lines."""
        lines = [f"{self.status} {self.code}: {self.detail}"]
        lines += [f"at {place.pointer}: {place.detail}" for place in self.places]
        lines += [f"hint: {self.hint}"] if self.hint else []
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the document: a class that is made by `class_of` has no importable name."""
        rest = {"request_id": self.request_id, "wait_s": self.wait_s}
        return problem, (self.document,), rest


def problem(document: dict[str, Any]) -> ProblemError:
    """Return the error of a problem document, of the class that has its code."""
    return class_of(str(document["code"]))(document)


@cache
def class_of(code: str) -> type[ProblemError]:
    """Return a subclass of ProblemError and the service error with that code, if there is one."""
    for kind in leaves():
        if kind.code == code:
            return type(kind.__name__, (ProblemError, kind), {"__doc__": kind.__doc__})
    return ProblemError
