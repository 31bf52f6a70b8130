"""Figures as Prometheus' text format, by prometheus-client."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from service.core.timing import PHASES
from service.observability.counters import COUNTER, GAUGE, OK, Counters, Histogram, Instrument

PREFIX: Final = "tensor_service_"
KINDS: Final = {GAUGE: GaugeMetricFamily, COUNTER: CounterMetricFamily}
# From 1 us to 69 s by powers of 4. A phase of exactly that many nanoseconds counts above it.
BOUND_BITS: Final = range(10, 38, 2)


def exposition(figures: Counters, readings: Iterable[Instrument], *, alone: bool) -> bytes:
    """The text. What a process tells of itself is in it if it is `alone`."""
    registry = CollectorRegistry()
    if alone:
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
    registry.register(_Families(figures, readings))
    return generate_latest(registry)


class _Families:
    """Figures, as prometheus-client takes them."""

    def __init__(self, figures: Counters, readings: Iterable[Instrument]):
        self._figures = figures
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Each family, with all its samples."""
        yield self._calls()
        yield self._requests()
        yield self._phases()
        yield from self._parts()

    def _calls(self) -> Metric:
        labels = ("op", "strategy", "lane", "status")
        family = CounterMetricFamily(
            f"{PREFIX}calls", "Calls of an operation, whatever their end.", labels=labels
        )
        for key, tally in sorted(self._figures.calls.items()):
            family.add_metric([*map(str, key)], tally.count)
        return family

    def _requests(self) -> Metric:
        requests = Counter(self._figures.requests)
        for (op, _, _, status), tally in self._figures.calls.items():
            requests["POST", f"/{op}", status] += tally.count
        family = CounterMetricFamily(
            f"{PREFIX}requests", "All requests.", labels=("method", "route", "status")
        )
        for key, count in sorted(requests.items()):
            family.add_metric([*map(str, key)], count)
        return family

    def _phases(self) -> Metric:
        tallies: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        for (op, strategy, _, status), tally in self._figures.calls.items():
            if status == OK:
                tallies[op, strategy].merge(tally)
        family = HistogramMetricFamily(
            f"{PREFIX}phase_seconds",
            "How long each phase of the calls that were answered took.",
            labels=("op", "strategy", "phase"),
        )
        for key, tally in sorted(tallies.items()):
            for phase, bins, sum_ns in zip(PHASES, tally.bins, tally.sums, strict=True):
                family.add_metric([*key, phase], _buckets(bins.cumsum()), sum_ns / 1e9)
        return family

    def _parts(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for reading in self._readings:
            if reading.name not in families:
                families[reading.name] = KINDS[reading.kind](
                    PREFIX + reading.name, reading.about, labels=[*reading.labels]
                )
            value = self._figures.readings[reading.key]
            families[reading.name].add_metric([*reading.labels.values()], value)
        yield from families.values()


def _buckets(counts: NDArray[np.int64]) -> list[tuple[str, float]]:
    """Counts up to each bound, in seconds, from counts up to each length in bits."""
    bounded = [(str(2**bits / 1e9), float(counts[bits])) for bits in BOUND_BITS]
    return [*bounded, ("+Inf", float(counts[-1]))]
