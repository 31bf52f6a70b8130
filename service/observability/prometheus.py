"""Counters in Prometheus' text format, by prometheus-client."""

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


def exposition(counters: Counters, instruments: Iterable[Instrument], *, alone: bool) -> bytes:
    """Return the text, with the metrics of the process itself if it is `alone`."""
    registry = CollectorRegistry()
    if alone:
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
    registry.register(_Families(counters, instruments))
    return generate_latest(registry)


class _Families:
    """Collector of the metric families for prometheus-client."""

    def __init__(self, counters: Counters, instruments: Iterable[Instrument]):
        self._counters = counters
        self._instruments = instruments

    def collect(self) -> Iterator[Metric]:
        """Yield each family, with all its samples."""
        yield self._calls()
        yield self._requests()
        yield self._phases()
        yield from self._parts()

    def _calls(self) -> Metric:
        labels = ("op", "strategy", "executor", "status")
        family = CounterMetricFamily(
            f"{PREFIX}calls", "Calls of an operation, whatever their end.", labels=labels
        )
        for key, histogram in sorted(self._counters.calls.items()):
            family.add_metric([*map(str, key)], histogram.count)
        return family

    def _requests(self) -> Metric:
        requests = Counter(self._counters.requests)
        for (op, _, _, status), histogram in self._counters.calls.items():
            requests["POST", f"/{op}", status] += histogram.count
        family = CounterMetricFamily(
            f"{PREFIX}requests", "All requests.", labels=("method", "route", "status")
        )
        for key, count in sorted(requests.items()):
            family.add_metric([*map(str, key)], count)
        return family

    def _phases(self) -> Metric:
        histograms: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        for (op, strategy, _, status), histogram in self._counters.calls.items():
            if status == OK:
                histograms[op, strategy].merge(histogram)
        family = HistogramMetricFamily(
            f"{PREFIX}phase_seconds",
            "How long each phase of the calls that were answered took.",
            labels=("op", "strategy", "phase"),
        )
        for key, histogram in sorted(histograms.items()):
            for phase, bins, sum_ns in zip(PHASES, histogram.bins, histogram.sums, strict=True):
                family.add_metric([*key, phase], _buckets(bins.cumsum()), sum_ns / 1e9)
        return family

    def _parts(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for instrument in self._instruments:
            if instrument.name not in families:
                families[instrument.name] = KINDS[instrument.kind](
                    PREFIX + instrument.name, instrument.about, labels=[*instrument.labels]
                )
            value = self._counters.readings[instrument.key]
            families[instrument.name].add_metric([*instrument.labels.values()], value)
        yield from families.values()


def _buckets(counts: NDArray[np.int64]) -> list[tuple[str, float]]:
    """Return counts up to each bound, in seconds, from counts up to each length in bits."""
    bounded = [(str(2**bits / 1e9), float(counts[bits])) for bits in BOUND_BITS]
    return [*bounded, ("+Inf", float(counts[-1]))]
