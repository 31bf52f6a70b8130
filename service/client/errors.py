"""What a call can end in other than an answer.

ClientError
├── UnreachableError              no whole answer came
│   └── TimedOutError             within the time
└── AnswerError                   one came, which has a status
    ├── UnexpectedAnswerError     it is not of this service, or not of this version
    └── ProblemError              a problem document of the service (RFC 9457)

A ProblemError is a ServiceError, of the class that the service itself raised where
`service.errors` has it: `except ShapeMismatchError` catches it here as it does there.
"""

from functools import cache
from typing import Any, Final

from service.errors import Place, ServiceError, leaves

MEDIA_TYPE: Final = "application/problem+json"


class ClientError(Exception):
    """A call that has no result."""


class UnreachableError(ClientError):
    """No whole answer came: no connection, or one that broke."""


class TimedOutError(UnreachableError, TimeoutError):
    """The service was silent for too long."""


class AnswerError(ClientError):
    """An answer came, and holds no result. `wait_s` is what its `Retry-After` says."""

    status: int = 200
    request_id: str | None = None
    wait_s: float | None = None


class UnexpectedAnswerError(AnswerError):
    """The answer is none that the service gives: of a proxy perhaps, or of another version."""


class ProblemError(AnswerError, ServiceError):
    """The service says why there is no result: `detail`, `hint`, and the `places` at fault."""

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
        # A class with a code of its own would be one of the service's tree.
        vars(self).update(code=document["code"], title=document.get("title", ""))

    def __str__(self) -> str:
        """What went wrong, where, and what would work."""
        lines = [f"{self.status} {self.code}: {self.detail}"]
        lines += [f"at {place.pointer}: {place.detail}" for place in self.places]
        lines += [f"hint: {self.hint}"] if self.hint else []
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        """Itself from its document, for a pickle: its class may have no name to be found by."""
        rest = {"request_id": self.request_id, "wait_s": self.wait_s}
        return problem, (self.document,), rest


def problem(document: dict[str, Any]) -> ProblemError:
    """The error of a problem document, of the class that its code stands for."""
    return class_of(str(document["code"]))(document)


@cache
def class_of(code: str) -> type[ProblemError]:
    """ProblemError together with the service's own class; alone where none has the code."""
    for kind in leaves():
        if kind.code == code:
            return type(kind.__name__, (ProblemError, kind), {"__doc__": kind.__doc__})
    return ProblemError
