"""Faults of tests on a GPU, whose calls of CUDA are checked on hosts without one."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import run
from typing import Final
from unittest.mock import Mock, create_autospec

import pytest
import torch

from service import engine
from service.core.call import Tensor
from service.core.devices import Device
from tests.rigs import device_processes
from tests.rigs.device_processes import GPU, SECOND, place_of
from tests.rigs.gpu_faults import BLOCKS, HELD, LEAST_BYTES, inject, memory_in_use
from tests.rigs.requirements import needs

# Tensors without data: they are no more on the host than those of a GPU are.
PLACE: Final = "meta"
TOTAL: Final = 141 * 10**9
# Compiles the kernel by the very call of the fault, and prints how often that was done.
COMPILE: Final = """
import torch
from tests.rigs.gpu_faults import inject
from tests.rigs.kernel_variants import compile_only
compile_only(90)
torch.cuda.synchronize = lambda place: None
inject("trespass", "cuda:0")
from tests.rigs.null_kernel import write_to_null
(((_, kernel),),) = (each[0].items() for each in write_to_null.device_caches.values())
print(kernel.asm["ptx"])
"""


def replaced(monkeypatch: pytest.MonkeyPatch, name: str, result: object = None) -> Mock:
    """Replace a function of torch.cuda by one that takes the same arguments and does nothing."""
    mock: Mock = create_autospec(getattr(torch.cuda, name), return_value=result)
    monkeypatch.setattr(torch.cuda, name, mock)
    return mock


def test_the_device_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel runs for at least so long on the fastest GPU; the process itself goes on."""
    busy = replaced(monkeypatch, "_sleep")
    inject("wait-700", PLACE)
    busy.assert_called_once_with(1_400_000_000)


def test_an_error_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA refuses a device that no host has."""
    chosen = replaced(monkeypatch, "set_device")
    inject("stumble", PLACE)
    (index,) = chosen.call_args.args
    assert index > 16


def test_an_assertion_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gets an index that is out of range, which the CPU would refuse at once."""
    waited, zeros, tensor = replaced(monkeypatch, "synchronize"), torch.zeros, torch.tensor
    inject("violate", PLACE)
    waited.assert_called_once_with(PLACE)
    monkeypatch.setattr(torch, "zeros", lambda size, device: zeros(size))
    monkeypatch.setattr(torch, "tensor", lambda data, device: tensor(data))
    with pytest.raises(IndexError):
        inject("violate", PLACE)


def test_memory_that_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """More is asked for than there is: at once, or in blocks beside the next operands."""
    replaced(monkeypatch, "mem_get_info", (TOTAL // 2, TOTAL))
    sizes: list[int] = []
    empty = torch.empty

    def allocate(size: int, *, dtype: torch.dtype, device: str) -> Tensor:
        sizes.append(size * dtype.itemsize)
        return empty(size, dtype=dtype, device=device)

    def move(operands: Sequence[Tensor], device: Device) -> list[Tensor]:
        return [*operands]

    monkeypatch.setattr(torch, "empty", allocate)
    monkeypatch.setattr(engine, "move", move)
    inject("exhaust", PLACE)
    assert sizes == [2 * TOTAL]
    inject("starve", PLACE)
    found = engine.move([torch.ones(1)], GPU)
    assert len(found) == 1 + BLOCKS
    assert sizes[1:] == [TOTAL // BLOCKS] * BLOCKS
    assert engine.move is move


def test_memory_that_is_occupied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever smaller blocks are taken until there is none of the least size, and then given back."""
    free = TOTAL
    replaced(monkeypatch, "mem_get_info", (free, TOTAL))
    empty = torch.empty

    def allocate(size: int, *, dtype: torch.dtype, device: str) -> Tensor:
        nonlocal free
        if size > free:
            raise torch.OutOfMemoryError
        free -= size
        return empty(size, dtype=dtype, device=device)

    monkeypatch.setattr(torch, "empty", allocate)
    inject("occupy", PLACE)
    assert free < LEAST_BYTES
    assert sum(each.numel() for each in HELD) == TOTAL - free
    inject("vacate", PLACE)
    assert not HELD


def test_the_memory_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of torch's allocator, on the device that is the current one."""
    replaced(monkeypatch, "mem_get_info", (TOTAL // 2, TOTAL))
    replaced(monkeypatch, "current_device", 1)
    replaced(monkeypatch, "memory_reserved", 20)
    assert memory_in_use(PLACE) == {"place": "cuda:1", "bytes": 20, "total": TOTAL}


@needs("triton")
def test_a_write_to_a_null_pointer(tmp_path: Path) -> None:
    """The kernel compiles, and stores to the address that it gets as a number."""
    done = run(
        [sys.executable, "-c", COMPILE],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "st.global" in done.stdout


@pytest.mark.parametrize(
    ("count", "is_rehearsal", "places"),
    [
        (0, False, ["cpu", "cpu"]),
        (1, False, ["cuda:0", "cpu"]),
        (2, False, ["cuda:0", "cuda:1"]),
        (2, True, ["cpu", "cpu"]),
    ],
)
def test_where_a_device_process_computes(
    monkeypatch: pytest.MonkeyPatch, count: int, is_rehearsal: bool, places: list[str]
) -> None:
    """On the GPU of that number, if this host has so many and nobody asks for a rehearsal."""
    monkeypatch.setattr(device_processes, "IS_REHEARSAL", is_rehearsal)
    replaced(monkeypatch, "device_count", count)
    assert [place_of(each) for each in (GPU, SECOND)] == places
