"""The parts of the service in one process, made from its settings, and whether they are ready."""

import asyncio
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal

import orjson
import torch

from service.bootstrap import make_core
from service.codecs import DecodeContext
from service.codecs.base import THREAD_TEXT_BYTES, UNLIMITED_ELEMENTS
from service.codecs.number_text import set_threads
from service.core import host
from service.core.call import AUTO
from service.core.devices import Device, named_gpus
from service.core.dtypes import describe
from service.engine import Engine
from service.errors import (
    DeviceFailedError,
    DeviceUnreadyError,
    DrainingError,
    ServiceError,
    WarmingUpError,
)
from service.executors import (
    NICE,
    ByteBudget,
    Config,
    DeviceProcess,
    ForkServer,
    ProcessPool,
    ThreadPool,
    run_in_background,
    spawn,
)
from service.operations.chain import ChainOp, chain_op
from service.operations.gradient_steps import gradient_ops
from service.pipeline.device_reports import DeviceReports
from service.pipeline.messages import CALIBRATE, DeviceReport
from service.planning.cost_model import CostModel
from service.registry import Op, Registry
from service.settings import Settings

log: Final = logging.getLogger("service.calibration")
TRIM_S: Final = 0.5
# Bodies and answers from here on leave so much memory behind that it is worth some milliseconds to
# return it.
TRIM_BYTES: Final = 4_000_000
# The most time that measuring an operation with a dtype may take; usual are up to 2 s.
CALIBRATE_MS: Final = 60_000
# What could not be measured is tried again: the process for races may have been busy.
CALIBRATION_ROUNDS: Final = 4
CALIBRATION_PAUSE_S: Final = 20.0
# Larger bodies take a share of the bytes in flight.
COUNTED_BYTES: Final = 65_536
WORKER: Final = "service.pipeline.worker:make"
# What worker processes have imported from the start.
WORKER_MODULES: Final = (WORKER.partition(":")[0], "service.operations.preload")
DEVICE_WORKER: Final = "service.pipeline.device_worker:make"
State = Literal["warming", "ready", "failed", "draining"]
WARMING: Final = "warming"
READY: Final = "ready"
FAILED: Final = "failed"
DRAINING: Final = "draining"


@dataclass
class Service:
    """The parts of the service.

    threads           for calls that release the GIL
    reading_threads   for calls whose text has arrived, and which wait for one of `threads`
    cluster_threads   for calls that wait for a cluster: they take no slot of those that compute
    worker_pool       processes for calls that hold the GIL or have to be killable; None without a
                      fork server, and where the registry is not the service's own
    race_pool         one process for races; else `race_threads`
    device_processes  by the names of their devices; `device_reports` is what they have sent
    context           limits and defaults of decoding; `binary_context` is for answers that have no
                      forms to choose from, `plan_context` for plans, which state themselves that a
                      size is too large
    uncounted_bytes   of bodies that are neither over a limit nor take a share of those in flight
    chain             fields of chains of the operations in the registry
    gradients         fields of requests of gradients, by the names of the requests
    device_started    set when a device process has begun, and its device is ready
    """

    settings: Settings
    engine: Engine
    threads: ThreadPool
    reading_threads: ThreadPool
    cluster_threads: ThreadPool
    race_threads: ThreadPool
    worker_pool: ProcessPool | None
    race_pool: ProcessPool | None
    fork_server: ForkServer | None
    inflight: ByteBudget
    context: DecodeContext
    binary_context: DecodeContext
    plan_context: DecodeContext
    device_processes: Mapping[str, DeviceProcess]
    device_reports: Mapping[str, DeviceReport]
    uncounted_bytes: int
    chain: ChainOp
    gradients: Mapping[str, Op[Any]]
    device_started: asyncio.Event
    state: State = WARMING
    _warming: asyncio.Task[None] = field(init=False, repr=False)
    _calibrating: asyncio.Task[None] = field(init=False, repr=False)
    _trims: bool = field(default=False, repr=False)

    def check_ready(self) -> None:
        """Raise WarmingUpError, DeviceFailedError or DrainingError unless calls are taken."""
        if self.state == WARMING:
            raise WarmingUpError("the service has just started and is measuring its strategies")
        if self.state == FAILED:
            raise DeviceFailedError(
                "the service could not start to compute; its log has the error",
                hint="the operator has to mend the cause and to start the service again",
            )
        if self.state == DRAINING:
            raise DrainingError("the service is shutting down and finishes the calls it has")

    @property
    def _process_pools(self) -> list[ProcessPool]:
        return [pool for pool in (self.worker_pool, self.race_pool) if pool is not None]

    async def check_devices(self) -> None:
        """Compute a product of 2 x 2 on each device here; a BusyError if `auto` has none."""
        self.engine.check_devices()
        for process in self.device_processes.values():
            with suppress(DeviceUnreadyError):
                await process.probe()
        self.engine.planner.devices.candidates(AUTO)

    async def start(self) -> None:
        """Begin to warm up; then other processes start, and the other dtypes are measured."""
        self._warming = asyncio.create_task(self._warm_up())
        self._calibrating = run_in_background(self._calibrate(), "the measurement of costs")

    async def warmed_up(self) -> None:
        """Wait until the service is ready, or has failed to become so."""
        await self._warming

    async def _warm_up(self) -> None:
        try:
            await asyncio.to_thread(self.engine.warm_up)
            # Objects that exist now stay: the collector need not visit torch's modules again.
            gc.collect()
            gc.freeze()
            host.trim_memory()
            if self.state == WARMING:
                if self.fork_server is not None:
                    self.fork_server.warm()
                for process in self.device_processes.values():
                    process.start()
                self.state = READY
        except Exception:
            log.exception("the start has failed, and no call is taken")
            if self.state == WARMING:
                self.state = FAILED

    async def _calibrate(self) -> None:
        """Measure all other dtypes, an operation at a time; until then, plans have priors.

        What fails is tried again after a pause. Without the setting, nothing is measured.
        """
        await self._warming
        for _ in range(CALIBRATION_ROUNDS if self.settings.calibrate else 0):
            await self._measure_all()
            if self.state != READY or not self.engine.unmeasured():
                return
            await asyncio.sleep(CALIBRATION_PAUSE_S)

    async def _measure_all(self) -> None:
        """Try once to measure each operation with each dtype, on a device as soon as it is ready.

        Worker processes that have started meanwhile are replaced, so that they plan as this
        process does.
        """
        left, readiness = self.engine.unmeasured(), self.engine.planner.devices.readiness
        while left:
            if self.state != READY:
                return
            self.device_started.clear()
            ready = (each for each in left if readiness.reason(each[2].name) is None)
            found = next(ready, None)
            if found is None:
                await self._renew_workers()
                await self.device_started.wait()
                continue
            left.remove(found)
            try:
                await self._measure(*found)
            except Exception as error:  # it keeps its prior for now
                op, dtype, device = found
                where = op.name, describe(dtype).name, device.name
                fault = None if isinstance(error, ServiceError) else error
                reason = type(error).__name__
                log.warning("%s of %s on %s is not measured: %s", *where, reason, exc_info=fault)
        await self._renew_workers()

    async def _renew_workers(self) -> None:
        for pool in self._process_pools:
            await pool.renew_workers()

    async def _measure(self, op: Op[Any], dtype: torch.dtype, device: Device) -> None:
        """Measure an operation where that keeps no calls waiting but races, and on its device."""
        if self.race_pool is None:
            job = partial(self.engine.measure, op, dtype, device)
            await self.race_threads.run(job, deadline_ms=CALIBRATE_MS)
            return
        executor = self.device_processes.get(device.name, self.race_pool)
        head = CALIBRATE + f"{op.name} {describe(dtype).name} {device.name}".encode()
        rows, _ = await executor.run(head, b"", estimated_ns=None, deadline_ms=CALIBRATE_MS)
        self.engine.learn(orjson.loads(rows))

    def trim_memory_later(self) -> None:
        """Return memory to the system soon, once for all large calls until then."""
        if not self._trims:
            self._trims = True
            asyncio.get_running_loop().call_later(TRIM_S, self.trim_memory)

    def trim_memory(self) -> None:
        """Return memory that large calls have left to the system, when none computes here."""
        self._trims = False
        if self.state == DRAINING:  # its parts may be closed already
            return
        if self.threads.active_calls or any(pool.active_calls for pool in self._process_pools):
            self.trim_memory_later()
        else:
            for pool in self._process_pools:
                pool.trim_memory()
            for process in self.device_processes.values():
                process.trim_memory()
            host.trim_memory()

    def drain(self) -> None:
        """Take no more calls."""
        self.state = DRAINING

    async def stop(self) -> None:
        """Take no more calls, and wait for those that run."""
        self.drain()
        await self._warming
        self._calibrating.cancel()
        await asyncio.to_thread(self.reading_threads.close)
        await asyncio.to_thread(self.threads.close)
        await asyncio.to_thread(self.race_threads.close)
        for pool in self._process_pools:
            await pool.close()
        for process in self.device_processes.values():
            await process.close()
        await asyncio.to_thread(self.cluster_threads.close)
        for device in self.engine.planner.devices.members:
            if device.cluster is not None:
                await asyncio.to_thread(device.cluster.close)


def build_service(
    settings: Settings,
    registry: Registry,
    cost_model: CostModel,
    fork_server: ForkServer | None = None,
    *,
    gpus: Sequence[Device] | None = None,
    device_worker: str = DEVICE_WORKER,
) -> Service:
    """Return the parts of the service; worker processes are forked from `fork_server`.

    Without one, all calls run in this process, on no GPU but one whose process it is. The `gpus`
    are those of the host; `device_worker` names the function that makes the handlers of their
    processes.
    """
    if gpus is None:
        gpus = named_gpus() if fork_server is not None else ()
    core = make_core(settings, registry, cost_model, gpus)

    config = partial(_config, settings, cost_model)
    reports = DeviceReports(core.engine)
    worker_pool = race_pool = None
    context = core.context
    processes: dict[str, DeviceProcess] = {}
    if fork_server is not None:
        rows = [asdict(gpu) for gpu in gpus]
        configure = partial(config, WORKER, settings.worker_memory_bytes, NICE, gpus=rows)
        process_pool = partial(ProcessPool, fork_server.fork, configure, queue=settings.queue)
        worker_pool = process_pool(slots=settings.processes)
        race_pool = process_pool(slots=1)  # two races would measure each other
        processes = {
            gpu.name: _device_process(gpu, partial(config, device_worker), settings, reports)
            for gpu in gpus
        }
        context = replace(context, max_slow_bytes=THREAD_TEXT_BYTES)
        set_threads(settings.slots)
    return Service(
        settings=settings,
        engine=core.engine,
        threads=ThreadPool(settings.slots, settings.queue),
        reading_threads=ThreadPool(settings.slots, settings.queue),
        cluster_threads=ThreadPool(settings.slots, settings.queue),
        race_threads=ThreadPool(1, settings.queue),
        worker_pool=worker_pool,
        race_pool=race_pool,
        fork_server=fork_server,
        inflight=ByteBudget(settings.max_inflight_bytes),
        context=context,
        binary_context=replace(context, has_outputs=False),
        plan_context=replace(core.context, shapes=True, max_elements=UNLIMITED_ELEMENTS),
        device_processes=processes,
        device_reports=reports.by_device,
        uncounted_bytes=min(COUNTED_BYTES, settings.max_body_bytes),
        chain=chain_op(registry),
        gradients={op.name: op for op in gradient_ops(registry)},
        device_started=reports.arrived,
    )


def _config(
    settings: Settings,
    cost_model: CostModel,
    make: str,
    memory_bytes: int | None,
    nice: int,
    **more: Any,
) -> Config:
    """Return what a process starts with, as of now: settings, measured costs, and `more`."""
    known = {"settings": settings.model_dump(mode="json"), "curves": cost_model.to_rows(), **more}
    return Config(make=make, memory_bytes=memory_bytes, nice=nice, arguments=known)


def _device_process(
    gpu: Device, config: Callable[..., Config], settings: Settings, reports: DeviceReports
) -> DeviceProcess:
    """Return the process of a GPU, not yet started."""
    row = asdict(replace(gpu, has_process=False))
    return DeviceProcess(
        gpu.name,
        spawn,
        # CUDA maps far more than it uses; and nice 0, since calls that wait for a GPU are short
        partial(config, None, 0, device=row),
        readiness=reports.engine.planner.devices.readiness,
        report=partial(reports.receive, gpu.name),
        queue=settings.queue,
        longest_ms=settings.deadline_ms,
    )
