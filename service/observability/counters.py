"""Counts of a server process since its start. Those of several processes add up."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import orjson

from service.core.timing import PHASES

# A phase of n nanoseconds is counted in the bin of n's length in bits. None lasts 2^63 ns.
BINS: Final = 64
FIRST_BINS: Final = BINS * np.arange(len(PHASES))
# Phases are kept as they come, and counted so many calls at a time: a third of the work of
# counting each, and still a short stop.
BATCH: Final = 128
OK: Final = 200
GAUGE: Final = "gauge"
COUNTER: Final = "counter"

CallKey = tuple[str, str, str, int]  # operation, strategy, executor, status
Read = Callable[[], float]
RequestKey = tuple[str, str, int]  # method, route, status


class Histogram:
    """Calls of one kind: their number, and a histogram of each phase.

    sums (phases,) in nanoseconds; bins (phases, lengths in bits).
    """

    __slots__ = ("_pending", "bins", "count", "sums")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.count = 0
        self.sums = np.zeros(len(PHASES), np.int64)
        self.bins = np.zeros((len(PHASES), BINS), np.int64)
        self._pending: list[Sequence[int]] = []

    def add(self, phases: Sequence[int]) -> None:
        """Add the phases of one call, which must not change from now on."""
        self._pending.append(phases)
        if len(self._pending) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Count the phases that were added since the last time."""
        if self._pending:
            phases = np.array(self._pending, np.int64)
            self._pending.clear()
            self.sums += phases.sum(axis=0)
            _, bits = np.frexp(phases)
            counted = np.bincount((bits + FIRST_BINS).ravel(), minlength=self.bins.size)
            self.bins += counted.reshape(self.bins.shape)

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another."""
        other.settle()
        self.count += other.count
        self.sums += other.sums
        self.bins += other.bins


@dataclass(slots=True)
class Counters:
    """Calls of operations, all other requests, and values of instruments."""

    calls: dict[CallKey, Histogram] = field(default_factory=dict)
    requests: Counter[RequestKey] = field(default_factory=Counter)
    readings: dict[str, float] = field(default_factory=dict)

    def count_call(self, key: CallKey, phases: Sequence[int] | None) -> None:
        """Count a call, and its phases if it was answered."""
        histogram = self.calls.get(key)
        if histogram is None:
            histogram = self.calls[key] = Histogram()
        histogram.count += 1
        if phases is not None:
            histogram.add(phases)

    def merge(self, other: "Counters") -> None:
        """Add the counts of another process."""
        for key, histogram in other.calls.items():
            self.calls.setdefault(key, Histogram()).merge(histogram)
        self.requests.update(other.requests)
        for name, value in other.readings.items():
            self.readings[name] = self.readings.get(name, 0) + value

    def with_readings(self, readings: Mapping[str, float]) -> "Counters":
        """Return a copy with these values of instruments."""
        copy = Counters(readings={**readings})
        copy.merge(self)
        return copy

    def dump(self) -> bytes:
        """Return the counts as JSON, for another process."""
        for histogram in self.calls.values():
            histogram.settle()
        calls = [
            (key, histogram.count, histogram.sums, histogram.bins)
            for key, histogram in self.calls.items()
        ]
        parts = [calls, [*self.requests.items()], [*self.readings.items()]]
        return orjson.dumps(parts, option=orjson.OPT_SERIALIZE_NUMPY)

    @classmethod
    def load(cls, text: bytes) -> "Counters":
        """Return the counts that another process has dumped."""
        calls, requests, readings = orjson.loads(text)
        found = cls()
        for key, count, sums, bins in calls:
            histogram = found.calls[tuple(key)] = Histogram()
            histogram.count, histogram.sums[:], histogram.bins[:] = count, sums, bins
        found.requests.update({tuple(key): count for key, count in requests})
        found.readings.update(readings)
        return found


@dataclass(frozen=True, slots=True)
class Instrument:
    """A number that is read from a part of the service when metrics are written."""

    kind: Literal["gauge", "counter"]
    name: str
    about: str
    labels: Mapping[str, str]
    read: Read

    @property
    def key(self) -> str:
        """The name by which processes exchange its value."""
        return f"{self.name} {dict(self.labels)}"
