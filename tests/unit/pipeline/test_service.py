"""The parts of a service: whether it is ready, its memory between calls, and its end."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from service.codecs.base import THREAD_TEXT_BYTES, UNBOUNDED_BYTES
from service.core import host
from service.core.devices import CPU, Device, Devices
from service.errors import (
    DeviceFailedError,
    DeviceUnreadyError,
    DrainingError,
    OverloadedError,
    WarmingUpError,
)
from service.executors import WorkerFaultError
from service.operations import REGISTRY
from service.pipeline import service as module
from service.pipeline.service import DRAINING, READY, WARMING, Service, build_service
from service.planning.cost_model import CostModel
from service.planning.planner import Planner
from service.registry import Op
from service.settings import Settings
from tests.rigs.device_processes import GPU, SECOND


class Part:
    """A pool, or a process of a device, that writes down what is called."""

    def __init__(self) -> None:
        """Begin without calls."""
        self.active_calls = 0
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.called.append(name)


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that return memory of this process to the system."""
    found: list[str] = []
    monkeypatch.setattr(host, "trim_memory", lambda: found.append("host"))
    return found


def test_states(service: Service) -> None:
    """Calls are taken after the strategies have been measured, until the service drains."""
    service.state = WARMING
    with pytest.raises(WarmingUpError):
        service.check_ready()
    service.state = READY
    service.check_ready()
    service.drain()
    with pytest.raises(DrainingError):
        service.check_ready()


@pytest.mark.parametrize("state", [WARMING, DRAINING])
async def test_processes_begin_when_all_is_measured(
    service: Service, cost_model: CostModel, state: Any
) -> None:
    """They begin unless the service has been told to end meanwhile."""
    fork_server: Any = Part()
    process: Any = Part()
    found = replace(
        service, state=state, fork_server=fork_server, device_processes={"cuda:0": process}
    )
    await found.start()
    await found.warmed_up()
    starts = state == WARMING
    assert found.state == (READY if starts else DRAINING)
    assert fork_server.called == (["warm"] if starts else [])
    assert process.called == (["start"] if starts else [])


@pytest.mark.parametrize("state", [WARMING, DRAINING])
async def test_strategies_that_cannot_be_measured(
    cost_model: CostModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    state: Any,
) -> None:
    """The log and each call have the reason, nothing else begins, and the service can end."""

    def warm_up(self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("service.engine.Engine.warm_up", warm_up)
    found = build_service(Settings(), REGISTRY, cost_model)
    found.state = state
    await found.start()
    await found.warmed_up()
    await asyncio.wait_for(found._calibrating, 10)
    (failed,) = caplog.records
    assert failed.exc_info is not None
    assert failed.exc_info[0] is ZeroDivisionError
    error, words = (
        (DeviceFailedError, "could not start") if state == WARMING else (DrainingError, "down")
    )
    with pytest.raises(error, match=words):
        found.check_ready()
    await found.stop()
    assert found.state == DRAINING
    with pytest.raises(RuntimeError, match="shutdown"):
        found.threads._pool.submit(print)


class Engine:
    """An engine with operations to measure, each of which is measured at its second attempt."""

    def __init__(self) -> None:
        """Begin without measurements."""
        self.attempts: list[str] = []
        self.planner = Planner(Devices((CPU,)), CostModel(), Settings().limits)

    def warm_up(self) -> None:
        """Measure nothing."""

    def unmeasured(self) -> list[tuple[Op[Any], torch.dtype, Device]]:
        """Return what has been tried less than twice."""
        names = ("norm", "einsum")
        left = [name for name in names if self.attempts.count(name) < 2]
        return [(REGISTRY[name], torch.int8, CPU) for name in left]

    def measure(self, op: Op[Any], dtype: torch.dtype, device: Device) -> None:
        """Count an attempt, and fail at the first."""
        assert (dtype, device) == (torch.int8, CPU)
        self.attempts.append(op.name)
        if self.attempts.count(op.name) == 1:
            raise OverloadedError("busy")


async def calibrated(service: Service, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Engine:
    """Return the engine of a service that has started and measured all that it can."""
    monkeypatch.setattr(module, "CALIBRATION_PAUSE_S", 0.0)
    engine: Any = Engine()
    found = replace(service, engine=engine, state=WARMING, **more)
    await found.start()
    await asyncio.wait_for(found._calibrating, 10)
    made: Engine = engine
    return made


async def test_what_cannot_be_measured_is_tried_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process for races may be busy."""
    engine = await calibrated(service, monkeypatch)
    assert engine.attempts == ["norm", "einsum", "norm", "einsum"]


async def test_a_fault_of_a_measurement_is_logged_with_its_trace(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A busy process is no fault, and has none."""
    error: Exception = OverloadedError("busy")

    def measure(*_: object) -> None:
        raise error

    monkeypatch.setattr(Engine, "measure", measure)
    monkeypatch.setattr(module, "CALIBRATION_ROUNDS", 1)
    await calibrated(service, monkeypatch)
    assert [each.exc_info for each in caplog.records] == [None, None]
    caplog.clear()
    error = WorkerFaultError("  File ...\nKeyError")  # or any other that is none of the service's
    await calibrated(service, monkeypatch)
    found = [each.exc_info[1] for each in caplog.records if each.exc_info]
    assert found == [error, error]


async def test_calibration_gives_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be measured keeps its prior."""
    monkeypatch.setattr(module, "CALIBRATION_ROUNDS", 1)
    assert (await calibrated(service, monkeypatch)).attempts == ["norm", "einsum"]
    # Without an exception, after which Python 3.11 traces no lines, so that coverage sees the rest.
    monkeypatch.setattr(Engine, "measure", lambda self, op, *_: self.attempts.append(op.name))
    assert (await calibrated(service, monkeypatch)).attempts == ["norm", "einsum"]


async def test_calibration_ends_with_the_service(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that drains measures nothing more."""

    def measure(self: Engine, *_: object) -> None:
        self.attempts.append("norm")
        found.drain()

    monkeypatch.setattr(Engine, "measure", measure)
    engine: Any = Engine()
    found = replace(service, engine=engine, state=WARMING)
    await found.start()
    await asyncio.wait_for(found._calibrating, 10)
    assert engine.attempts == ["norm"]


class Renewals:
    """A pool whose workers are replaced; each time is awaited by `next`."""

    def __init__(self) -> None:
        """Begin without any."""
        self._times = asyncio.Semaphore(0)

    async def renew_workers(self) -> None:
        """Replace them."""
        self._times.release()

    async def next(self) -> None:
        """Wait for the next time."""
        await asyncio.wait_for(self._times.acquire(), 10)


async def test_a_device_is_measured_once_it_is_ready(service: Service) -> None:
    """All else is measured before, and workers are replaced; no pause has to pass."""
    engine: Any = Engine()
    pool: Any = Renewals()
    readiness = engine.planner.devices.readiness
    readiness.lose("cpu", "its process is starting", 10)
    found = replace(service, engine=engine, state=WARMING, worker_pool=pool, race_pool=None)
    await found.start()
    await pool.next()
    found.device_started.set()  # of another device
    await pool.next()
    assert engine.attempts == []
    found.device_started.set()
    readiness.regain("cpu")
    await pool.next()
    assert engine.attempts == ["norm", "einsum"]
    found._calibrating.cancel()


def test_memory_is_trimmed_in_every_part(service: Service, trims: list[str]) -> None:
    """Worker processes, those of devices, and this process."""
    workers, races, process = parts = [Part() for _ in range(3)]
    changes: Any = {
        "worker_pool": workers,
        "race_pool": races,
        "device_processes": {"cuda:0": process},
    }
    replace(service, **changes).trim_memory()
    assert [part.called for part in parts] == [["trim_memory"]] * 3
    assert trims == ["host"]


async def test_memory_is_trimmed_once_and_later(
    service: Service, trims: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All large calls until then share one trim, which waits while calls run."""
    monkeypatch.setattr(module, "TRIM_S", 0.01)
    workers: Any = Part()
    service.worker_pool = workers
    workers.active_calls = 1
    for _ in range(3):
        service.trim_memory_later()
    await asyncio.sleep(0.05)
    assert (trims, workers.called) == ([], [])
    workers.active_calls = 0
    await asyncio.sleep(0.05)
    assert (trims, workers.called) == (["host"], ["trim_memory"])
    service.trim_memory_later()
    await asyncio.sleep(0.05)
    assert len(trims) == 2


def test_memory_is_left_alone_at_the_end(service: Service, trims: list[str]) -> None:
    """The parts of a service that drains may be closed already."""
    service.drain()
    service.trim_memory()
    assert trims == []
    service.state = READY
    service.trim_memory()
    assert trims == ["host"]


async def test_devices_are_checked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this process compute a product, and other processes, which may be absent."""
    probes: list[str] = []

    async def probe() -> None:
        probes.append("probe")
        raise DeviceUnreadyError("cuda:0 is not ready")

    process: Any = Part()
    process.probe = probe
    service.device_processes = {"cuda:0": process}
    await service.check_devices()
    assert probes == ["probe"]
    monkeypatch.setattr("service.engine.PROBED", [[0.0]])
    with pytest.raises(DeviceFailedError):
        await service.check_devices()


async def test_processes_of_a_service(cost_model: CostModel) -> None:
    """They need a fork server. Without one, all text is read here, however long that takes."""
    fork_server: Any = Part()
    service = build_service(Settings(), REGISTRY, cost_model, fork_server, gpus=[GPU, SECOND])
    assert service.context.max_slow_bytes == THREAD_TEXT_BYTES
    assert service.binary_context.max_slow_bytes == THREAD_TEXT_BYTES
    assert service.plan_context.max_slow_bytes == UNBOUNDED_BYTES
    assert None not in (service.worker_pool, service.race_pool)
    assert [*service.device_processes] == ["cuda:0", "cuda:1"]
    assert service.device_reports == {}
    found = {device.name for device in service.engine.planner.devices.members}
    assert found == {"cuda:0", "cuda:1", "cpu"}
    await service.start()
    await service.stop()

    alone = build_service(Settings(), REGISTRY, cost_model)
    assert (alone.worker_pool, alone.race_pool) == (None, None)
    assert alone.context.max_slow_bytes == UNBOUNDED_BYTES
    assert alone.device_processes == {}


async def test_the_end_waits_for_every_part(cost_model: CostModel) -> None:
    """Clusters are closed last, after the threads that wait for them."""
    service = build_service(Settings(), REGISTRY, cost_model)
    cluster: Any = Part()
    devices = service.engine.planner.devices
    member = Device("cluster", "cluster", "", None, cluster=cluster)
    await service.start()
    await service.warmed_up()
    object.__setattr__(devices, "members", (*devices.members, member))
    await service.stop()
    assert service.state == DRAINING
    assert cluster.called == ["close"]
    for threads in (service.threads, service.race_threads, service.cluster_threads):
        with pytest.raises(RuntimeError, match="shutdown"):
            threads._pool.submit(print)
