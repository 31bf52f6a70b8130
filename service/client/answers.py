"""Answers: a result with its envelope, and the service's JSON documents as they are.

A field that a later service adds is in them, too. docs/timing.md, plan.md and compare.md explain.
"""

from dataclasses import dataclass
from typing import Any, Generic, NotRequired, TypedDict, TypeVar

Result = TypeVar("Result")


class Timing(TypedDict):
    """Disjoint phases in milliseconds, and their sum."""

    decode_ms: float
    queue_ms: float
    upload_ms: float
    compute_ms: float
    download_ms: float
    encode_ms: float
    total_ms: float
    threads: int
    warm: bool
    lane: str


class Envelope(TypedDict):
    """An answer without its result. `dropped` names what was too long for a header."""

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
    """A result, its dtype and shape as the service names them, and how it was computed."""

    result: Result
    dtype: str
    shape: tuple[int, ...]
    envelope: Envelope

    @property
    def strategy(self) -> str:
        """What computed it; with `auto`, what was picked."""
        return self.envelope["strategy"]

    @property
    def device(self) -> str:
        """Where it was computed."""
        return self.envelope["device"]

    @property
    def timing(self) -> Timing:
        """What each phase took, in milliseconds."""
        return self.envelope["timing"]

    @property
    def warnings(self) -> list[str]:
        """What was lost on the way, such as digits of a whole number."""
        return self.envelope.get("warnings", [])

    @property
    def request_id(self) -> str:
        """What to name in a report to the service's operator."""
        return self.envelope["request_id"]


class Summary(TypedDict):
    """What can be said of a result without its elements."""

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
    """What the result would be."""

    shape: list[int]
    dtype: str
    elements: int
    bytes: int


class PlannedWork(TypedDict):
    """What the chosen strategy would do."""

    multiply_adds: int
    peak_elements: int
    peak_bytes: int


class PlannedStrategy(TypedDict):
    """What one strategy would cost on one device, or the reason why it would not run."""

    strategy: str
    device: str
    available: bool
    accepted: bool
    estimated_ms: float | None
    reason: str | None


class Plan(TypedDict):
    """What a call means and costs; nothing was computed."""

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
    """One rung of a race: how fast and how exact, or `skipped` with the reason.

    A row that is skipped has none of the fields that are not required here.
    """

    strategy: str
    device: str
    estimated_ms: float | None
    runs: NotRequired[int]
    median_ms: NotRequired[float]
    min_ms: NotRequired[float]
    iqr_ms: NotRequired[float]
    speedup: NotRequired[float | None]
    max_abs_error: NotRequired[float | str]
    max_rel_error: NotRequired[float | str]
    agrees: NotRequired[bool]
    disagreeing: NotRequired[int]
    worst: NotRequired[list[int] | None]
    skipped: NotRequired[str]


class Report(TypedDict):
    """A race of strategies on the same inputs, slowest first."""

    op: str
    shapes: list[list[int]]
    dtype: str
    multiply_adds: int
    baseline: str | None
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
