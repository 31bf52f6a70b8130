"""The core of the service, made from its settings: what plans and computes, and what reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from service.codecs import DecodeContext
from service.codecs.stored_arrays import ArrayFolder
from service.core import host as memory
from service.core.devices import Device, host_devices
from service.core.dtypes import parse_dtype
from service.engine import Engine
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.planning.planner import Planner
from service.registry import Registry
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Core:
    """What plans and computes on this host, and the limits that requests are read within."""

    engine: Engine
    context: DecodeContext


def make_core(
    settings: Settings,
    registry: Registry = REGISTRY,
    rates: CostModel | None = None,
    gpus: Sequence[Device] | None = None,
) -> Core:
    """The core; without gradients, and with the threads of `settings`, for the whole process.

    It knows of the `gpus`, or asks for all of this host.
    """
    memory.share_heap()
    torch.set_grad_enabled(False)
    torch.set_num_threads(settings.threads)
    threadpool_limits(settings.threads, user_api="blas")  # numpy's own BLAS
    devices = host_devices(settings.device, settings.dask_scheduler, gpus=gpus)
    planner = Planner(devices, rates or CostModel(), settings.limits)
    folder = None if settings.data is None else ArrayFolder(settings.data.resolve())
    context = DecodeContext(
        max_elements=settings.max_elements,
        dtype=parse_dtype(settings.dtype),
        max_deadline_ms=settings.deadline_ms,
        max_rank=settings.max_rank,
        max_nesting=settings.max_nesting,
        max_body_bytes=settings.max_body_bytes,
        arrays=folder,
    )
    return Core(Engine(registry, planner, None if folder is None else folder.scratch()), context)
