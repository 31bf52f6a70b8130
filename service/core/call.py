"""Values that pass through the layers: `Call` on the way in, `Outcome` on the way out."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from service.core.arithmetic import FIELDS, Arithmetic
from service.core.array_files import Sink, Source

AUTO: Final = "auto"  # the service chooses the strategy or the device
# Fields of every call.
COMMON: Final = ("strategy", "device", "dtype", "output", "deadline_ms", *FIELDS)
Tensor = torch.Tensor
Blocks = Any  # a dask.array, which supports numpy's functions
Shape = tuple[int, ...]

# Forms of the result in a JSON response.
OUTPUTS: Final = ("nested", "flat", "base64", "summary", "none")


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and dtype of an operand."""

    shape: Shape
    dtype: torch.dtype


class Stored(torch.Tensor):
    """Tensor whose elements are in a file; only shape and dtype are in memory.

    It is on torch's meta device, so that no computation can use elements that are not loaded.
    `load` returns a tensor with the elements, or raises ArrayUnavailableError. `source` is for
    readers in other processes.
    """

    label: str
    source: Source
    load: Callable[[], Tensor]


def stored(label: str, dtype: torch.dtype, source: Source, load: Callable[[], Tensor]) -> Stored:
    """Return a tensor that stands for the array in a file."""
    tensor = torch.empty(source.shape, dtype=dtype, device="meta").as_subclass(Stored)
    tensor.label, tensor.source, tensor.load = label, source, load
    return tensor


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """Output to a file, whose name later calls can refer to.

    `create` returns a context with an empty file of a shape and dtype. The file gets its name when
    the context ends without an error, and is removed otherwise.
    """

    name: str
    create: Callable[[Spec], AbstractContextManager[Sink]]


Output = str | StoreTarget  # a str is one of OUTPUTS


@dataclass(slots=True)  # made for each request: a frozen one takes 2 us more
class Call:
    """One operation: operands on the CPU, of one dtype, and checked parameters.

    `operand_specs` describe the operands of a plan, which may have no data. `options` are fields of
    a route beside the parameters of the operation. With `is_moderate` no number of an operand is
    2^24 or more.
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
    is_moderate: bool = False
    arithmetic: Arithmetic | None = None

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Shape and dtype of each operand."""
        return self.operand_specs or tuple(Spec(tuple(x.shape), x.dtype) for x in self.operands)


@dataclass(slots=True)
class Outcome:
    """Result on the CPU, and how it was computed."""

    op: str
    result: Tensor
    strategy: str
    device: str
    threads: int
    warm: bool
    warnings: tuple[str, ...] = ()
    explanation: Mapping[str, object] | None = None
    arithmetic: Arithmetic | None = None
    executor: str = "inline"


@dataclass(slots=True)
class StepOutcome:
    """One step of a chain: what computed it, how long that took, and what came out."""

    name: str
    op: str
    strategy: str
    spec: Spec
    elapsed_ns: int


@dataclass(slots=True)
class ChainOutcome(Outcome):
    """Results of a chain by the names of their steps; `result` is the first of them."""

    results: Mapping[str, Tensor] = field(default_factory=dict)
    steps: tuple[StepOutcome, ...] = ()
