"""A client of the service, on httpx alone; it loads numpy or torch only for arrays of theirs.

`Client(url).matmul(a, b).result` is an array of the kind of `a`. docs/client.md tells the rest.
"""

from service.client.answers import Answer, Operation, Plan, Report, Row, Strategy, Summary, Timing
from service.client.arrays import Shape
from service.client.calls import Call, broadcast, einsum, matmul, norm
from service.client.clients import AsyncClient, Client
from service.client.errors import (
    AnswerError,
    ClientError,
    ProblemError,
    TimedOutError,
    UnexpectedAnswerError,
    UnreachableError,
)
from service.client.races import AsyncRace, Race

__all__ = [
    "Answer",
    "AnswerError",
    "AsyncClient",
    "AsyncRace",
    "Call",
    "Client",
    "ClientError",
    "Operation",
    "Plan",
    "ProblemError",
    "Race",
    "Report",
    "Row",
    "Shape",
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
