"""Clients that ask for mixed products, each checked against numpy, and what came of it."""

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
class Ask:
    """A call, and what must come back."""

    name: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    expected: Array


@dataclass(frozen=True, slots=True)
class Got:
    """An answer: its status, headers, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def story(self) -> str:
        """The status, and the code of a problem."""
        if self.status == 200:
            return RIGHT
        return f"{self.status} {json.loads(self.body)['code']}"


def whole(*shape: int, seed: int = 0) -> Array:
    """Small whole numbers, so that every sum is exact."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def product(name: str, size: int, strategy: str = "auto", **fields: object) -> Ask:
    """A product of two squares as JSON."""
    a, b = whole(size, size), whole(size, size, seed=1)
    asked = {"a": a.tolist(), "b": b.tolist(), "strategy": strategy, **fields}
    return Ask(name, "/matmul", json.dumps(asked).encode(), {"Content-Type": JSON}, a @ b)


def bytes_product(name: str, size: int) -> Ask:
    """A product of two squares as bytes, there and back."""
    a, b = whole(size, size), whole(size, size, seed=1)
    headers = {"Content-Type": NPZ, "Accept": NPY}
    return Ask(name, "/matmul", npz_of({"a": a, "b": b}), headers, a @ b)


def loops(size: int) -> Ask:
    """Loops in a worker process: 20 to 40 us for each step of `size` cubed."""
    return product("loops", size, "loops")


TINY: Final = product("tiny", 2)
LOOPS: Final = loops(16)
# Over 1 MB of text, which a worker process reads and writes.
LARGE: Final = product("large JSON", 400)
BYTES: Final = bytes_product("bytes", 32)
MORE_BYTES: Final = bytes_product("more bytes", 512)
MIX: Final = (TINY, LOOPS, LARGE, BYTES, MORE_BYTES)


def call(connection: HTTPConnection, ask: Ask) -> Got:
    """The whole answer; an OSError or HTTPException if there is none."""
    connection.request("POST", ask.path, ask.body, dict(ask.headers))
    return got(connection.getresponse())


def once(url: str, ask: Ask) -> Got:
    """The answer, on a connection of its own."""
    connection = connect(url)
    try:
        return call(connection, ask)
    finally:
        connection.close()


def got(response: HTTPResponse) -> Got:
    """An answer, read to its end."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Got(response.status, headers, response.read())


def fault(ask: Ask, answer: Got) -> str:
    """What is wrong with an answer; nothing if it is right, or a refusal as it should be."""
    if answer.status == 200:
        return (
            "" if np.array_equal(result_of(answer), ask.expected) else f"{ask.name}: wrong result"
        )
    problem = json.loads(answer.body)
    if answer.headers["content-type"] != "application/problem+json" or not problem["detail"]:
        return f"{ask.name}: {answer.status} without a problem: {answer.body[:200]!r}"
    if answer.status == 503:
        wait = answer.headers.get("retry-after", "")
        if not wait.isdigit() or int(wait) < 1:
            return f"{ask.name}: 503 {problem['code']} with Retry-After {wait!r}"
    return ""


def result_of(answer: Got) -> npt.NDArray[Any]:
    """The array that an answer holds."""
    if answer.headers["content-type"] == NPY:
        found: npt.NDArray[Any] = np.load(BytesIO(answer.body))
        return found
    return np.array(json.loads(answer.body)["result"]["data"])


@dataclass
class Histogram:
    """What came of the calls of a crowd."""

    stories: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def add(self, ask: Ask, story: str, wrong: str = "", seconds: float = 0.0) -> None:
        """Count one call, which took so long."""
        with self._lock:
            self.slowest_s = max(self.slowest_s, seconds)
            self.stories[ask.name, story] += 1
            if wrong:
                self.faults.append(wrong)

    def by_story(self) -> Counter[str]:
        """How often each status came, with its code."""
        found: Counter[str] = Counter()
        for (_, story), count in self.stories.items():
            found[story] += count
        return found

    def right(self, name: str) -> int:
        """How many calls of a name were answered right."""
        return self.stories[name, RIGHT]


@contextmanager
def crowd(
    url: str, asks: Sequence[Ask] = MIX, *, clients: int, seed: int, pause_s: float = 0.0
) -> Iterator[Histogram]:
    """Clients that ask without end, until the context does; each then finishes its call.

    After a refusal a client waits `pause_s`. A connection that breaks is a fault.
    """
    tally, end = Histogram(), Event()
    threads = [
        Thread(
            target=_ask_on,
            args=(url, asks, Random(f"{seed} {n}"), tally, end),
            kwargs={"pause_s": pause_s},
        )
        for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        end.set()
        for thread in threads:
            thread.join()


def connect(url: str) -> HTTPConnection:
    """A connection of one client."""
    return HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)


def _ask_on(
    url: str, asks: Sequence[Ask], random: Random, tally: Histogram, end: Event, *, pause_s: float
) -> None:
    connection = connect(url)
    while not end.is_set():
        ask, began = random.choice(asks), monotonic()
        try:
            answer = call(connection, ask)
            tally.add(ask, answer.story, fault(ask, answer), monotonic() - began)
        except (OSError, HTTPException) as error:
            tally.add(ask, "no answer", f"{ask.name}: {error!r}")
            connection.close()
            end.wait(0.05)
            continue
        if answer.status != 200:
            end.wait(pause_s)
    connection.close()
