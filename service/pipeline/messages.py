"""Messages between the server and other processes: JSON beside the bytes of a body."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import orjson

from service.core.devices import Absence
from service.core.response import HttpResponse
from service.core.timing import Mark, Stopwatch
from service.planning.cost_model import CurveRow
from service.planning.plan import Plan

# Begins the head of a message that asks a worker process for measurements.
CALIBRATE: Final = b"calibrate "
HEADER_ENCODING: Final = "latin-1"  # of headers: each byte is a letter


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted plan: its strategy, whether `auto` chose that, its device and its estimate."""

    strategy: str
    device: str
    estimated_ns: int
    is_auto: bool = False

    @classmethod
    def of(cls, plan: Plan) -> "Admitted":
        """Return that of a plan."""
        return cls(plan.strategy.name, plan.device.name, plan.estimated_ns, plan.is_auto)


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """A request to a worker process, but for its body.

    `headers` are those that formats are negotiated by; `marks` are those of its stopwatch. The
    `version` is that of a model of the Open Inference Protocol, where that protocol is spoken.
    `streams` is whether a race emits its rows; None where no race is asked for. A worker that has
    to plan gets the devices of other processes that are absent now, those that have TF32, and the
    server's cost model.
    """

    op: str
    headers: Sequence[str | None]
    query: str
    request_id: str
    marks: Sequence[Mark]
    version: str = ""
    admitted: Admitted | None = None
    streams: bool | None = None
    absences: Mapping[str, Absence] = field(default_factory=dict)
    curves: Sequence[CurveRow] = field(default_factory=list)
    with_tf32: Sequence[str] = field(default_factory=list)

    def to_json(self) -> bytes:
        """Return the bytes that `from_json` reads."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> "WorkerRequest":
        """Return the request that `to_json` wrote."""
        fields = orjson.loads(text)
        admitted, absences = fields.pop("admitted"), fields.pop("absences")
        return cls(
            **fields,
            admitted=None if admitted is None else Admitted(**admitted),
            absences={device: tuple(absence) for device, absence in absences.items()},
        )


def texts_of(values: Iterable[bytes | None]) -> list[str | None]:
    """Return values of headers as text, which JSON has; None for a header that is not there."""
    return [None if value is None else value.decode(HEADER_ENCODING) for value in values]


def headers_from(names: Sequence[bytes], texts: Sequence[str | None]) -> dict[bytes, bytes]:
    """Return the headers of those names, from the result of `texts_of`."""
    pairs = zip(names, texts, strict=True)
    return {name: value.encode(HEADER_ENCODING) for name, value in pairs if value is not None}


class WrongDeviceError(Exception):
    """A worker has planned a call for a device that has a process of its own.

    The server passes the call on to that process, with the rest of its deadline and the marks of
    its stopwatch.
    """

    def __init__(self, admitted: Admitted, deadline_ms: int | None, marks: Sequence[Mark]):
        """Hold the plan, the deadline that the call states, and the marks of its stopwatch."""
        super().__init__(f"{admitted.device} has a process of its own")
        self.admitted = admitted
        self.deadline_ms = deadline_ms
        self.marks = marks

    def to_json(self) -> bytes:
        """Return the head of an answer, from which `response_from` raises the same error."""
        return orjson.dumps([asdict(self.admitted), self.deadline_ms, self.marks])


def response_head(response: HttpResponse, watch: Stopwatch, strategy: str) -> bytes:
    """Return a response but for its body, its stopwatch and strategy, for `response_from`."""
    lines = response.lines.decode(HEADER_ENCODING)
    return orjson.dumps([response.status, lines, watch.marks, watch.phases, strategy])


def response_from(
    head: bytes | bytearray, payload: bytearray
) -> tuple[HttpResponse, Stopwatch, str]:
    """Return the response that came as head and payload, the worker's stopwatch and strategy.

    WrongDeviceError if another process has to compute.
    """
    first, *rest = orjson.loads(head)
    if isinstance(first, dict):  # written by WrongDeviceError.to_json
        raise WrongDeviceError(Admitted(**first), *rest)
    lines, marks, phases, strategy = rest
    raw = lines.encode(HEADER_ENCODING)
    response = HttpResponse(first, raw, (memoryview(payload),), len(payload))
    return response, Stopwatch(marks, phases), strategy


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """Description of a device by its process, sent once that is ready."""

    description: str
    memory_bytes: int | None
    curves: Sequence[CurveRow]
    has_tf32: bool = False
