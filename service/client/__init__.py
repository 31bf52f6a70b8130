"""Client of the service. It needs httpx alone, and numpy or torch only for their arrays.

`Client(url).matmul(a, b).result` is an array of the kind of `a`. docs/client.md has examples.
"""

from service.client.answers import (
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
from service.client.arrays import Shape
from service.client.calls import Call, broadcast, einsum, matmul, norm
from service.client.chain import Chain, StepResult
from service.client.clients import AsyncClient, Client
from service.client.errors import (
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
