"""Device processes of tests: they inject faults, and compute on the CPU where this host has no GPU.

TESTS_GPU=rehearsal has all of them compute on the CPU. In the server their devices are CUDA devices
all the same: code that used one there would load CUDA.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
import torch

from service.core.call import Call
from service.core.devices import Device
from service.core.dtypes import describe
from service.core.response import HttpResponse
from service.executors import Bytes, Channel, Handler, SharedBuffer, WorkerResponse
from service.pipeline import device_worker
from service.pipeline.messages import WorkerRequest
from service.pipeline.request import PipelineRequest
from service.pipeline.worker import RequestHandler
from service.planning.cost_model import COPIED, DOWNLOAD, HOP, TRANSFER, UPLOAD, Curve, CurveRow
from tests.rigs.costs import cost_rows
from tests.rigs.gpu_faults import inject, memory_in_use

IS_REHEARSAL: Final = os.environ.get("TESTS_GPU") == "rehearsal"
MAKE: Final = "tests.rigs.device_processes:make"
GPU: Final = Device("cuda:0", "cuda", "", None, torch_device="cuda:0", has_process=True)
SECOND: Final = replace(GPU, name="cuda:1", torch_device="cuda:1")
# Request that is answered with the memory in use, as JSON.
MEMORY: Final = b"memory"
WORK: Final = PipelineRequest.work
DECODE: Final = RequestHandler.decode
# Almost no time.
STEP_NS: Final = 100.0
CURVE: Final = Curve(0.0, (0.0, 1_000_000.0), (STEP_NS, 1_000.0))


def curves_of(*devices: Device) -> list[CurveRow]:
    """Return costs of every strategy on `devices`, and of no way there: nothing is measured."""
    ways = [
        (TRANSFER, what, device.name, describe(COPIED).name, "", 0.0, [0.0, 1.0], [0.0, 0.0])
        for device in devices
        for what in (UPLOAD, DOWNLOAD, HOP)
    ]
    return [*(row for device in devices for row in cost_rows(device, CURVE)), *ways]


def place_of(device: Device) -> str:
    """Return torch's name of what the process of a device computes on: a GPU of this host, or cpu.

    To count the GPUs does not load CUDA.
    """
    index = int(device.name.removeprefix("cuda:"))
    is_here = not IS_REHEARSAL and index < torch.cuda.device_count()
    return device.torch_device if is_here else "cpu"


def make(
    settings: Mapping[str, Any], curves: Iterable[CurveRow], device: Mapping[str, Any]
) -> Handler:
    """Return the handler of a device process that injects the faults named by ids of requests."""
    own = Device(**device)
    place = place_of(own)
    fields = dict(device)
    if place == "cpu":
        fields |= {"torch_device": place, "has_tf32": own.name == GPU.name}

    def work(
        self: PipelineRequest, message: WorkerRequest, body: Bytes, channel: Channel
    ) -> HttpResponse:
        inject(message.request_id, place)
        return WORK(self, message, body, channel)

    def decode(self: RequestHandler, message: WorkerRequest, body: Bytes) -> Call:
        inject(message.request_id, place)  # when a race begins
        return DECODE(self, message, body)

    PipelineRequest.work = work  # type: ignore[method-assign]  # in the device process alone
    RequestHandler.decode = decode  # type: ignore[method-assign]  # there alone, too
    return TalkativeHandler(device_worker.make(settings, curves, fields), place)


class TalkativeHandler:
    """A handler that also tells the memory in use."""

    def __init__(self, made: Handler, place: str):
        """Wrap a handler that computes on `place`."""
        self._made = made
        self._place = place

    def read_body(self, buffer: SharedBuffer, size: int, at: int) -> Bytes:
        """Delegate."""
        return self._made.read_body(buffer, size, at)

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Answer as the wrapped handler, or tell the memory in use."""
        if head == MEMORY:
            return WorkerResponse(orjson.dumps(memory_in_use(self._place)))
        return self._made.answer(head, body, channel)

    def trim_memory(self) -> None:
        """Delegate."""
        self._made.trim_memory()
