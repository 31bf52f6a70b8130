"""Gauges and counters of the parts of the service."""

from functools import partial

from service.executors import AnyExecutor, DeviceProcess
from service.observability.metrics import Metrics
from service.pipeline.service import READY, Service


def add_instruments(metrics: Metrics, service: Service) -> None:
    """Add an instrument for each part of the service that is worth watching."""
    settings, pools = service.settings, (service.worker_pool, service.race_pool)
    workers = [pool for pool in pools if pool is not None]
    readiness = service.engine.planner.devices.readiness

    def is_ready(device: str) -> bool:
        return readiness.reason(device) is None

    if workers:
        about = "Worker processes that died, or were killed."
        metrics.counter("worker_ends", about, lambda: sum(pool.exits for pool in workers))
    for device, process in service.device_processes.items():
        about = "Processes of a device that died, or were replaced."
        metrics.counter("device_process_exits", about, partial(_exits, process), device=device)
        about = "1 if calls can have the device."
        metrics.gauge("device_ready", about, partial(is_ready, device), device=device)
        calls = partial(_active_calls, process)
        metrics.gauge("device_calls", "Calls that run or wait there.", calls, device=device)
    held = "Bytes of bodies that are received or worked on."
    metrics.gauge("bytes_in_flight", held, lambda: service.inflight.held)
    metrics.gauge("ready", "1 if calls are taken.", lambda: service.state == READY)
    for name, pool, slots in (
        ("thread", service.threads, settings.slots),
        ("race", service.race_pool or service.race_threads, 1),
        ("process", service.worker_pool, settings.processes),
    ):
        if pool is None:  # without worker processes
            continue
        calls = partial(_active_calls, pool)
        metrics.gauge("calls_inside", "Calls that run or wait.", calls, executor=name)
        metrics.gauge("slots", "Calls that can run at once.", partial(int, slots), executor=name)
        room = partial(int, settings.queue)
        metrics.gauge("queue_room", "Calls that may wait for a slot.", room, executor=name)


def _active_calls(executor: AnyExecutor) -> int:
    return executor.active_calls


def _exits(process: DeviceProcess) -> int:
    return process.exits
