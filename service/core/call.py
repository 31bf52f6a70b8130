"""The two values that cross the layers: a Call goes down, an Outcome comes up."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from service.core.array_files import Sink, Source

AUTO: Final = "auto"  # the name that leaves the choice of strategy or device to the service
Tensor = torch.Tensor
Blocks = Any  # a dask.array, which takes numpy's functions
Shape = tuple[int, ...]

# How a JSON answer gives the result.
OUTPUTS: Final = ("nested", "flat", "base64", "summary", "none")


@dataclass(frozen=True, slots=True)
class Spec:
    """An operand before its data: shape and dtype."""

    shape: Shape
    dtype: torch.dtype


class Stored(torch.Tensor):
    """A tensor whose elements are still in a file: here are its shape and dtype alone.

    It lies on torch's meta device, so that nothing computes with what is not there. `load` gives
    the elements, or raises an ArrayUnavailableError; `source` is how others read them.
    """

    label: str
    source: Source
    load: Callable[[], Tensor]


def stored(label: str, dtype: torch.dtype, source: Source, load: Callable[[], Tensor]) -> Stored:
    """The tensor that a file holds."""
    tensor = torch.empty(source.shape, dtype=dtype, device="meta").as_subclass(Stored)
    tensor.label, tensor.source, tensor.load = label, source, load
    return tensor


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """An output: a file that holds the result, under a name that later calls can refer to.

    `create` gives an empty file of that shape and dtype, which gets its name when the context is
    left without an error, and is removed otherwise.
    """

    name: str
    create: Callable[[Spec], AbstractContextManager[Sink]]


Output = str | StoreTarget  # one of OUTPUTS, or a file


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
    output: Output = "nested"
    deadline_ms: int | None = None
    warnings: tuple[str, ...] = ()
    operand_specs: tuple[Spec, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Shape and dtype of each operand."""
        return self.operand_specs or tuple(Spec(tuple(x.shape), x.dtype) for x in self.operands)


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
    executor: str = "inline"
