"""Handlers of worker processes that write the names of their loaded modules to a file.

Otherwise they work as the service's own. A worker process has the file's path in its environment.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from service.executors import Bytes, Channel, Handler, WorkerResponse
from service.pipeline import device_worker, worker
from service.planning.cost_model import CurveRow

FILE: Final = "TESTS_LOADED_MODULES"
WORKER: Final = f"{__name__}:make_worker"
DEVICE_WORKER: Final = f"{__name__}:make_device_worker"


def make_worker(
    settings: Mapping[str, Any], curves: Iterable[CurveRow], gpus: Iterable[Mapping[str, Any]] = ()
) -> Handler:
    """Return the handler of a worker process."""
    return reporting(worker.make(settings, curves, gpus))


def make_device_worker(
    settings: Mapping[str, Any], curves: Iterable[CurveRow], device: Mapping[str, Any]
) -> Handler:
    """Return the handler of a device process that computes on the CPU."""
    return reporting(device_worker.make(settings, curves, {**device, "torch_device": "cpu"}))


def reporting(handler: Handler) -> Handler:
    """Return the handler, which now writes the loaded modules after each answer."""
    answer = handler.answer

    def answer_and_report(head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        response = answer(head, body, channel)
        Path(os.environ[FILE]).write_text("\n".join(sys.modules), encoding="utf-8")
        return response

    handler.answer = answer_and_report  # type: ignore[method-assign]  # of this process alone
    return handler
