"""What a server process has counted since its start. Figures of several processes add up."""

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

CallKey = tuple[str, str, str, int]  # operation, strategy, lane, status
Read = Callable[[], float]
RequestKey = tuple[str, str, int]  # method, route, status


class Histogram:
    """Calls of one kind: how many, and how long each of their phases took.

    sums (phases,) in nanoseconds; bins (phases, lengths in bits).
    """

    __slots__ = ("_pending", "bins", "count", "sums")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.count = 0
        self.sums = np.zeros(len(PHASES), np.int64)
        self.bins = np.zeros((len(PHASES), BINS), np.int64)
        self._pending: list[Sequence[int]] = []

    def add(self, laps: Sequence[int]) -> None:
        """Take the phases of one call, which nobody changes from now on."""
        self._pending.append(laps)
        if len(self._pending) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Count the phases that were taken since the last time."""
        if self._pending:
            laps = np.array(self._pending, np.int64)
            self._pending.clear()
            self.sums += laps.sum(axis=0)
            _, bits = np.frexp(laps)
            counted = np.bincount((bits + FIRST_BINS).ravel(), minlength=self.bins.size)
            self.bins += counted.reshape(self.bins.shape)

    def merge(self, other: "Histogram") -> None:
        """Count what another has counted, too."""
        other.settle()
        self.count += other.count
        self.sums += other.sums
        self.bins += other.bins


@dataclass(slots=True)
class Counters:
    """Calls of operations, all other requests, and readings of the parts of the service."""

    calls: dict[CallKey, Histogram] = field(default_factory=dict)
    requests: Counter[RequestKey] = field(default_factory=Counter)
    readings: dict[str, float] = field(default_factory=dict)

    def count_call(self, key: CallKey, laps: Sequence[int] | None) -> None:
        """Count a call, and its phases if it has come to its end."""
        tally = self.calls.get(key)
        if tally is None:
            tally = self.calls[key] = Histogram()
        tally.count += 1
        if laps is not None:
            tally.add(laps)

    def merge(self, other: "Counters") -> None:
        """Count what another process has counted, too."""
        for key, tally in other.calls.items():
            self.calls.setdefault(key, Histogram()).merge(tally)
        self.requests.update(other.requests)
        for name, value in other.readings.items():
            self.readings[name] = self.readings.get(name, 0) + value

    def with_readings(self, readings: Mapping[str, float]) -> "Counters":
        """A copy that stays as it is, with these readings."""
        copy = Counters(readings={**readings})
        copy.merge(self)
        return copy

    def dump(self) -> bytes:
        """As JSON, for another process."""
        for tally in self.calls.values():
            tally.settle()
        calls = [(key, tally.count, tally.sums, tally.bins) for key, tally in self.calls.items()]
        parts = [calls, [*self.requests.items()], [*self.readings.items()]]
        return orjson.dumps(parts, option=orjson.OPT_SERIALIZE_NUMPY)

    @classmethod
    def load(cls, text: bytes) -> "Counters":
        """What another process has dumped."""
        calls, requests, readings = orjson.loads(text)
        found = cls()
        for key, count, sums, bins in calls:
            tally = found.calls[tuple(key)] = Histogram()
            tally.count, tally.sums[:], tally.bins[:] = count, sums, bins
        found.requests.update({tuple(key): count for key, count in requests})
        found.readings.update(readings)
        return found


@dataclass(frozen=True, slots=True)
class Instrument:
    """A number that a part of the service tells when it is asked."""

    kind: Literal["gauge", "counter"]
    name: str
    about: str
    labels: Mapping[str, str]
    read: Read

    @property
    def key(self) -> str:
        """What it is called between processes."""
        return f"{self.name} {dict(self.labels)}"
