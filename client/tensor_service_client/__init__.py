"""Client of the tensor service, for Python.

`Client(url).matmul(a, b).result` is an array of the kind of `a`. docs/client.md has examples.
"""

from tensor_service_client.answers import (
    Answer,
    ChainAnswer,
    Gradient,
    Gradients,
    Summary,
    Timing,
)
from tensor_service_client.arrays import Shape
from tensor_service_client.calls import Call, broadcast, einsum, matmul, norm
from tensor_service_client.catalog import Device, Devices, Operation, Operations, Strategy
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
from tensor_service_client.plans import ChainPlan, Plan
from tensor_service_client.races import AsyncRace, Race, Report, Row

__all__ = [
    "Answer",
    "AnswerError",
    "AsyncClient",
    "AsyncRace",
    "Call",
    "Chain",
    "ChainAnswer",
    "ChainPlan",
    "Client",
    "ClientError",
    "Device",
    "Devices",
    "Gradient",
    "Gradients",
    "InvalidArgumentError",
    "Operation",
    "Operations",
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
