"""Client of the tensor service, for Python.

`Client(url).matmul(a, b).result` is an array of the kind of `a`. docs/client.md has examples.
"""

from tensor_service_client.answers import (
    Answer,
    AsyncRace,
    ChainAnswer,
    Gradient,
    Gradients,
    Operation,
    Plan,
    Race,
    Report,
    Row,
    Strategy,
    Summary,
    Timing,
)
from tensor_service_client.arrays import Shape
from tensor_service_client.calls import Call, broadcast, einsum, matmul, norm
from tensor_service_client.chain import Chain, StepResult
from tensor_service_client.clients import AsyncClient, Client
from tensor_service_client.errors import (
    AnswerError,
    ClientError,
    InvalidArgumentError,
    ProblemError,
    TimedOutError,
    UnexpectedAnswerError,
    UnreachableError,
)

__all__ = [
    "Answer",
    "AnswerError",
    "AsyncClient",
    "AsyncRace",
    "Call",
    "Chain",
    "ChainAnswer",
    "Client",
    "ClientError",
    "Gradient",
    "Gradients",
    "InvalidArgumentError",
    "Operation",
    "Plan",
    "ProblemError",
    "Race",
    "Report",
    "Row",
    "Shape",
    "StepResult",
    "Strategy",
    "Summary",
    "TimedOutError",
    "Timing",
    "UnexpectedAnswerError",
    "UnreachableError",
    "broadcast",
    "einsum",
    "matmul",
    "norm",
]
