"""What the app holds while it lives: the parts of the service, and whether they are ready."""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal

import orjson

from service.bootstrap import make_core
from service.codecs import DecodeContext
from service.codecs.json.parsers import drop_parsers
from service.core import host
from service.core.call import AUTO
from service.core.devices import Device, named_gpus
from service.engine import Engine
from service.errors import DeviceUnreadyError, DrainingError, WarmingUpError
from service.executors import (
    NICE,
    ByteBudget,
    Config,
    DeviceProcess,
    ForkServer,
    ProcessPool,
    SharedPool,
    ThreadPool,
    spawn,
)
from service.pipeline.messages import DeviceReport
from service.planning.cost_model import CostModel
from service.planning.planner import Plan
from service.registry import Registry
from service.settings import Settings

TIDY_S: Final = 0.5
WORKER: Final = "service.pipeline.worker:make"
OWNER: Final = "service.pipeline.device_worker:make"
Phase = Literal["warming", "ready", "draining"]


@dataclass
class Service:
    """The parts of the service."""

    settings: Settings
    engine: Engine
    lane: ThreadPool
    races: ThreadPool
    # None where the registry is not the service's own: workers have that one. Races run by `races`
    # there, which is a thread.
    workers: ProcessPool | None
    racers: ProcessPool | None
    template: ForkServer | None
    bodies: ByteBudget
    # What workers share with this process. None without them, without so many addresses, and where
    # text is looked into for names of stored arrays.
    pool: SharedPool | None
    clusters: ThreadPool
    reading: DecodeContext
    bare_reading: DecodeContext
    # Of the devices that have processes of their own, by name; and what those have told of them.
    owners: Mapping[str, DeviceProcess]
    reports: Mapping[str, DeviceReport]
    phase: Phase = "warming"
    _warming: asyncio.Task[None] = field(init=False, repr=False)
    _tidying: bool = field(default=False, repr=False)

    def check_ready(self) -> None:
        """Raise the BusyError that says why no call is taken: warming up, or draining."""
        if self.phase == "warming":
            raise WarmingUpError("the service has just started and is measuring its strategies")
        if self.phase == "draining":
            raise DrainingError("the service is shutting down and finishes the calls it has")

    def lane_of(self, planned: Plan) -> ThreadPool:
        """The lane that a planned call runs on."""
        return self.lane if planned.device.cluster is None else self.clusters

    @property
    def _process_lanes(self) -> list[ProcessPool]:
        return [lane for lane in (self.workers, self.racers) if lane is not None]

    async def check_devices(self) -> None:
        """Have each device here compute a product of 2 x 2; a BusyError if `auto` has none."""
        self.engine.check_devices()
        for owner in self.owners.values():
            with suppress(DeviceUnreadyError):
                await owner.probe()
        self.engine.planner.devices.candidates(AUTO)

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
        host.trim_memory()
        if self.phase == "warming":
            self.phase = "ready"
            if self.template is not None:
                self.template.warm()
            for owner in self.owners.values():
                owner.start()

    def tidy_later(self) -> None:
        """Return memory to the system soon, once for all large calls until then."""
        if not self._tidying:
            self._tidying = True
            asyncio.get_running_loop().call_later(TIDY_S, self.tidy)

    def tidy(self) -> None:
        """Return memory that large calls have left to the system, when none computes here."""
        self._tidying = False
        if self.phase == "draining":  # what it has may be closed already
            return
        if self.lane.active_calls or any(lane.active_calls for lane in self._process_lanes):
            self.tidy_later()
        else:
            for lane in self._process_lanes:
                lane.trim_memory()
            for owner in self.owners.values():
                owner.trim_memory()
            if self.pool is not None:
                self.pool.trim_memory()
            drop_parsers()
            host.trim_memory()

    def drain(self) -> None:
        """Take no more calls."""
        self.phase = "draining"

    async def stop(self) -> None:
        """Take no more calls, and wait for those that run."""
        self.drain()
        await self._warming
        await asyncio.to_thread(self.lane.close)
        await asyncio.to_thread(self.races.close)
        for lane in self._process_lanes:
            await lane.close()
        for owner in self.owners.values():
            await owner.close()
        if self.pool is not None:
            self.pool.close()
        await asyncio.to_thread(self.clusters.close)
        for device in self.engine.planner.devices.members:
            if device.cluster is not None:
                await asyncio.to_thread(device.cluster.close)


def join(
    settings: Settings,
    registry: Registry,
    rates: CostModel,
    template: ForkServer | None = None,
    *,
    gpus: Sequence[Device] | None = None,
    owner: str = OWNER,
) -> Service:
    """The parts of the service, made from `settings`; worker processes are forked from `template`.

    Without one, all calls run in this process, which computes on no GPU unless it owns it. The
    `gpus` are those of the host; `owner` names what makes the handlers of their owners.
    """
    if gpus is None:
        gpus = named_gpus() if template is not None else ()
    core = make_core(settings, registry, rates, gpus)

    def config(make: str, memory_bytes: int | None, nice: int, **more: Any) -> Config:
        known = {"settings": settings.model_dump(mode="json"), "rates": rates.to_rows(), **more}
        return Config(make=make, memory_bytes=memory_bytes, nice=nice, arguments=known)

    workers = racers = pool = None
    owners: dict[str, DeviceProcess] = {}
    reports: dict[str, DeviceReport] = {}
    if template is not None:
        rows = [asdict(gpu) for gpu in gpus]
        configure = partial(config, WORKER, settings.worker_memory_bytes, NICE, gpus=rows)
        lane = partial(ProcessPool, template.fork, configure, queue=settings.queue)
        if core.context.arrays is None:
            with suppress(OSError):
                pool = SharedPool(settings.max_inflight_bytes)
        workers = lane(slots=settings.processes, pool=pool)
        racers = lane(slots=1)  # two races would measure each other
        for gpu in gpus:

            def learn(text: bytearray, name: str = gpu.name) -> None:
                reports[name] = report = DeviceReport(**orjson.loads(text))
                rates.update(report.rates)

            row = asdict(replace(gpu, has_process=False))
            owners[gpu.name] = DeviceProcess(
                gpu.name,
                spawn,
                # CUDA maps far more than it uses, and what waits for a GPU shall not wait long.
                partial(config, owner, None, 0, device=row),
                readiness=core.engine.planner.devices.readiness,
                report=learn,
                queue=settings.queue,
                longest_ms=settings.deadline_ms,
            )
    return Service(
        settings=settings,
        engine=core.engine,
        lane=ThreadPool(settings.slots, settings.queue),
        # Calls that wait for a cluster take no slot from those that compute here.
        clusters=ThreadPool(settings.slots, settings.queue),
        races=ThreadPool(1, settings.queue),
        workers=workers,
        racers=racers,
        template=template,
        bodies=ByteBudget(settings.max_inflight_bytes),
        pool=pool,
        reading=core.context,
        bare_reading=replace(core.context, has_outputs=False),
        owners=owners,
        reports=reports,
    )
