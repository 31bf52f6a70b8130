"""Records of answered requests: counters and the log, in the same way for every request.

The fast path of the server and the ASGI application both call a recorder once for each request.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final, Protocol

from service.core.timing import NO_PHASES, PHASES, Stopwatch
from service.errors import quote
from service.observability.counters import OK, Counters
from service.observability.inference_stats import InferenceStatistics
from service.observability.logs import FIELDS

# The client closed the connection before an answer began: nginx's number for it.
CLIENT_CLOSED: Final = 499
FAULT: Final = 500
UNKNOWN: Final = "other"
READY_ROUTE: Final = "/health/ready"
METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
log: Final = logging.getLogger("service.requests")


class OperationCall(Protocol):
    """A request of an operation, as far as it came.

    `strategy` is empty if none was planned, `version` where the Open Inference Protocol is not
    spoken; there is no `watch` if the body did not arrive whole.
    """

    op_name: str
    version: str
    request_id: str
    strategy: str
    watch: Stopwatch

    @property
    def executor(self) -> str:
        """Name of the executor."""
        ...


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Any other request; `route` is None where none was found."""

    method: str
    path: str
    route: str | None
    request_id: str
    status: int
    elapsed_ns: int = 0


@dataclass(frozen=True, slots=True)
class Recorder:
    """Counters and log of the requests of one server process."""

    counters: Counters
    statistics: InferenceStatistics

    def record_call(self, call: OperationCall, status: int) -> None:
        """Count and log a request of an operation. Every small request passes here."""
        watch: Stopwatch | None = getattr(call, "watch", None)
        strategy = call.strategy
        phases = watch.phases if watch is not None and status == OK else None
        executor = call.executor if strategy else ""
        self.counters.count_call((call.op_name, strategy, executor, status), phases)
        if call.version and (watch is not None or status != CLIENT_CLOSED):
            self._count_inference(call, watch, phases)
        if status >= FAULT or log.isEnabledFor(logging.INFO):
            _log(_level(status), "POST", f"/{call.op_name}", status, call_fields(call))

    def _count_inference(
        self, call: OperationCall, watch: Stopwatch | None, phases: Sequence[int] | None
    ) -> None:
        elapsed_ns = 0 if watch is None else perf_counter_ns() - watch.marks[0][1]
        if phases is None:
            self.statistics.fail(call.op_name, call.version, elapsed_ns)
        else:
            self.statistics.succeed(call.op_name, call.strategy, phases, elapsed_ns)

    def record_request(self, record: RequestRecord) -> None:
        """Count and log any other request, and one that was refused before it was a call."""
        method = record.method if record.method in METHODS else UNKNOWN
        self.counters.requests[method, record.route or UNKNOWN, record.status] += 1
        level = _level(record.status)
        if record.route == READY_ROUTE:
            level = logging.INFO  # 503 is an expected answer there, and probes repeat
        if level > logging.INFO or log.isEnabledFor(logging.INFO):
            fields = {"request_id": record.request_id, "total_ms": record.elapsed_ns / 1e6}
            _log(level, method, quote(record.path)[1:-1], record.status, fields)


def call_fields(call: OperationCall) -> dict[str, str | float]:
    """Return the fields of a call in logs and spans: names, and milliseconds of each phase.

    The total of a call that failed is the time until now: it may have been given up in a phase
    whose end is not marked, such as that of a late call.
    """
    watch: Stopwatch | None = getattr(call, "watch", None)
    phases = NO_PHASES if watch is None else watch.sum_up()
    total_ns = sum(phases)
    if watch is not None and not any(watch.phases):
        total_ns = perf_counter_ns() - watch.marks[0][1]
    return {
        "request_id": call.request_id,
        "op": call.op_name,
        "strategy": call.strategy,
        "executor": call.executor if call.strategy else "",
        **{f"{phase}_ms": ns / 1e6 for phase, ns in zip(PHASES, phases, strict=True)},
        "total_ms": total_ns / 1e6,
    }


def _level(status: int) -> int:
    return logging.WARNING if status >= FAULT else logging.INFO


def _log(level: int, method: str, path: str, status: int, fields: Mapping[str, object]) -> None:
    log.log(level, "%s %s %d", method, path, status, extra={FIELDS: fields})
