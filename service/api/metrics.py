"""GET /metrics: the figures of this server, as Prometheus reads them.

Counting is our own, since prometheus-client's counters take several microseconds for what a request
has to tell; writing them is prometheus-client's. Each app has a registry of its own.

A part of the service that has something to show adds a reading where the app is put together:

    metrics.gauge("queued_calls", "Calls that wait.", lambda: lane.waiting, lane="thread")
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from prometheus_client import (
    CONTENT_TYPE_LATEST,
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
from starlette.responses import PlainTextResponse, Response

from service.api.figures import OK, Figures, Tally
from service.api.sharing import Folder
from service.api.state import Service
from service.timing import PHASES

PREFIX: Final = "tensor_service_"
PUBLISH_S: Final = 1.0
# From 1 us to 69 s by powers of 4. A phase of exactly that many nanoseconds counts above it.
BOUND_BITS: Final = range(10, 38, 2)
Read = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that a part of the service tells when it is asked."""

    kind: type[GaugeMetricFamily | CounterMetricFamily]
    name: str
    about: str
    labels: Mapping[str, str]
    read: Read

    @property
    def key(self) -> str:
        """What it is called between processes."""
        return f"{self.name} {dict(self.labels)}"


class Metrics:
    """Counts requests, and tells of them."""

    def __init__(self, folder: Folder | None = None):
        """Count for this app; in `folder`, other processes of the server tell what they counted."""
        self.figures = Figures()
        self._folder = folder
        self._readings: dict[str, Reading] = {}

    def gauge(self, name: str, about: str, read: Read, **labels: str) -> None:
        """Show what `read` gives now, in all processes together."""
        self._add(Reading(GaugeMetricFamily, name, about, labels, read))

    def counter(self, name: str, about: str, read: Read, **labels: str) -> None:
        """Show what `read` gives, which only grows, in all processes together."""
        self._add(Reading(CounterMetricFamily, name, about, labels, read))

    def _add(self, reading: Reading) -> None:
        if reading.key in self._readings:
            raise ValueError(f"{reading.key} is shown already")
        self._readings[reading.key] = reading

    async def text(self) -> bytes:
        """All of it, in Prometheus' text format. It is written beside the event loop."""
        return await asyncio.to_thread(self._write, self._snapshot())

    def publish(self) -> None:
        """Tell the other processes, if there are any."""
        if self._folder is not None:
            self._folder.put(self._snapshot().dump())

    @asynccontextmanager
    async def published(self) -> AsyncIterator[None]:
        """Tell the other processes every second while the context lasts, and once at its end."""
        if self._folder is None:
            yield
            return
        task = asyncio.create_task(self._keep_publishing())
        try:
            yield
        finally:
            task.cancel()
            self.publish()

    async def _keep_publishing(self) -> None:
        while True:
            self.publish()
            await asyncio.sleep(PUBLISH_S)

    def _snapshot(self) -> Figures:
        readings = {key: reading.read() for key, reading in self._readings.items()}
        return self.figures.with_readings(readings)

    def _write(self, figures: Figures) -> bytes:
        registry = CollectorRegistry()
        if self._folder is None:
            ProcessCollector(registry=registry)
            GCCollector(registry=registry)
        else:
            for text, lives in self._folder.others():
                other = Figures.load(text)
                if not lives:
                    self._forget_gauges(other)
                figures.merge(other)
        registry.register(_Families(figures, self._readings.values()))
        return generate_latest(registry)

    def _forget_gauges(self, figures: Figures) -> None:
        """Take away what only a process that lives can tell."""
        for key, reading in self._readings.items():
            if reading.kind is GaugeMetricFamily:
                del figures.readings[key]


def show_parts(metrics: Metrics, service: Service) -> None:
    """Show what the parts of the service are doing now; a new part adds its lines here."""
    settings, processes = service.settings, (service.workers, service.racers)
    workers = [lane for lane in processes if lane is not None]
    readiness = service.engine.planner.devices.readiness

    def is_ready(device: str) -> bool:
        return readiness.reason(device) is None

    if workers:
        about = "Worker processes that died, or were killed."
        metrics.counter("worker_ends", about, lambda: sum(lane.ends for lane in workers))
    for device, owner in service.owners.items():
        about = "Processes of a device that died, or were replaced."
        metrics.counter("owner_ends", about, partial(getattr, owner, "ends"), device=device)
        about = "1 if calls can have the device."
        metrics.gauge("device_ready", about, partial(is_ready, device), device=device)
        inside = partial(getattr, owner, "inside")
        metrics.gauge("device_calls", "Calls that run or wait there.", inside, device=device)
    held = "Bytes of bodies that are received or worked on."
    metrics.gauge("bytes_in_flight", held, lambda: service.bodies.held)
    metrics.gauge("ready", "1 if calls are taken.", lambda: service.phase == "ready")
    for name, lane, slots in (
        ("thread", service.lane, settings.slots),
        ("race", service.racers or service.races, 1),
        ("process", service.workers, settings.processes),
    ):
        if lane is None:  # workers, where the registry is not theirs
            continue
        inside = partial(getattr, lane, "inside")
        metrics.gauge("calls_inside", "Calls that run or wait.", inside, lane=name)
        metrics.gauge("slots", "Calls that can run at once.", partial(int, slots), lane=name)
        room = partial(int, settings.queue)
        metrics.gauge("queue_room", "Calls that may wait for a slot.", room, lane=name)


def metrics_router(metrics: Metrics) -> APIRouter:
    """GET /metrics."""
    router = APIRouter(tags=["system"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def figures() -> Response:
        """What this server has counted, in Prometheus' text format."""
        return Response(await metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


class _Families:
    """Figures, as prometheus-client takes them."""

    def __init__(self, figures: Figures, readings: Iterable[Reading]):
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
        tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
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
                families[reading.name] = reading.kind(
                    PREFIX + reading.name, reading.about, labels=[*reading.labels]
                )
            value = self._figures.readings[reading.key]
            families[reading.name].add_metric([*reading.labels.values()], value)
        yield from families.values()


def _buckets(counts: NDArray[np.int64]) -> list[tuple[str, float]]:
    """Counts up to each bound, in seconds, from counts up to each length in bits."""
    bounded = [(str(2**bits / 1e9), float(counts[bits])) for bits in BOUND_BITS]
    return [*bounded, ("+Inf", float(counts[-1]))]
