"""A request on its way to a worker process and back, as JSON beside the bytes of its bodies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import orjson

from service.core.devices import Absence
from service.core.timing import Stopwatch
from service.http.response import HttpResponse
from service.planning.cost_model import Row
from service.planning.planner import Plan

TEXT: Final = "latin-1"  # of headers: each byte is a letter


@dataclass(frozen=True, slots=True)
class Admitted:
    """What has been planned for a call already: nothing but its strategy, device and estimate."""

    strategy: str
    device: str
    estimated_ns: int

    @classmethod
    def of(cls, plan: Plan) -> "Admitted":
        """That of a plan."""
        return cls(plan.strategy.name, plan.device.name, plan.estimated_ns)


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """What a worker needs to know of a request beside its body.

    `headers` are those that formats are agreed on by; `watch` is the reading of its stopwatch. The
    `version` is that of a model of the Open Inference Protocol, where that protocol is spoken.
    `tells` is whether a race tells each row; None where no race is asked for. Who has to plan is
    told which devices of other processes cannot be had now, and what the server goes by.
    """

    op: str
    headers: Sequence[str | None]
    query: str
    request_id: str
    watch: Sequence[int]
    version: str = ""
    admitted: Admitted | None = None
    tells: bool | None = None
    absences: Mapping[str, Absence] = field(default_factory=dict)
    rates: Sequence[Row] = field(default_factory=list)

    def to_json(self) -> bytes:
        """The bytes that `from_json` reads."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> "WorkerRequest":
        """The task that `to_json` wrote."""
        fields = orjson.loads(text)
        admitted, absences = fields.pop("admitted"), fields.pop("absences")
        return cls(
            **fields,
            admitted=None if admitted is None else Admitted(**admitted),
            absences={device: tuple(absence) for device, absence in absences.items()},
        )


def texts_of(values: Iterable[bytes | None]) -> list[str | None]:
    """Values of headers as texts, which JSON has; None where the request has no such header."""
    return [None if value is None else value.decode(TEXT) for value in values]


def headers_from(names: Sequence[bytes], texts: Sequence[str | None]) -> dict[bytes, bytes]:
    """The headers of those names, from what `texts_of` gave."""
    pairs = zip(names, texts, strict=True)
    return {name: value.encode(TEXT) for name, value in pairs if value is not None}


class WrongDeviceError(Exception):
    """A worker has planned a call for a device that another process owns.

    The server gives it to that one, with what is left of its deadline, and the stopwatch as it is.
    """

    def __init__(self, admitted: Admitted, deadline_ms: int | None, watch: Sequence[int]):
        """Say what was planned."""
        super().__init__(f"{admitted.device} is owned by another process")
        self.admitted = admitted
        self.deadline_ms = deadline_ms
        self.watch = watch

    def to_json(self) -> bytes:
        """The head of the answer, from which `reply_of` raises the same."""
        return orjson.dumps([asdict(self.admitted), self.deadline_ms, self.watch])


def reply_head(reply: HttpResponse, watch: Stopwatch, strategy: str) -> bytes:
    """All of a reply but its body, and how it came about, as the bytes that `reply_of` reads."""
    headers = [(name.decode(TEXT), value.decode(TEXT)) for name, value in reply.headers]
    return orjson.dumps([reply.status, headers, watch.reading, strategy])


def reply_of(head: bytes | bytearray, payload: bytearray) -> tuple[HttpResponse, Stopwatch, str]:
    """The reply that was sent as a head and a payload; the worker's stopwatch, and its strategy.

    ElsewhereError if there is none, since another process has to compute.
    """
    status, *rest = orjson.loads(head)
    if isinstance(status, dict):
        raise WrongDeviceError(Admitted(**status), *rest)
    headers, reading, strategy = rest
    raw = tuple((name.encode(TEXT), value.encode(TEXT)) for name, value in headers)
    return HttpResponse(status, raw, (memoryview(payload),)), Stopwatch.resume(reading), strategy


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What the owner of a device tells the server of it, once it is ready."""

    description: str
    memory_bytes: int | None
    rates: Sequence[Row]
