"""Memory of the host that a GPU copies from and to by itself, because its pages stay in place.

Copies of other memory go through pinned memory of the driver, a part at a time. To pin memory takes
as long as to copy it, so it stays pinned for later calls. On the CPU nothing is pinned.
"""

import ctypes
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import torch
from torch import Tensor

from service.core.devices import Device

log: Final = logging.getLogger("service.devices")


def pin(device: Device, memory: memoryview) -> Callable[[], object]:
    """Pin memory for copies to a device; return the function that unpins it.

    Where that fails, copies are slower, and the reason is logged.
    """
    if device.torch_device == "cpu":
        return _nothing
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]  # torch has no types of it
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    try:
        torch.cuda.check_error(runtime.cudaHostRegister(address, len(memory), 0))
    except RuntimeError as error:
        log.warning("copies to %s are slower, since memory is not pinned: %s", device.name, error)
        # CUDA raises the error again at the next kernel, unless that is this one.
        with suppress(RuntimeError):
            torch.ones(1, device=device.torch_device)
        return _nothing
    return lambda: torch.cuda.check_error(runtime.cudaHostUnregister(address))


def _nothing() -> None:
    """Unpin what is not pinned."""


def to_host(x: Tensor) -> Tensor:
    """Return a tensor in the memory of the host; in pinned memory if it comes from a GPU.

    A GPU puts the elements in row-major order first: most formats need it, and it is faster there.
    """
    if x.device.type == "cpu":
        return x
    order = torch.contiguous_format
    return torch.empty_like(x, device="cpu", pin_memory=True, memory_format=order).copy_(x)


def pinned_copy(x: Tensor, device: Device) -> Tensor:
    """Return a copy of a tensor of the host, in pinned memory if it is for a GPU."""
    # Not by `Tensor.pin_memory`, which returns the tensor itself where that is pinned already.
    return torch.empty_like(x, pin_memory=device.torch_device != "cpu").copy_(x)


def release_results(device: Device) -> None:
    """Return pinned memory of earlier results to the system, which torch can from 2.12 on."""
    if device.torch_device != "cpu" and hasattr(torch.accelerator, "empty_host_cache"):
        torch.accelerator.empty_host_cache()
