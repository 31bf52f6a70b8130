"""Copies between the host and a GPU: their times, and the size from which they are worth it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import torch

from service.core.call import Spec
from service.core.devices import CPU, Device, check_here
from service.core.dtypes import describe
from service.core.pinned_memory import pinned_copy, to_host
from service.errors import ServiceError
from service.planning.calibration import Clock, least_ns
from service.planning.cost_model import COPIED, DOWNLOAD, TRANSFER, UPLOAD, CostModel, Curve
from service.planning.plan import CallSpec
from service.planning.planner import Planner
from service.registry import Registry

# Below the first, a copy takes as long as the smallest; from the last two on, bytes count.
COPY_SIZES: Final = (2**10, 2**20, 2**24)
# Of square products that are compared: larger ones exceed the limits of most hosts.
SQUARES: Final = tuple(2**power for power in range(15))
MATMUL: Final = "matmul"


def measure_transfers(model: CostModel, device: Device, clock: Clock) -> None:
    """Add times of copies to a GPU and back that `model` does not have yet: about 20 ms."""
    if device.kind == CPU.kind or model.has_transfers(device.name):
        return
    check_here(device)
    host = [pinned_copy(torch.zeros(size, dtype=COPIED), device) for size in COPY_SIZES]
    there = [x.to(device.torch_device) for x in host]

    def curve(copies: Sequence[Callable[[], object]]) -> Curve:
        times = [float(least_ns(copy, device, clock)) for copy in copies]
        return Curve(0.0, [float(size) for size in COPY_SIZES], times)

    uploads = curve([partial(x.to, device.torch_device) for x in host])
    downloads = curve([partial(to_host, x) for x in there])
    model.add((TRANSFER, UPLOAD, device.name, COPIED, ""), uploads)
    model.add((TRANSFER, DOWNLOAD, device.name, COPIED, ""), downloads)


def wins_from(planner: Planner, registry: Registry, device: Device) -> dict[str, object] | None:
    """Return the smallest square product in float32 that is estimated to be faster on a GPU.

    The estimates are those by which `auto` chooses. None if no size is, and for other devices.
    """
    if device.kind != "cuda":
        return None
    for n in SQUARES:
        here, there = (
            _estimated_ns(planner, registry, name, n) for name in (CPU.name, device.name)
        )
        if there is not None and (here is None or there < here):
            return {"op": MATMUL, "dtype": describe(torch.float32).name, "n": n}
    return None


def _estimated_ns(planner: Planner, registry: Registry, device: str, n: int) -> int | None:
    """Return the estimated time of a product; None if it is not admitted."""
    spec = Spec((n, n), torch.float32)
    try:
        call = CallSpec(registry[MATMUL], (spec, spec), {}, device=device)
        return planner.plan(call).estimated_ns
    except ServiceError:
        return None
