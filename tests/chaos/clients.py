"""Clients that call mixed products at once, each response checked against numpy."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from io import BytesIO
from random import Random
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from tests.rigs.request_bodies import JSON, NPY, NPZ, npz_of

Array = npt.NDArray[np.float32]
# Longer than any answer may take: the server's own deadline is 30 s.
TIMEOUT_S: Final = 60.0
RIGHT: Final = "200"


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """A call and its expected result."""

    name: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    expected: Array


@dataclass(frozen=True, slots=True)
class CallResponse:
    """An answer: its status, headers, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def outcome(self) -> str:
        """The status, followed by the code of a problem."""
        if self.status == 200:
            return RIGHT
        return f"{self.status} {json.loads(self.body)['code']}"


def integers(*shape: int, seed: int = 0) -> Array:
    """Return small integers, so that every sum is exact."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def product(name: str, size: int, strategy: str = "auto", **fields: object) -> CheckedCall:
    """A product of two squares as JSON."""
    a, b = integers(size, size), integers(size, size, seed=1)
    asked = {"a": a.tolist(), "b": b.tolist(), "strategy": strategy, **fields}
    return CheckedCall(name, "/matmul", json.dumps(asked).encode(), {"Content-Type": JSON}, a @ b)


def bytes_product(name: str, size: int) -> CheckedCall:
    """A product of two squares as bytes, there and back."""
    a, b = integers(size, size), integers(size, size, seed=1)
    headers = {"Content-Type": NPZ, "Accept": NPY}
    return CheckedCall(name, "/matmul", npz_of({"a": a, "b": b}), headers, a @ b)


def loops(size: int) -> CheckedCall:
    """Loops in a worker process: 20 to 40 us for each step of `size` cubed."""
    return product("loops", size, "loops")


TINY: Final = product("tiny", 2)
LOOPS: Final = loops(16)
# Over 1 MB of text, which a worker process reads and writes.
LARGE: Final = product("large JSON", 400)
BYTES: Final = bytes_product("bytes", 32)
MORE_BYTES: Final = bytes_product("more bytes", 512)
MIX: Final = (TINY, LOOPS, LARGE, BYTES, MORE_BYTES)


def send(connection: HTTPConnection, call: CheckedCall) -> CallResponse:
    """Send a call and read its response; OSError or HTTPException if there is none."""
    connection.request("POST", call.path, call.body, dict(call.headers))
    return read_response(connection.getresponse())


def send_once(url: str, call: CheckedCall) -> CallResponse:
    """Send a call on a connection of its own and read its response."""
    connection = connect(url)
    try:
        return send(connection, call)
    finally:
        connection.close()


def read_response(response: HTTPResponse) -> CallResponse:
    """Read a response to its end."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return CallResponse(response.status, headers, response.read())


def fault(call: CheckedCall, answer: CallResponse) -> str:
    """Describe what is wrong with a response; empty for a correct result or a correct problem."""
    if answer.status == 200:
        return (
            "" if np.array_equal(result_of(answer), call.expected) else f"{call.name}: wrong result"
        )
    problem = json.loads(answer.body)
    if answer.headers["content-type"] != "application/problem+json" or not problem["detail"]:
        return f"{call.name}: {answer.status} without a problem: {answer.body[:200]!r}"
    if answer.status == 503:
        wait = answer.headers.get("retry-after", "")
        if not wait.isdigit() or int(wait) < 1:
            return f"{call.name}: 503 {problem['code']} with Retry-After {wait!r}"
    return ""


def result_of(answer: CallResponse) -> npt.NDArray[Any]:
    """Return the array in a response."""
    if answer.headers["content-type"] == NPY:
        found: npt.NDArray[Any] = np.load(BytesIO(answer.body))
        return found
    return np.array(json.loads(answer.body)["result"]["data"])


@dataclass
class Outcomes:
    """Counts of the outcomes of concurrent calls, and faults among them."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def add(self, call: CheckedCall, outcome: str, wrong: str = "", seconds: float = 0.0) -> None:
        """Count one call and its duration."""
        with self._lock:
            self.slowest_s = max(self.slowest_s, seconds)
            self.counts[call.name, outcome] += 1
            if wrong:
                self.faults.append(wrong)

    def by_outcome(self) -> Counter[str]:
        """Return how often each status and code occurred."""
        found: Counter[str] = Counter()
        for (_, outcome), count in self.counts.items():
            found[outcome] += count
        return found

    def successes(self, name: str) -> int:
        """Return how many calls of a name got a correct result."""
        return self.counts[name, RIGHT]


@contextmanager
def calling_clients(
    url: str, calls: Sequence[CheckedCall] = MIX, *, clients: int, seed: int, pause_s: float = 0.0
) -> Iterator[Outcomes]:
    """Run clients that call without pause until the end of the block; each finishes its last call.

    After an error a client waits `pause_s`. A connection that breaks is a fault.
    """
    outcomes, end = Outcomes(), Event()
    threads = [
        Thread(
            target=_call_on,
            args=(url, calls, Random(f"{seed} {n}"), outcomes, end),
            kwargs={"pause_s": pause_s},
        )
        for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        end.set()
        for thread in threads:
            thread.join()


def connect(url: str) -> HTTPConnection:
    """Open a connection to the server at `url`."""
    return HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)


def _call_on(
    url: str,
    calls: Sequence[CheckedCall],
    random: Random,
    outcomes: Outcomes,
    end: Event,
    *,
    pause_s: float,
) -> None:
    connection = connect(url)
    while not end.is_set():
        call, began = random.choice(calls), monotonic()
        try:
            answer = send(connection, call)
            outcomes.add(call, answer.outcome, fault(call, answer), monotonic() - began)
        except (OSError, HTTPException) as error:
            outcomes.add(call, "no answer", f"{call.name}: {error!r}")
            connection.close()
            end.wait(0.05)
            continue
        if answer.status != 200:
            end.wait(pause_s)
    connection.close()
