"""GET /metrics: the figures of this server, as Prometheus reads them.

Counting is our own, since prometheus-client's counters take several microseconds for what a request
has to tell; writing them is prometheus-client's (`exposition`), loaded when it is first asked for.

A part of the service that has something to show adds a reading where the app is put together:

    metrics.gauge("queued_calls", "Calls that wait.", lambda: lane.waiting, lane="thread")
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from service.observability.counters import COUNTER, GAUGE, Counters, Instrument, Read
from service.observability.multiprocess import CountersFolder
from service.pipeline.service import Service

PUBLISH_S: Final = 1.0
MEDIA_TYPE: Final = "text/plain; version=1.0.0"


class Metrics:
    """Counts requests, and tells of them."""

    def __init__(self, folder: CountersFolder | None = None):
        """Count for this app; in `folder`, other processes of the server tell what they counted."""
        self.figures = Counters()
        self._folder = folder
        self._readings: dict[str, Instrument] = {}

    def gauge(self, name: str, about: str, read: Read, **labels: str) -> None:
        """Show what `read` gives now, in all processes together."""
        self._add(Instrument(GAUGE, name, about, labels, read))

    def counter(self, name: str, about: str, read: Read, **labels: str) -> None:
        """Show what `read` gives, which only grows, in all processes together."""
        self._add(Instrument(COUNTER, name, about, labels, read))

    def _add(self, reading: Instrument) -> None:
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

    def _snapshot(self) -> Counters:
        readings = {key: reading.read() for key, reading in self._readings.items()}
        return self.figures.with_readings(readings)

    def _write(self, figures: Counters) -> bytes:
        from service.observability.prometheus import exposition

        if self._folder is not None:
            for text, lives in self._folder.others():
                other = Counters.load(text)
                if not lives:
                    self._forget_gauges(other)
                figures.merge(other)
        return exposition(figures, self._readings.values(), alone=self._folder is None)

    def _forget_gauges(self, figures: Counters) -> None:
        """Take away what only a process that lives can tell."""
        for key, reading in self._readings.items():
            if reading.kind == GAUGE:
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
        metrics.counter("worker_ends", about, lambda: sum(lane.exits for lane in workers))
    for device, owner in service.owners.items():
        about = "Processes of a device that died, or were replaced."
        metrics.counter("owner_ends", about, partial(getattr, owner, "exits"), device=device)
        about = "1 if calls can have the device."
        metrics.gauge("device_ready", about, partial(is_ready, device), device=device)
        inside = partial(getattr, owner, "active_calls")
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
        inside = partial(getattr, lane, "active_calls")
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
        return Response(await metrics.text(), media_type=MEDIA_TYPE)

    return router
