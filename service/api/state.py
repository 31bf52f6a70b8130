"""What the app holds while it lives: the parts of the service, and whether they are ready."""

import asyncio
import gc
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from threadpoolctl import threadpool_limits

from service import memory
from service.devices import host_devices
from service.dtypes import parse_dtype
from service.engine import Engine
from service.errors import WarmingUpError
from service.lanes.threads import ThreadLane
from service.plan import Planner
from service.rates import Rates
from service.registry import Registry
from service.settings import Settings
from service.wire import Reading
from service.wire.parsers import drop_parsers

TIDY_S: Final = 0.5


@dataclass
class Service:
    """The parts of the service."""

    settings: Settings
    engine: Engine
    lane: ThreadLane
    races: ThreadLane
    reading: Reading
    bare_reading: Reading
    ready: bool = False
    _warming: asyncio.Task[None] = field(init=False, repr=False)
    _tidying: bool = field(default=False, repr=False)

    def check_ready(self) -> None:
        """Raise WarmingUpError until every strategy has been measured."""
        if not self.ready:
            raise WarmingUpError("the service has just started and is measuring its strategies")

    async def start(self) -> None:
        """Measure the strategies without holding up the event loop."""
        self._warming = asyncio.create_task(self._warm_up())

    async def warmed_up(self) -> None:
        """Wait until the service is ready."""
        await self._warming

    async def _warm_up(self) -> None:
        await asyncio.to_thread(self.engine.warm_up)
        # What is there now stays: the collector need not walk through torch's modules again.
        gc.collect()
        gc.freeze()
        memory.release()
        self.ready = True

    def tidy_later(self) -> None:
        """Return memory to the system soon, once for all large calls until then."""
        if not self._tidying:
            self._tidying = True
            asyncio.get_running_loop().call_later(TIDY_S, self.tidy)

    def tidy(self) -> None:
        """Return memory that large calls have left to the system, when none runs."""
        self._tidying = False
        if self.lane.inside:
            self.tidy_later()
        else:
            drop_parsers()
            memory.release()

    async def stop(self) -> None:
        """Take no more calls, and wait for those that run."""
        self.ready = False
        await self._warming
        await asyncio.to_thread(self.lane.close)
        await asyncio.to_thread(self.races.close)


def join(settings: Settings, registry: Registry, rates: Rates) -> Service:
    """The parts of the service, made from `settings`. Sets torch's threads for the process."""
    torch.set_grad_enabled(False)
    torch.set_num_threads(settings.threads)
    threadpool_limits(settings.threads, user_api="blas")  # numpy's own BLAS
    devices = host_devices(settings.device)
    reading = Reading(
        max_elements=settings.max_elements,
        dtype=parse_dtype(settings.dtype),
        max_deadline_ms=settings.deadline_ms,
        max_rank=settings.max_rank,
        max_nesting=settings.max_nesting,
        max_body_bytes=settings.max_body_bytes,
    )
    return Service(
        settings=settings,
        engine=Engine(registry, Planner(devices, rates, settings.limits)),
        lane=ThreadLane(settings.slots, settings.queue),
        # One at a time: two races would measure each other.
        races=ThreadLane(1, settings.queue),
        reading=reading,
        bare_reading=replace(reading, has_outputs=False),
    )
