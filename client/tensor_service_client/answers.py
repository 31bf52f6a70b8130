"""Types that the client returns: answers, races, and JSON documents of the service as they are.

Documents may have more fields than these types, if the service is newer. docs/timing.md, plan.md
and compare.md explain the fields.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

Result = TypeVar("Result")
Rows = TypeVar("Rows")


class Timing(TypedDict):
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


class Envelope(TypedDict):
    """An answer without its result. `dropped` names the fields that were too long for a header."""

    op: str
    strategy: str
    device: str
    request_id: str
    timing: Timing
    warnings: NotRequired[list[str]]
    broadcast: NotRequired[dict[str, Any]]
    dropped: NotRequired[list[str]]


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """A result, its dtype and shape by the names of the service, and its envelope."""

    result: Result
    dtype: str
    shape: tuple[int, ...]
    envelope: Envelope

    @property
    def strategy(self) -> str:
        """The strategy that computed the result; with `auto`, the one that was chosen."""
        return self.envelope["strategy"]

    @property
    def device(self) -> str:
        """The device that computed the result."""
        return self.envelope["device"]

    @property
    def timing(self) -> Timing:
        """Duration of each phase, in milliseconds."""
        return self.envelope["timing"]

    @property
    def warnings(self) -> list[str]:
        """Warnings about lost precision, such as digits of an integer."""
        return self.envelope.get("warnings", [])

    @property
    def request_id(self) -> str:
        """Id of the request, to be quoted in a report to the operator of the service."""
        return self.envelope["request_id"]


@dataclass(frozen=True, slots=True)
class Gradient(Generic[Result]):
    """The gradient of an operand, its einsum, and the line of torch that computes it."""

    result: Result
    dtype: str
    shape: tuple[int, ...]
    equation: str
    explanation: str
    reproduce: str
    strategy: str


@dataclass(frozen=True, slots=True)
class Gradients(Generic[Result]):
    """Gradients by the names of operands: `a` and `b`, or `0`, `1`, ... of an einsum.

    `equation` is the call as an einsum, and `envelope` the answer without its gradients.
    """

    equation: str
    by_operand: Mapping[str, Gradient[Result]]
    envelope: dict[str, Any]

    def __getitem__(self, operand: str | int) -> Gradient[Result]:
        """Return the gradient of an operand by its name or its position in an einsum."""
        return self.by_operand[str(operand)]


class StepRow(TypedDict):
    """Strategy, time, shape and dtype of one step of a chain."""

    name: str
    operation: str
    strategy: str
    shape: list[int]
    dtype: str
    compute_ms: float


class ChainEnvelope(TypedDict):
    """An answer to a chain without its results."""

    op: str
    steps: list[StepRow]
    device: str
    warnings: list[str]
    request_id: str
    timing: Timing


@dataclass(frozen=True, slots=True)
class ChainAnswer:
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
        return self.envelope["steps"]

    @property
    def timing(self) -> Timing:
        """Duration of each phase of all steps, in milliseconds."""
        return self.envelope["timing"]

    @property
    def warnings(self) -> list[str]:
        """Warnings about lost precision, each with its step."""
        return self.envelope["warnings"]


class Summary(TypedDict):
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


class PlannedResult(TypedDict):
    """Shape, dtype and size of the result."""

    shape: list[int]
    dtype: str
    elements: int
    bytes: int


class PlannedWork(TypedDict):
    """Work of the chosen strategy."""

    multiply_adds: int
    peak_elements: int
    peak_bytes: int


class PlannedStrategy(TypedDict):
    """Estimate of one strategy on one device, or the reason why it would not run."""

    strategy: str
    device: str
    available: bool
    accepted: bool
    estimated_ms: float | None
    basis: Literal["measured", "prior"] | None
    compile_ms: float | None
    reason: str | None


class Plan(TypedDict):
    """Shape, dtype and cost of a call; nothing was computed."""

    op: str
    accepted: bool
    reason: str | None
    strategy: str | None
    device: str | None
    result: PlannedResult
    work: PlannedWork
    strategies: list[PlannedStrategy]
    reproduce: str
    path: NotRequired[list[dict[str, Any]]]
    broadcast: NotRequired[dict[str, Any]]


class Row(TypedDict):
    """Speed and agreement of one strategy on one device, or `skipped` with the reason.

    A skipped row has none of the fields that are not required here.
    """

    strategy: str
    device: str
    estimated_ms: float | None
    runs: NotRequired[int]
    median_ms: NotRequired[float]
    min_ms: NotRequired[float]
    iqr_ms: NotRequired[float]
    compile_ms: NotRequired[float]
    speedup: NotRequired[float | None]
    max_abs_error: NotRequired[float | str]
    median_abs_error: NotRequired[float | str]
    max_rel_error: NotRequired[float | str]
    median_rel_error: NotRequired[float | str]
    max_ulp_error: NotRequired[float | str]
    median_ulp_error: NotRequired[float | str]
    agrees: NotRequired[bool]
    disagreeing: NotRequired[int]
    worst: NotRequired[list[int] | None]
    gflops: NotRequired[float | None]
    gb_per_s: NotRequired[float | None]
    peak_share: NotRequired[float | None]
    skipped: NotRequired[str]


class Report(TypedDict):
    """Report of a race of strategies on the same inputs, slowest first."""

    op: str
    shapes: list[list[int]]
    dtype: str
    multiply_adds: int
    baseline: str | None
    reference: dict[str, Any] | None
    host: dict[str, Any]
    rows: list[Row]


class Strategy(TypedDict):
    """One way to compute an operation."""

    op: str
    name: str
    summary: str
    snippet: str
    dtypes: dict[str, list[str]]
    available: bool
    reason: str | None
    work_limits: list[dict[str, Any]]


class Operation(TypedDict):
    """An operation and its strategies, slowest first."""

    name: str
    summary: str
    operands: list[str]
    auto: list[str]
    strategies: list[Strategy]


class _Race(Generic[Rows]):
    """A race that begins when an iteration over its rows begins."""

    def __init__(self, receive: Callable[[Callable[[Report], None]], Rows]):
        """`receive` returns the rows of one race, and passes on its report after the last one."""
        self._receive = receive
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """The report of the last race; RuntimeError before its last row has arrived."""
        if self._report is None:
            raise RuntimeError("the race has no report yet: it comes after the last of the rows")
        return self._report

    def _run(self) -> Rows:
        """Begin a race."""
        self._report = None
        return self._receive(self._set_report)

    def _set_report(self, report: Report) -> None:
        self._report = report


class Race(_Race[Iterator[Row]]):
    """An iteration over the rows of a race, each when its strategy finishes; then the `report`.

    Speed-ups are in the report alone, because the baseline may run last. To leave the loop ends the
    race, and another loop is another race.
    """

    def __iter__(self) -> Iterator[Row]:
        """Race, and yield each row as it arrives."""
        return self._run()


class AsyncRace(_Race[AsyncIterator[Row]]):
    """A `Race` for `async for`."""

    def __aiter__(self) -> AsyncIterator[Row]:
        """Race, and yield each row as it arrives."""
        return self._run()
