"""Models of the answers, for the OpenAPI document. Elements of tensors do not pass through them."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

REF: Final = "#/components/schemas/{model}"
STATED: Final = "As asked for; absent if the request has no such field."
Precision = Literal["ieee", "tf32", "bf16x3"]
BINARY: Final = {"type": "string", "format": "binary"}


class Summary(BaseModel):
    """Summary of a result, which `output: "summary"` gives instead of the elements."""

    min: Any = Field(description="Least finite number; null if there is none, or for complex.")
    max: Any = Field(description="Greatest finite number; null if there is none, or for complex.")
    mean: Any = Field(description="Mean of the finite numbers.")
    frobenius: Any = Field(description="Frobenius norm, in float64.")
    nan: int
    posinf: int
    neginf: int
    corner: Any = Field(description="The first few elements of the last two axes.")
    sha256: str = Field(description="Of the little-endian row-major bytes.")


class Result(BaseModel):
    """A tensor in an answer; it can be sent back as an operand."""

    shape: list[int]
    dtype: str
    data: Any = Field(None, description='Nested, or flat with `output: "flat"`.')
    b64: str | None = Field(None, description="Base64 of little-endian row-major bytes.")
    summary: Summary | None = None
    ref: str | None = Field(None, description="The name that it was stored under.")


class Timing(BaseModel):
    """Disjoint phases, in milliseconds, that add up to the total."""

    decode_ms: float
    queue_ms: float
    upload_ms: float
    compile_ms: float = Field(description="Code for the strategy, in the first call of a process.")
    compute_ms: float = Field(description="The strategy alone, synchronised on a GPU.")
    download_ms: float
    encode_ms: float
    total_ms: float
    threads: int = Field(description="Intra-op threads of torch.")
    warm: bool = Field(
        description="False on the first run of a strategy on a device, in a dtype and a precision."
    )
    executor: Literal["inline", "thread", "process"] = Field(
        description="Where it ran: in the event loop, on a thread, or in another process."
    )


class AxisOperand(BaseModel):
    """Role of one operand in one axis of the result."""

    size: int | None
    role: str = Field(description="kept, stretched or added")


class Axis(BaseModel):
    """One axis of the result, counted from the right."""

    axis: int
    size: int
    operands: list[AxisOperand]


class AlignedOperand(BaseModel):
    """One operand before and after it is stretched; strides in elements."""

    shape: list[int]
    strides: list[int]
    expanded_strides: list[int]
    stored_bytes: int
    apparent_bytes: int


class Alignment(BaseModel):
    """Alignment of the operands of a broadcast."""

    shape: list[int]
    axes: list[Axis]
    operands: list[AlignedOperand]


class Answer(BaseModel):
    """The result of an operation, and how it was computed."""

    op: str
    result: Result
    precision: Precision | None = Field(None, description=STATED)
    deterministic: bool | None = Field(None, description=STATED)
    strategy: str
    device: str
    warnings: list[str]
    request_id: str
    timing: Timing
    broadcast: Alignment | None = None


class Place(BaseModel):
    """A place in the request, and the error there."""

    pointer: str = Field(description="JSON pointer (RFC 6901).")
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    errors: list[Place] = []
    instance: str


class ProblemKind(BaseModel):
    """Meaning and remedy of a problem code."""

    code: str
    title: str
    status: int
    explanation: str


class WorkLimit(BaseModel):
    """The most work that is admitted on a device, as measured in float32."""

    device: str
    multiply_adds: int
    ns_per_multiply_add: float


class StrategyInfo(BaseModel):
    """One way to compute an operation."""

    op: str
    name: str
    summary: str
    snippet: str = Field(description="Its source.")
    dtypes: dict[str, list[str]] = Field(description="What it takes, by kind of device.")
    available: bool
    reason: str | None = Field(description="Why it is not available here.")
    precisions: list[str] = Field(description="Of its float32 products, on devices that have them.")
    accumulates_in: str | None = Field(
        description="The wider dtype of its sums of float16 and bfloat16, if it has one."
    )
    deterministic: bool = Field(description="Whether it gives the same bits each time.")
    work_limits: list[WorkLimit]


class OperationInfo(BaseModel):
    """An operation and its strategies, slowest first."""

    name: str
    summary: str
    operands: list[str]
    auto: list[str] = Field(
        description="What `auto` tries, in this order; large products go to the quickest here."
    )
    strategies: list[StrategyInfo]


class PeakRates(BaseModel):
    """Peak rates of a device, as measured; null until then, or where torch has no product."""

    gflops: float | None = Field(
        description="Operations of torch's product, in 10^9 a second; a multiply-add is two."
    )
    gb_per_s: float | None = Field(
        description="Bytes that a copy of the size of the call reads and writes, in 10^9 a second."
    )


class DevicePeak(BaseModel):
    """Peak rates of a device that have been measured."""

    gflops: dict[str, float] = Field(
        description="Operations of torch's product by dtype, in 10^9 a second."
    )
    gb_per_s: float | None = Field(description="Bytes that a copy in memory reads and writes.")


class DeviceAdvantage(BaseModel):
    """The smallest square product that is estimated to be faster on a GPU than on the CPU."""

    op: str
    dtype: str
    n: int = Field(description="Rows and columns of both operands, a power of two.")


class DeviceInfo(BaseModel):
    """A device of this host."""

    name: str
    kind: str
    description: str
    memory_bytes: int | None
    ready: bool = Field(description="Whether calls can have it now; a cluster is not asked.")
    reason: str | None = Field(description="Why it cannot be had now.")
    precisions: list[str] = Field(description="Of float32 products.")
    peak: DevicePeak | None = Field(description="Null for a cluster, which is not measured.")
    wins_from: DeviceAdvantage | None = Field(
        description="Size from which `auto` takes a GPU, copies and the hop to its process "
        "included; null where it takes it for no product, and for other devices."
    )


class DeviceList(BaseModel):
    """The devices of this host, and the default one."""

    devices: list[DeviceInfo]
    default: str
    tf32: bool = Field(description="Whether float32 products are computed in TF32 unasked.")
    threads: int


class LimitInfo(BaseModel):
    """One limit, and the variable of the environment that sets it."""

    name: str
    value: Any
    setting: str
    description: str


class Health(BaseModel):
    """Liveness of the service."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "live"}]})

    status: str


class Readiness(BaseModel):
    """Readiness of the service, and of each device."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ready", "devices": {"cpu": None}}]}
    )

    status: str
    devices: dict[str, str | None] = Field(
        description="Each device of this host, and why it cannot be had now: null where it can."
    )


class PlannedResult(BaseModel):
    """Shape, dtype and size of the result."""

    shape: list[int]
    dtype: str
    elements: int
    bytes: int


class PlannedWork(BaseModel):
    """Work of the chosen strategy."""

    multiply_adds: int
    peak_elements: int = Field(description="Elements of the largest intermediate.")
    peak_bytes: int = Field(description="Operands, largest intermediate and result together.")


class PlannedStrategy(BaseModel):
    """Estimated cost of one strategy on one device."""

    strategy: str
    device: str
    available: bool = Field(description="Whether it takes the call.")
    accepted: bool
    estimated_ms: float | None
    basis: Literal["measured", "prior"] | None = Field(
        description="Whether the estimate follows from measurements of this dtype on this host, "
        "or still from those of float32. A reduced precision has the estimate of `ieee`, a prior."
    )
    transfer_ms: float | None = Field(
        description="Of the estimate, the way to a GPU and back: copies, and the hop to its "
        "process; 0 on other devices."
    )
    compile_ms: float | None = Field(
        description="What the first call of a process pays in addition: 0 if nothing is compiled, "
        "a prior until a call has compiled it; null for what does not run here."
    )
    reason: str | None


class PathStep(BaseModel):
    """One contraction; its result joins the end of the list of operands."""

    positions: list[int]
    equation: str
    shape: list[int]
    multiply_adds: int


class PlanAnswer(BaseModel):
    """Meaning and cost of a call; nothing was computed."""

    op: str
    accepted: bool
    reason: str | None
    strategy: str | None = Field(description="What would run.")
    device: str | None
    precision: Precision | None = Field(None, description=STATED)
    deterministic: bool | None = Field(None, description=STATED)
    result: PlannedResult
    work: PlannedWork
    strategies: list[PlannedStrategy]
    path: list[PathStep] | None = None
    broadcast: Alignment | None = None
    reproduce: str = Field(
        description="One line of torch that does the same, after the settings that it needs. "
        "torch has no `bf16x3`: the line of such a call multiplies in `ieee`."
    )


class CompareHost(BaseModel):
    """Host of a race."""

    cpu: str
    threads: int
    devices: list[str]
    versions: dict[str, str]
    peaks: dict[str, PeakRates] = Field({}, description="By device, for the call of the race.")


class CompareRow(BaseModel):
    """One strategy of a race: its speed and accuracy, or why it was skipped."""

    strategy: str
    device: str
    precision: Precision | None = Field(None, description=STATED)
    deterministic: bool | None = Field(None, description=STATED)
    estimated_ms: float | None
    runs: int = 0
    median_ms: float | None = None
    min_ms: float | None = None
    iqr_ms: float | None = None
    compile_ms: float | None = Field(
        None,
        description="Compiling the strategy before its runs; 0 if that was done, or is not needed.",
    )
    upload_ms: float | None = Field(
        None, description="Median of copying the operands to a GPU, and no part of a run; else 0."
    )
    download_ms: float | None = Field(None, description="Median of copying the result back.")
    speedup: float | None = Field(None, description="Over the baseline, by medians of this race.")
    max_abs_error: Any = Field(None, description="Against the reference.")
    median_abs_error: Any = None
    max_rel_error: Any = None
    median_rel_error: Any = None
    max_ulp_error: Any = Field(None, description="In units in the last place of the result.")
    median_ulp_error: Any = None
    agrees: bool | None = None
    disagreeing: int | None = Field(None, description="Elements outside rtol and atol.")
    worst: list[int] | None = Field(
        None, description="Index of the largest error among elements that disagree, if any do."
    )
    worst_result: str | None = Field(
        None, description="In a race of a chain, the result that `worst` is in."
    )
    gflops: float | None = Field(
        None, description="Operations in 10^9 a second; null where nothing is computed."
    )
    gb_per_s: float | None = Field(None, description="Operands and result, in 10^9 bytes a second.")
    peak_share: float | None = Field(
        None,
        description="Time that the device would need at its peak rates, over the median; null "
        "until they are measured.",
    )
    skipped: str | None = None


class CompareReference(BaseModel):
    """Method that results are judged by, and the number of their elements that it checks."""

    method: str
    checked: int
    elements: int


class CompareAnswer(BaseModel):
    """Every strategy on the same inputs, slowest first."""

    op: str
    params: dict[str, Any] = Field(
        {}, description="Fields of the call besides operands, without those at their defaults."
    )
    shapes: list[list[int]]
    dtype: str
    multiply_adds: int
    baseline: str | None
    reference: CompareReference | None = Field(description="Null if no strategy ran.")
    host: CompareHost
    rows: list[CompareRow]
