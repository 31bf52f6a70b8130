"""The two values that cross the layers: a Call goes down, an Outcome comes up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch

AUTO: Final = "auto"  # the name that leaves the choice of strategy or device to the service
Tensor = torch.Tensor
Shape = tuple[int, ...]

# How a JSON answer gives the result.
OUTPUTS: Final = ("nested", "flat", "base64", "summary", "none")


@dataclass(frozen=True, slots=True)
class Spec:
    """An operand before its data: shape and dtype."""

    shape: Shape
    dtype: torch.dtype


@dataclass(slots=True)  # one is made for each request: frozen, it takes 2 us more
class Call:
    """One operation: operands on the CPU, of one dtype, and checked parameters.

    A `sketch` stands for the operands of a plan, which may have no data. `options` are what a
    route asks for beside the operation's own parameters.
    """

    op: str
    operands: tuple[Tensor, ...]
    params: Mapping[str, object]
    strategy: str = AUTO
    device: str = AUTO
    output: str = "nested"
    deadline_ms: int | None = None
    warnings: tuple[str, ...] = ()
    sketch: tuple[Spec, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Shape and dtype of each operand."""
        return self.sketch or tuple(Spec(tuple(x.shape), x.dtype) for x in self.operands)


@dataclass(slots=True)
class Outcome:
    """The result, on the CPU, and how it was computed."""

    op: str
    result: Tensor
    strategy: str
    device: str
    threads: int
    warm: bool
    warnings: tuple[str, ...] = ()
    explanation: Mapping[str, object] | None = None
    lane: str = "inline"
