"""The handler of a device process: whole requests, as in a worker process, on that device."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import orjson
import torch

from service.core.devices import Device, exhausted_name, is_exhausted, properties_of, settle_on
from service.core.pinned_memory import pin, release_results
from service.engine import Engine
from service.errors import DeviceFailedError
from service.executors import (
    ECHO,
    HANDSHAKE,
    PROBE,
    UNMAP,
    Bytes,
    Channel,
    ExhaustedError,
    FatalError,
    Handler,
    MappedBuffer,
    SharedBuffer,
    WorkerResponse,
)
from service.operations import REGISTRY
from service.pipeline.messages import DeviceReport
from service.pipeline.race_slices import SLICE, SliceHandler
from service.pipeline.service import READY, build_service
from service.pipeline.worker import RequestHandler
from service.planning.cost_model import CostModel, CurveRow
from service.settings import Settings


def make(
    settings: Mapping[str, Any], curves: Iterable[CurveRow], device: Mapping[str, Any]
) -> Handler:
    """Return the handler of a device process, with the server's settings and measured costs."""
    own = Device(**device)
    service = build_service(
        Settings.model_validate(settings), REGISTRY, CostModel.from_rows(curves), gpus=[own]
    )
    service.state = READY
    return DeviceRequestHandler(RequestHandler(service), service.engine, own)


class DeviceRequestHandler:
    """Answers requests on its device, and ends the process when the device has failed."""

    def __init__(self, worker: RequestHandler, engine: Engine, device: Device):
        """Answer by `worker`, whose `engine` has the device."""
        self._worker = worker
        self._engine = engine
        self._device = device
        self._slices = SliceHandler(worker.decode, engine, device)
        self._mapped: dict[SharedBuffer, MappedBuffer] = {}

    def read_body(self, buffer: SharedBuffer, size: int, at: int) -> Bytes:
        """Return the body of a request, in the buffer itself: the device copies it from there.

        An empty one is in no buffer. So HANDSHAKE comes before any memory is pinned, which would
        initialise CUDA on the first GPU, whatever the device is.
        """
        if not size:
            return b""
        mapped = self._mapped.get(buffer)
        if mapped is None:
            mapped = self._mapped[buffer] = MappedBuffer(buffer, partial(pin, self._device))
        return mapped.view(size, at)

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Return the response to a request, the report to HANDSHAKE, or the body to ECHO.

        For PROBE a product of 2 x 2 is computed. For UNMAP the buffers are unmapped: they may
        shrink until the next request is read.
        FatalError if the device is lost, ExhaustedError if memory has run out.
        """
        if head == HANDSHAKE:
            return WorkerResponse(self._report())
        if head == PROBE:
            self._probe()
            return WorkerResponse(b"")
        if head == ECHO:
            return WorkerResponse(b"", (body,))
        if head == UNMAP:
            self._unmap()
            return WorkerResponse(b"")
        try:
            if head.startswith(SLICE):
                return self._slices.answer(head, body)
            return self._worker.answer(head, body, channel)
        except Exception as error:
            if is_exhausted(error):
                name = exhausted_name(error, self._device)
                raise ExhaustedError(f"{name} has not enough memory for the call") from error
            self._check(error)
            raise

    def trim_memory(self) -> None:
        """Return memory of the host to the system; that of the device is not shared."""
        self._slices.forget()
        self._worker.trim_memory()

    def _unmap(self) -> None:
        for mapped in self._mapped.values():
            mapped.release()
        release_results(self._device)

    def _probe(self) -> None:
        try:
            self._engine.check_devices()
        except Exception as error:
            raise FatalError(_first_line(error)) from error

    def _report(self) -> bytes:
        """Return the description of the device, and costs in float32, after a product of 2 x 2.

        Costs in other dtypes, and of what has to be compiled, are asked for later, when the device
        is in use already.
        """
        try:
            settle_on(self._device)
            device = properties_of(self._device)
            self._engine.check_devices()
            for op, dtype, measured in self._engine.unmeasured():
                if measured.name == device.name and dtype == torch.float32:
                    self._engine.measure(op, dtype, device, compiles=False)
        except Exception as error:
            raise FatalError(_first_line(error)) from error
        curves = [row for row in self._engine.planner.cost_model.to_rows() if row[2] == device.name]
        told = device.description, device.memory_bytes, curves, device.has_tf32
        return orjson.dumps(DeviceReport(*told))

    def _check(self, error: Exception) -> None:
        """Raise FatalError if the device does not compute any more.

        After an illegal address or a failed assertion, all that follows fails in this process. The
        errors that do so are not listed here: a product is tried.
        """
        try:
            self._engine.check_devices()
        except DeviceFailedError:
            raise FatalError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    """Return the first line of an error; those that follow in CUDA's errors are advice."""
    return (str(error).strip() or repr(error)).partition("\n")[0]
