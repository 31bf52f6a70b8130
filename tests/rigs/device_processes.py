"""Devices whose owners compute on the CPU: all of an owner but CUDA, and ways to break it.

In the server they are devices of CUDA: whatever touched one there would load CUDA, and fail.
"""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from time import sleep
from typing import Any, Final

from service.core.devices import Device
from service.engine import Engine
from service.errors import DeviceFailedError
from service.executors import HANDSHAKE, Bytes, Channel, Handler, WorkerResponse
from service.http.response import HttpResponse
from service.operations import REGISTRY
from service.pipeline import device_worker as owner
from service.pipeline.messages import WorkerRequest
from service.pipeline.request import OperationRequest
from service.planning.cost_model import Row

MAKE: Final = "tests.rigs.device_processes:make"
GPU: Final = Device("cuda:0", "cuda", "", None, torch_device="cuda:0", has_process=True)
SECOND: Final = replace(GPU, name="cuda:1", torch_device="cuda:1")
ILLEGAL: Final = "CUDA error: an illegal memory access was encountered\nCompile with ..."
WORK: Final = OperationRequest.work
# What takes a GPU next to no time.
STEP_NS: Final = 100.0


def rates_of(*devices: Device) -> list[Row]:
    """Rates of every strategy there, so that nothing is measured."""
    return [
        (op.name, strategy.name, device.name, str(dtype).removeprefix("torch."), STEP_NS, 0.001)
        for device in devices
        for op in REGISTRY.values()
        for strategy in op.strategies.values()
        for dtype in strategy.cuda
    ]


def make(settings: Mapping[str, Any], rates: Iterable[Row], device: Mapping[str, Any]) -> Handler:
    """The handler of an owner that computes on the CPU, and breaks when a request says so."""
    made = owner.make(settings, rates, {**device, "torch_device": "cpu"})
    OperationRequest.work = work  # type: ignore[method-assign]  # in the owner alone
    return Hanging(made)


def work(self: OperationRequest, task: WorkerRequest, body: Bytes, line: Channel) -> HttpResponse:
    """The reply, or what the id of the request says."""
    act, _, argument = task.request_id.partition("-")
    ACTS.get(act, go_on)(argument)
    return WORK(self, task, body, line)


class Hanging:
    """A handler whose device hangs once it was told to: then it is greeted in vain."""

    hangs = False

    def __init__(self, made: Handler):
        """Wrap what was made."""
        self._made = made

    def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
        """The answer, or none."""
        if head == HANDSHAKE and Hanging.hangs:
            sleep(60)
        return self._made.answer(head, body, line)

    def rest(self) -> None:
        """As it does."""
        self._made.rest()


def go_on(argument: str) -> None:
    """Nothing."""


def die(argument: str) -> None:
    """By the signal of that number."""
    os.kill(os.getpid(), signal.Signals(int(argument)))


def wait(argument: str) -> None:
    """For so many milliseconds."""
    sleep(int(argument) / 1000)


def stumble(argument: str) -> None:
    """An error after which the device goes on."""
    raise RuntimeError("CUDA error: invalid argument")


def fault(argument: str) -> None:
    """An error after which all that follows fails."""

    def check_devices(self: Engine) -> None:
        raise DeviceFailedError(f"cuda:0 fails: {ILLEGAL}")

    Engine.check_devices = check_devices  # type: ignore[method-assign]  # in the owner alone
    raise RuntimeError(ILLEGAL)


def exhaust(argument: str) -> None:
    """As CUDA's own allocator has it."""
    raise RuntimeError("CUDA error: out of memory\nCompile with ...")


def hang(argument: str) -> None:
    """From the next greeting on."""
    Hanging.hangs = True


ACTS: Final[Mapping[str, Callable[[str], None]]] = {
    "die": die,
    "wait": wait,
    "stumble": stumble,
    "fault": fault,
    "exhaust": exhaust,
    "hang": hang,
}
