"""Where every request is met, whichever way it comes: before it enters, and once it is answered.

The ASGI way calls `admit` before, and `answered` or `served` after. uvicorn's protocol calls
`takes_shortcut` and `answered`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.api.auth import Authenticator, Client, is_open
from service.core.timing import PHASES, Stopwatch
from service.errors import ServiceError, quote
from service.observability.counters import OK
from service.observability.logs import FIELDS
from service.observability.metrics import Metrics
from service.pipeline.request import OperationRequest
from service.planning.planner import Plan

# An answer never began: the client had left. nginx' number for it.
LEFT: Final = 499
FAULT: Final = 500
UNKNOWN: Final = "other"
READY: Final = "/health/ready"
METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
NO_LAPS: Final = (0,) * len(PHASES)
log: Final = logging.getLogger("service.requests")


@dataclass(frozen=True, slots=True)
class Reception:
    """Who enters, and what is told of each request."""

    door: Authenticator
    metrics: Metrics
    has_origins: bool = False

    def admit(self, path: str, headers: Mapping[bytes, bytes], client: Client) -> None:
        """Return if the request may enter; raise the error that refuses it if not."""
        if self.door.asks and not is_open(path):
            self.door.admit(headers, client)

    def takes_shortcut(self, headers: Mapping[bytes, bytes], client: Client) -> bool:
        """Whether a POST of an operation may enter, and its answer needs no more than the result.

        A refusal is worded by the ASGI way, and a page of another origin gets its headers there.
        To be asked last: whoever may enter has used up a part of its quota.
        """
        if self.has_origins and b"origin" in headers:
            return False
        if self.door.asks:
            try:
                self.door.admit(headers, client)
            except ServiceError:
                return False
        return True

    def answered(self, exchange: OperationRequest, status: int) -> None:
        """Count and log a call of an operation. It is on the way of every small product."""
        strategy, lane, laps = _story(exchange)
        key = (exchange.terms.op.name, strategy, lane, status)
        self.metrics.figures.count_call(key, laps if status == OK else None)
        if status >= FAULT or log.isEnabledFor(logging.INFO):
            path = f"/{exchange.terms.op.name}"
            _log(_level(status), "POST", path, status, call_fields(exchange))

    def served(self, visit: "Visit", status: int, elapsed_ns: int) -> None:
        """Count and log any other request, and one that was refused before it was a call."""
        method = visit.method if visit.method in METHODS else UNKNOWN
        self.metrics.figures.requests[method, visit.route or UNKNOWN, status] += 1
        level = _level(status)
        if visit.route == READY:
            level = logging.INFO  # 503 there is an answer, and probes ask again and again
        if level > logging.INFO or log.isEnabledFor(logging.INFO):
            fields = {"request_id": visit.request_id, "total_ms": elapsed_ns / 1e6}
            _log(level, method, quote(visit.path)[1:-1], status, fields)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that is no call of an operation; `route` is None where none was found."""

    method: str
    path: str
    route: str | None
    request_id: str


def call_fields(exchange: OperationRequest) -> dict[str, str | float]:
    """What the log and a span tell of a call: names, and the milliseconds of each phase."""
    strategy, lane, laps = _story(exchange)
    phases = {f"{phase}_ms": ns / 1e6 for phase, ns in zip(PHASES, laps, strict=True)}
    return {
        "request_id": exchange.request_id,
        "op": exchange.terms.op.name,
        "strategy": strategy,
        "lane": lane,
        **phases,
        "total_ms": sum(laps) / 1e6,
    }


def _story(exchange: OperationRequest) -> tuple[str, str, Sequence[int]]:
    """Strategy, lane and phases of a call; empty as far as it did not come."""
    planned: Plan | None = getattr(exchange, "planned", None)
    watch: Stopwatch | None = getattr(exchange, "watch", None)
    laps = NO_LAPS if watch is None else watch.laps
    strategy = exchange.strategy if planned is None else planned.strategy.name
    return strategy, exchange.lane if strategy else "", laps


def _level(status: int) -> int:
    return logging.WARNING if status >= FAULT else logging.INFO


def _log(level: int, method: str, path: str, status: int, fields: Mapping[str, object]) -> None:
    log.log(level, "%s %s %d", method, path, status, extra={FIELDS: fields})
