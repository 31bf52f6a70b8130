"""Users of the load test, and the entries of its report.

Every call is an entry of the report, by its kind. The phases of `Server-Timing` are entries of
their own, in microseconds, by the size of the call; `outside` is what the client saw beyond them:
network, HTTP, and the client. They are in no total.
"""

import re
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any, Final

import httpx
from locust import User, between

from tensor_service_client import Client
from tests.load.mix import Kind, mix

PHASE: Final = "in us"
TIMING: Final = re.compile(r"(\w+);dur=([0-9.]+)")
PHASES: Final = ("decode", "queue", "upload", "compile", "compute", "download", "encode")
KINDS: Final = mix()


def make_task(kind: Kind) -> "Callable[[Caller], None]":
    """The task of a kind, under its name."""

    def task(user: "Caller") -> None:
        user.call(kind)

    task.__name__ = kind.name
    return task


class Caller(User):
    """A client of its own connection, which makes calls of all kinds with short pauses."""

    wait_time = between(0, 0.1)
    tasks = [task for kind in KINDS for task in [make_task(kind)] * kind.weight]  # noqa: RUF012  # Locust's

    def __init__(self, *args: Any, **named: Any):
        """Connect; calls are not retried, since their errors are checked."""
        super().__init__(*args, **named)
        self.http = httpx.Client(event_hooks={"response": [self.note]})
        self.client = Client(str(self.host), retries=0, http=self.http)
        self.head = httpx.Headers()

    def on_stop(self) -> None:
        """Close the connection."""
        self.http.close()

    def note(self, response: httpx.Response) -> None:
        """Keep the headers of an answer."""
        self.head = response.headers

    def call(self, kind: Kind) -> None:
        """Make one call, and report how it went."""
        failure = None
        self.head = httpx.Headers()
        started = perf_counter_ns()
        try:
            kind.act(self.client)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
            failure = error
        taken_ms = (perf_counter_ns() - started) / 1e6
        self.environment.events.request.fire(
            request_type="CALL",
            name=kind.name,
            response_time=taken_ms,
            response_length=int(self.head.get("content-length", 0)),
            exception=failure,
            context={},
        )
        phases = dict(TIMING.findall(self.head.get("server-timing", "")))
        if phases:
            outside = taken_ms - float(phases["total"])
            self.log_phases(kind.name.partition(" ")[0], {**phases, "outside": outside})

    def log_phases(self, size: str, phases: Mapping[str, str | float]) -> None:
        """Count the phases, but in no total; they stand below the calls."""
        for number, name in enumerate((*PHASES, "outside"), 1):
            entry = self.environment.stats.get(f"└ {size}: {number} {name}", PHASE)
            entry.log(round(float(phases[name]) * 1000), 0)
