"""Assembly of the core: engine, planner, and the limits of decoding, made from the settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from service.codecs import DecodeContext
from service.codecs.stored_arrays import ArrayFolder
from service.core import host
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
    """Engine of this host, and the limits within which requests are decoded."""

    engine: Engine
    context: DecodeContext


def make_core(
    settings: Settings,
    registry: Registry = REGISTRY,
    cost_model: CostModel | None = None,
    gpus: Sequence[Device] | None = None,
) -> Core:
    """Make the core, with the given `gpus` or with all GPUs of this host.

    This sets up the whole process: one heap, no gradients, and the threads of `settings`.
    """
    host.share_heap()
    torch.set_grad_enabled(False)
    torch.set_num_threads(settings.threads)
    threadpool_limits(settings.threads, user_api="blas")  # numpy has a BLAS of its own
    devices = host_devices(settings.device, settings.dask_scheduler, gpus=gpus)
    planner = Planner(devices, cost_model or CostModel(), settings.limits)
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
