"""GET /metrics: the counters of this server, as Prometheus reads them.

Counting is our own, since prometheus-client's counters take several microseconds for each request.
The text is written by prometheus-client (`exposition`), which is loaded when it is first needed.

`service.pipeline.instruments` adds an instrument for each part of the service:

    metrics.gauge("slots", "Calls that can run at once.", lambda: slots, executor="thread")
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from service.observability.counters import COUNTER, GAUGE, Counters, Instrument, Read
from service.observability.multiprocess import CountersFolder

PUBLISH_S: Final = 1.0
MEDIA_TYPE: Final = "text/plain; version=1.0.0"


class Metrics:
    """Counters and instruments of one server process, and their text."""

    def __init__(self, folder: CountersFolder | None = None):
        """Begin at zero; in `folder` the processes of a server exchange their counters."""
        self.counters = Counters()
        self._folder = folder
        self._instruments: dict[str, Instrument] = {}

    def gauge(self, name: str, about: str, read: Read, **labels: str) -> None:
        """Add a gauge: the sum of what `read` returns in all processes."""
        self._add(Instrument(GAUGE, name, about, labels, read))

    def counter(self, name: str, about: str, read: Read, **labels: str) -> None:
        """Add a counter: the sum of what `read` returns, which only grows, in all processes."""
        self._add(Instrument(COUNTER, name, about, labels, read))

    def _add(self, instrument: Instrument) -> None:
        if instrument.key in self._instruments:
            raise ValueError(f"{instrument.key} is shown already")
        self._instruments[instrument.key] = instrument

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format, written on a thread."""
        return await asyncio.to_thread(self._write, self._snapshot())

    def publish(self) -> None:
        """Write the counters for the other processes, if there are any."""
        if self._folder is not None:
            self._folder.put(self._snapshot().dump())

    @asynccontextmanager
    async def published(self) -> AsyncIterator[None]:
        """Publish every second while the context lasts, and once at its end."""
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
        readings = {key: each.read() for key, each in self._instruments.items()}
        return self.counters.with_readings(readings)

    def _write(self, counters: Counters) -> bytes:
        from service.observability.prometheus import exposition

        if self._folder is not None:
            gauges = [key for key, each in self._instruments.items() if each.kind == GAUGE]
            counters.merge(self._folder.others(gauges))
        return exposition(counters, self._instruments.values(), alone=self._folder is None)
