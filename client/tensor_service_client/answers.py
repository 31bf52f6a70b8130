"""Results of calls, gradients and chains, each with its envelope.

docs/timing.md explains the phases.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tensor_service_client.documents import Document, plain
from tensor_service_client.tables import Block, Table, Tabular
from tensor_service_client.units import shape_text, time_text

Result = TypeVar("Result")


class Timing(Tabular, Document):
    """Disjoint phases in milliseconds, and their sum."""

    decode_ms: float
    queue_ms: float
    upload_ms: float
    compile_ms: float
    compute_ms: float
    download_ms: float
    encode_ms: float
    total_ms: float
    threads: int
    warm: bool
    executor: str

    def _blocks(self) -> Iterator[Block]:
        *phases, total = [
            f"{name.removesuffix('_ms')} {time_text(value)}"
            for name, value in self.items()
            if name.endswith("_ms") and value
        ] or ["no time"]
        yield "; ".join(filter(None, (", ".join(phases), total)))


class Envelope(Document, timing=Timing):
    """An answer without its result. `dropped` names the fields that were too long for a header."""

    op: str
    strategy: str
    device: str
    precision: str | None
    deterministic: bool | None
    request_id: str
    timing: Timing
    warnings: list[str]
    broadcast: dict[str, Any]
    dropped: list[str]

    def notes(self) -> Iterator[str]:
        """Yield the arithmetic that was asked for, times and warnings."""
        asked = filter(None, (self.precision, "deterministic" if self.deterministic else None))
        if arithmetic := ", ".join(asked):
            yield f"arithmetic: {arithmetic}"
        if self.timing:
            yield f"times: {self.timing!r}"
        yield from (f"warning: {each}" for each in self.warnings or ())


class Summary(Tabular, Document):
    """Statistics of a result, without its elements."""

    min: Any
    max: Any
    mean: Any
    frobenius: Any
    nan: int
    posinf: int
    neginf: int
    corner: Any
    sha256: str

    def _blocks(self) -> Iterator[Block]:
        yield "summary of the finite elements"
        yield Table(("statistic", "value"), [(name, str(value)) for name, value in self.items()])


@dataclass(frozen=True, slots=True, repr=False)
class Answer(Tabular, Generic[Result]):
    """A result, its dtype and shape by the names of the service, and its envelope."""

    result: Result
    dtype: str
    shape: tuple[int, ...]
    envelope: Envelope

    @property
    def strategy(self) -> str:
        """The strategy that computed the result; with `auto`, the one that was chosen."""
        return self.envelope.strategy

    @property
    def device(self) -> str:
        """The device that computed the result."""
        return self.envelope.device

    @property
    def timing(self) -> Timing:
        """Duration of each phase, in milliseconds."""
        return self.envelope.timing

    @property
    def warnings(self) -> list[str]:
        """Warnings about lost precision, such as digits of an integer."""
        return self.envelope.warnings or []

    @property
    def request_id(self) -> str:
        """Id of the request, to be quoted in a report to the operator of the service."""
        return self.envelope.request_id

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope with the result, which is an array as it is."""
        fields = {"dtype": self.dtype, "shape": list(self.shape), "result": plain(self.result)}
        return self.envelope.to_dict() | fields

    def _blocks(self) -> Iterator[Block]:
        yield (
            f"{self.envelope.op}: {shape_text(self.shape)} {self.dtype} "
            f"by {self.strategy} on {self.device}"
        )
        yield from self.envelope.notes()
        if isinstance(self.result, Summary):
            yield from self.result.blocks()


@dataclass(frozen=True, slots=True, repr=False)
class Gradient(Tabular, Generic[Result]):
    """The gradient of an operand, its einsum, and the line of torch that computes it."""

    result: Result
    dtype: str
    shape: tuple[int, ...]
    equation: str
    explanation: str
    reproduce: str
    strategy: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields; the result is an array as it is."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "shape": list(self.shape)
        }

    def _blocks(self) -> Iterator[Block]:
        yield f"gradient: {shape_text(self.shape)} {self.dtype} by {self.strategy}"
        yield f"einsum {self.equation}: {self.explanation}"
        yield f"in torch: {self.reproduce}"


@dataclass(frozen=True, slots=True, repr=False)
class Gradients(Tabular, Generic[Result]):
    """Gradients by the names of operands: `a` and `b`, or `0`, `1`, ... of an einsum.

    `equation` is the call as an einsum, and `envelope` the answer without its gradients.
    """

    equation: str
    by_operand: Mapping[str, Gradient[Result]]
    envelope: Envelope

    def __getitem__(self, operand: str | int) -> Gradient[Result]:
        """Return the gradient of an operand by its name or its position in an einsum."""
        return self.by_operand[str(operand)]

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope with the gradients; results are arrays as they are."""
        found = {name: each.to_dict() for name, each in self.by_operand.items()}
        return self.envelope.to_dict() | {"gradients": found}

    def _blocks(self) -> Iterator[Block]:
        yield f"gradients of {self.envelope.op}, as einsum {self.equation}"
        columns = ("operand", "shape", "dtype", "strategy", "einsum", "in torch")
        yield Table(
            columns,
            [
                (name, shape_text(g.shape), g.dtype, g.strategy, g.equation, g.reproduce)
                for name, g in self.by_operand.items()
            ],
        )
        yield from self.envelope.notes()


class StepRow(Document):
    """Strategy, time, shape and dtype of one step of a chain."""

    name: str
    operation: str
    strategy: str
    shape: list[int]
    dtype: str
    compute_ms: float


class ChainEnvelope(Envelope, steps=StepRow):
    """An answer to a chain without its results."""

    steps: list[StepRow]


@dataclass(frozen=True, slots=True, repr=False)
class ChainAnswer(Tabular):
    """Results of a chain, in the order in which they were asked for, and its envelope."""

    results: list[Any]
    envelope: ChainEnvelope

    @property
    def result(self) -> Any:
        """The first result."""
        return self.results[0]

    @property
    def steps(self) -> list[StepRow]:
        """One row for each step."""
        return self.envelope.steps

    @property
    def timing(self) -> Timing:
        """Duration of each phase of all steps, in milliseconds."""
        return self.envelope.timing

    @property
    def warnings(self) -> list[str]:
        """Warnings about lost precision, each with its step."""
        return self.envelope.warnings or []

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope with the results, which are arrays as they are."""
        return self.envelope.to_dict() | {"results": self.results}

    def _blocks(self) -> Iterator[Block]:
        yield f"chain of {len(self.steps)} steps on {self.envelope.device}"
        yield Table(
            ("step", "strategy", "shape", "dtype", "compute"),
            [
                (s.name, s.strategy, shape_text(s.shape), s.dtype, time_text(s.compute_ms))
                for s in self.steps
            ],
            frozenset({"compute"}),
        )
        yield from self.envelope.notes()
