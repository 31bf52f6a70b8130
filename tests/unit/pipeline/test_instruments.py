"""Instruments of the parts of a service: one for each pool and each device process."""

from service.api.app import create_app
from service.executors import ForkServer
from service.observability.metrics import Metrics
from service.pipeline.instruments import add_instruments
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.device_processes import GPU, MAKE
from tests.rigs.laboratory import Gate, gated_app


async def lines_of(metrics: Metrics) -> set[str]:
    """Return the samples of the service, without its prefix."""
    lines = (await metrics.text()).decode().splitlines()
    return {line.removeprefix("tensor_service_") for line in lines if line.startswith("tensor_")}


async def test_device_processes_have_instruments(
    cost_model: CostModel, fork_server: ForkServer
) -> None:
    """Before the start no call is taken, and the device is not ready."""
    app = create_app(
        Settings(processes=2, slots=3, queue=5),
        cost_model=cost_model,
        fork_server=fork_server,
        gpus=[GPU],
        device_worker=MAKE,
    )
    metrics = Metrics()
    add_instruments(metrics, app.state.service)
    assert await lines_of(metrics) >= {
        'device_process_exits_total{device="cuda:0"} 0.0',
        'device_ready{device="cuda:0"} 0.0',
        'device_calls{device="cuda:0"} 0.0',
        "worker_ends_total 0.0",
        "bytes_in_flight 0.0",
        "ready 0.0",
        *(f'calls_inside{{executor="{name}"}} 0.0' for name in ("thread", "race", "process")),
        'slots{executor="thread"} 3.0',
        'slots{executor="race"} 1.0',
        'slots{executor="process"} 2.0',
        *(f'queue_room{{executor="{name}"}} 5.0' for name in ("thread", "race", "process")),
    }


async def test_without_worker_processes_they_have_no_instruments() -> None:
    """A registry that is not the service's own has threads alone."""
    metrics = Metrics()
    add_instruments(metrics, gated_app(Gate()).state.service)
    found = await lines_of(metrics)
    assert 'calls_inside{executor="race"} 0.0' in found
    assert not [line for line in found if "process" in line or "worker" in line]
