"""Device processes that compute on the CPU, and faults to inject into them.

In the server their devices are CUDA devices: code that used one there would load CUDA and fail.
"""

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from time import sleep
from typing import Any, Final

import torch

from service import engine
from service.core.call import Call, Tensor
from service.core.devices import Device
from service.core.dtypes import describe
from service.core.response import HttpResponse
from service.engine import Engine
from service.errors import DeviceFailedError
from service.executors import HANDSHAKE, Bytes, Channel, Handler, SharedBuffer, WorkerResponse
from service.pipeline import device_worker
from service.pipeline.messages import WorkerRequest
from service.pipeline.request import PipelineRequest
from service.pipeline.worker import RequestHandler
from service.planning.cost_model import COPIED, DOWNLOAD, HOP, TRANSFER, UPLOAD, Curve, Row
from tests.rigs.costs import cost_rows

MAKE: Final = "tests.rigs.device_processes:make"
GPU: Final = Device("cuda:0", "cuda", "", None, torch_device="cuda:0", has_process=True)
SECOND: Final = replace(GPU, name="cuda:1", torch_device="cuda:1")
ILLEGAL: Final = "CUDA error: an illegal memory access was encountered\nCompile with ..."
WORK: Final = PipelineRequest.work
DECODE: Final = RequestHandler.decode
# Almost no time.
STEP_NS: Final = 100.0
CURVE: Final = Curve(0.0, (0.0, 1_000_000.0), (STEP_NS, 1_000.0))


def rates_of(*devices: Device) -> list[Row]:
    """Return costs of every strategy on `devices`, and of no way there: nothing is measured."""
    ways = [
        (TRANSFER, what, device.name, describe(COPIED).name, "", 0.0, [0.0, 1.0], [0.0, 0.0])
        for device in devices
        for what in (UPLOAD, DOWNLOAD, HOP)
    ]
    return [*(row for device in devices for row in cost_rows(device, CURVE)), *ways]


def make(settings: Mapping[str, Any], rates: Iterable[Row], device: Mapping[str, Any]) -> Handler:
    """Return the handler of a device process that computes on the CPU and injects faults."""
    row = {**device, "torch_device": "cpu", "has_tf32": device["name"] == GPU.name}
    PipelineRequest.work = work  # type: ignore[method-assign]  # in the device process alone
    RequestHandler.decode = decode  # type: ignore[method-assign]  # there alone, too
    return Hanging(device_worker.make(settings, rates, row))


def work(
    self: PipelineRequest, message: WorkerRequest, body: Bytes, channel: Channel
) -> HttpResponse:
    """Inject the fault that the id of the request names, then compute."""
    inject(message)
    return WORK(self, message, body, channel)


def decode(self: RequestHandler, message: WorkerRequest, body: Bytes) -> Call:
    """Inject the fault that the id of the request names, then begin its race."""
    inject(message)
    return DECODE(self, message, body)


def inject(message: WorkerRequest) -> None:
    """Inject the fault that the id of a request names."""
    act, _, argument = message.request_id.partition("-")
    ACTS.get(act, go_on)(argument)


class Hanging:
    """A handler that hangs at the next handshake once `hang` was called."""

    hangs = False

    def __init__(self, made: Handler):
        """Wrap a handler."""
        self._made = made

    def read_body(self, buffer: SharedBuffer, size: int, at: int) -> Bytes:
        """Delegate."""
        return self._made.read_body(buffer, size, at)

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Answer as the wrapped handler, or hang."""
        if head == HANDSHAKE and Hanging.hangs:
            sleep(60)
        return self._made.answer(head, body, channel)

    def trim_memory(self) -> None:
        """Delegate."""
        self._made.trim_memory()


def go_on(argument: str) -> None:
    """Do nothing."""


def die(argument: str) -> None:
    """End the process by the signal of that number."""
    os.kill(os.getpid(), signal.Signals(int(argument)))


def wait(argument: str) -> None:
    """Sleep so many milliseconds."""
    sleep(int(argument) / 1000)


def stumble(argument: str) -> None:
    """Raise an error after which the device still works."""
    raise RuntimeError("CUDA error: invalid argument")


def fault(argument: str) -> None:
    """Raise an error after which every call of the device fails."""

    def check_devices(self: Engine) -> None:
        raise DeviceFailedError(f"cuda:0 fails: {ILLEGAL}")

    Engine.check_devices = check_devices  # type: ignore[method-assign]  # in the device process alone
    raise RuntimeError(ILLEGAL)


def exhaust(argument: str) -> None:
    """Raise the error of CUDA's allocator."""
    raise RuntimeError("CUDA error: out of memory\nCompile with ...")


def fill(argument: str) -> None:
    """Raise the error of torch's allocator on the host."""
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")


def starve(argument: str) -> None:
    """Let memory run out once, when the next operands are on the device."""
    move = engine.move

    def fail(operands: Sequence[Tensor], device: Device) -> list[Tensor]:
        engine.move = move
        move(operands, device)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    engine.move = fail


def hang(argument: str) -> None:
    """Hang from the next handshake on."""
    Hanging.hangs = True


ACTS: Final[Mapping[str, Callable[[str], None]]] = {
    "die": die,
    "wait": wait,
    "stumble": stumble,
    "fault": fault,
    "exhaust": exhaust,
    "fill": fill,
    "starve": starve,
    "hang": hang,
}
