"""Pinned memory, with a stand-in for CUDA's runtime where this host has no GPU."""

import logging
from collections.abc import Callable
from mmap import mmap
from typing import Any

import pytest
import torch

from service.core.devices import CPU, Device
from service.core.pinned_memory import pin, pinned_copy, release_results, to_host
from tests.rigs.device_processes import IS_REHEARSAL

GPU = Device("cuda:0", "cuda", "", None, torch_device="cuda:0")
NO_GPU = pytest.mark.skipif(
    IS_REHEARSAL or not torch.cuda.is_available(), reason="this host has no CUDA device"
)


class Runtime:
    """Stand-in for CUDA's runtime, which pins at most `limit` bytes."""

    def __init__(self, limit: int):
        """Begin with nothing pinned."""
        self.limit = limit
        self.pinned: dict[int, int] = {}

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802  # CUDA's
        """Pin memory, or return the error `cudaErrorMemoryAllocation`."""
        assert flags == 0
        if size > self.limit:
            return 2
        self.pinned[address] = size
        return 0

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802  # CUDA's
        """Unpin memory, or return the error `cudaErrorHostMemoryNotRegistered`."""
        return 713 if self.pinned.pop(address, None) is None else 0


def check_error(status: int) -> None:
    """Raise what torch raises."""
    if status:
        raise RuntimeError(f"CUDA error {status}")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The stand-in, which torch uses instead of the runtime."""
    found = Runtime(2**16)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: found)
    monkeypatch.setattr(torch.cuda, "check_error", check_error)
    return found


def test_memory_is_pinned_until_it_is_not(runtime: Runtime) -> None:
    """The whole of it, at its address."""
    memory = memoryview(mmap(-1, 2**16))
    memory[:3] = b"abc"
    unpin = pin(GPU, memory)
    ((address, size),) = runtime.pinned.items()
    assert size == 2**16
    assert address == torch.frombuffer(memory, dtype=torch.uint8).data_ptr()
    unpin()
    assert not runtime.pinned


def test_memory_that_cannot_be_pinned(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the pending error is cleared, which the next kernel would raise."""
    kernels: list[Any] = []

    def ones(*size: int, device: str) -> None:
        kernels.append(device)
        raise RuntimeError("CUDA error 2")

    monkeypatch.setattr(torch, "ones", ones)
    unpin = pin(GPU, memoryview(mmap(-1, 2**17)))
    assert kernels == ["cuda:0"]
    ((_, level, message),) = caplog.record_tuples
    assert level == logging.WARNING
    assert "copies to cuda:0 are slower" in message
    unpin()


def test_nothing_is_pinned_for_the_cpu(runtime: Runtime) -> None:
    """CUDA is not touched."""
    pin(CPU, memoryview(mmap(-1, 2**16)))()
    release_results(CPU)
    x = torch.arange(6.0).view(2, 3).mT
    copy = pinned_copy(x, CPU)
    assert torch.equal(copy, x)
    assert copy.data_ptr() != x.data_ptr()
    assert to_host(x) is x
    assert not runtime.pinned


@pytest.mark.parametrize("has_it", [True, False])
def test_results_are_released(monkeypatch: pytest.MonkeyPatch, has_it: bool) -> None:
    """Older versions of torch cannot."""
    calls: list[str] = []
    if has_it:
        monkeypatch.setattr(
            torch.accelerator, "empty_host_cache", lambda: calls.append("released"), raising=False
        )
    else:
        monkeypatch.delattr(torch.accelerator, "empty_host_cache", raising=False)
    release_results(GPU)
    assert calls == ["released"] * has_it


def test_results_come_in_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result of a GPU is copied there, in row-major order; here, one of `meta` stands for it."""
    asked: list[dict[str, Any]] = []
    empty_like: Callable[..., torch.Tensor] = torch.empty_like

    def empty(
        x: torch.Tensor,
        *,
        device: str = "meta",
        pin_memory: bool,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> torch.Tensor:
        asked.append({"device": device, "pin_memory": pin_memory})
        return empty_like(x, device="meta", memory_format=memory_format)

    monkeypatch.setattr(torch, "empty_like", empty)
    found = to_host(torch.empty(3, 2, device="meta").mT)
    assert found.shape == (2, 3)
    assert found.is_contiguous()
    assert pinned_copy(torch.empty(4), GPU).shape == (4,)
    assert asked == [{"device": "cpu", "pin_memory": True}, {"device": "meta", "pin_memory": True}]


@NO_GPU
def test_a_gpu_copies_from_and_to_pinned_memory() -> None:
    """CUDA takes mapped memory, memory of results and copies of operands for pinned."""
    memory = memoryview(mmap(-1, 2**20))
    x = torch.frombuffer(memory, dtype=torch.float32)
    assert not x.is_pinned()
    unpin = pin(GPU, memory)
    assert x.is_pinned()
    there = x.to("cuda:0")
    assert to_host(there).is_pinned()
    square = torch.arange(16.0, device="cuda:0").view(4, 4).mT
    assert to_host(square).is_contiguous()
    assert torch.equal(to_host(square), square.cpu())
    copy = pinned_copy(x, GPU)
    assert copy.is_pinned()
    assert copy.data_ptr() != x.data_ptr()
    unpin()
    assert not x.is_pinned()
    release_results(GPU)
