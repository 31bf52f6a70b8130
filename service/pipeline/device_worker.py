"""What the process that owns a device does: whole requests, as workers do them, on that device."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from service.core.devices import Device, properties_of, settle_on
from service.engine import Engine
from service.errors import DeviceFailedError
from service.executors import HANDSHAKE, Bytes, Channel, FatalError, Handler, WorkerResponse
from service.operations import REGISTRY
from service.pipeline.messages import DeviceReport
from service.pipeline.service import join
from service.pipeline.worker import RequestHandler
from service.planning.cost_model import CostModel, Row
from service.settings import Settings


def make(settings: Mapping[str, Any], rates: Iterable[Row], device: Mapping[str, Any]) -> Handler:
    """The handler of an owner, with the server's own settings, and what has been measured."""
    own = Device(**device)
    service = join(
        Settings.model_validate(settings), REGISTRY, CostModel.from_rows(rates), gpus=[own]
    )
    service.phase = "ready"
    return DeviceRequestHandler(RequestHandler(service), service.engine, own)


class DeviceRequestHandler:
    """Answers requests on its device, and says so when that takes no more work."""

    def __init__(self, worker: RequestHandler, engine: Engine, device: Device):
        """Answer as `worker` does, whose `engine` has the device."""
        self._worker = worker
        self._engine = engine
        self._device = device

    def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
        """The reply to a request, or to HANDSHAKE the report; FatalError if the device is lost."""
        if head == HANDSHAKE:
            return WorkerResponse(self._report())
        try:
            return self._worker.answer(head, body, line)
        except MemoryError:
            raise
        except Exception as error:
            self._check(error)
            raise

    def trim_memory(self) -> None:
        """Return memory of the host to the system; that of the device nobody else wants."""
        self._worker.trim_memory()

    def _report(self) -> bytes:
        """What the server has to know, after a product of 2 x 2."""
        try:
            settle_on(self._device)
            device = properties_of(self._device)
            self._engine.check_devices()
            self._engine.measure_device(device)
        except Exception as error:
            raise FatalError(_first_line(error)) from error
        rates = [row for row in self._engine.planner.cost_model.to_rows() if row[2] == device.name]
        return orjson.dumps(DeviceReport(device.description, device.memory_bytes, rates))

    def _check(self, error: Exception) -> None:
        """Raise a FatalError if the device does not compute any more.

        An illegal address, a failed assertion and their like leave CUDA such that all that follows
        fails in this process, too. Which errors they are is not listed here: it is tried.
        """
        try:
            self._engine.check_devices()
        except DeviceFailedError:
            raise FatalError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    """What is wrong; further lines of CUDA's errors say how to find out more."""
    return (str(error).strip() or repr(error)).partition("\n")[0]
