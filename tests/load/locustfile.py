"""Users of the load test. Each call is a sample of its report, which is written at the end.

The phases of `Server-Timing` are read from the headers of the answers.
"""

import json
import re
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any, Final

import httpx
from locust import User, between, events

from tensor_service_client import Client, ProblemError
from tests.load.figures import PHASES, Failure, Sample, summarize
from tests.load.mix import Kind, mix

TIMING: Final = re.compile(r"(\w+);dur=([0-9.]+)")
KINDS: Final = mix()
SAMPLES: Final[list[Sample]] = []
BEGAN: Final = perf_counter()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # of Locust
def add_option(parser: ArgumentParser) -> None:
    """Add the option that names the file of the figures."""
    parser.add_argument("--figures", type=Path, help="file of the figures, as JSON")


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # of Locust
def write_figures(environment: Any, **_: Any) -> None:
    """Write what the calls sum up to."""
    path = environment.parsed_options.figures
    if path is not None:
        path.write_text(json.dumps(summarize(SAMPLES, [kind.name for kind in KINDS])))


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
        self.sent = self.head = httpx.Headers()

    def on_stop(self) -> None:
        """Close the connection."""
        self.http.close()

    def note(self, response: httpx.Response) -> None:
        """Keep the headers of a request and of its answer."""
        self.sent, self.head = response.request.headers, response.headers

    def call(self, kind: Kind) -> None:
        """Make one call, and report how it went."""
        error = None
        self.sent = self.head = httpx.Headers()
        began_s = perf_counter() - BEGAN
        started = perf_counter_ns()
        try:
            kind.act(self.client)
        except Exception as raised:  # noqa: BLE001  # whatever it is, it is counted
            error = raised
        taken_ms = (perf_counter_ns() - started) / 1e6
        sample = Sample(
            kind=kind.name,
            route=kind.route,
            began_s=began_s,
            taken_ms=taken_ms,
            sent_bytes=int(self.sent.get("content-length", 0)),
            received_bytes=int(self.head.get("content-length", 0)),
            phases_ms=phases_of(self.head.get("server-timing", ""), taken_ms),
            failure=None if error is None else failure_of(error),
        )
        if self.environment.parsed_options.figures is not None:  # Locust's page keeps its own
            SAMPLES.append(sample)
        self.environment.events.request.fire(
            request_type="CALL",
            name=kind.name,
            response_time=taken_ms,
            response_length=sample.received_bytes,
            exception=error,
            context={},
        )


def phases_of(header: str, taken_ms: float) -> dict[str, float]:
    """Return the phases of `Server-Timing`, and the rest of what the client saw."""
    found = {name: float(ms) for name, ms in TIMING.findall(header)}
    if "total" not in found:
        return {}
    outside = max(0.0, taken_ms - found["total"])
    return {**{name: found[name] for name in PHASES if name in found}, "outside": outside}


def failure_of(error: Exception) -> Failure:
    """Return the status and code of a problem, or the class of another error."""
    if isinstance(error, ProblemError):
        return Failure(error.status, error.code, error.detail)
    return Failure(None, type(error).__name__, str(error))
