"""Faults of a GPU, injected in its device process: real ones, if it computes on a GPU.

On the CPU they are what the server sees of them: an error, the time that passes, an exit.
"""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from time import sleep
from typing import Any, Final, NoReturn

import torch

from service import engine
from service.core.call import Tensor
from service.core.devices import Device
from service.engine import Engine
from service.errors import DeviceFailedError
from service.executors.worker_loop import data_bytes
from service.pipeline.device_worker import DeviceRequestHandler

ASSERTION: Final = "CUDA error: device-side assert triggered"
ILLEGAL: Final = "CUDA error: an illegal memory access was encountered"
ADVICE: Final = "\nCompile with ..."  # what CUDA's errors go on with
# GPUs run at up to about two cycles in a nanosecond; where one is slower, it waits longer.
CYCLES_IN_MS: Final = 2_000_000
# Memory that runs out is taken in blocks: a quarter of a GPU's, or so much in a rehearsal.
BLOCKS: Final = 4
REHEARSED_BYTES: Final = BLOCKS << 28
# The least that torch's allocator gives away.
LEAST_BYTES: Final = 512
MULTIPLY: Final = torch.Tensor.__matmul__
MOVE: Final = engine.move
# Memory that is taken until it is given back.
HELD: Final[list[Tensor]] = []


def inject(request_id: str, place: str) -> None:
    """Inject the fault that a request's id names, as `act` or `act-argument`.

    `place` is torch's name of the device that this process computes on.
    """
    act, _, argument = request_id.partition("-")
    if act in ACTS:
        ACTS[act](argument, place)


def memory_in_use(place: str) -> dict[str, Any]:
    """Return torch's name of the current device, the bytes that are held there, and all there are.

    Those held are those of torch's allocator, or of all this process where it computes on the CPU.
    """
    total = total_memory(place)
    if place == "cpu":
        return {"place": place, "bytes": data_bytes(), "total": total}
    current = f"cuda:{torch.cuda.current_device()}"
    return {"place": current, "bytes": torch.cuda.memory_reserved(place), "total": total}


def total_memory(place: str) -> int:
    """Return the bytes of a GPU, or those that a rehearsal takes for all."""
    return REHEARSED_BYTES if place == "cpu" else torch.cuda.mem_get_info(place)[1]


def die(argument: str, place: str) -> None:
    """End the process by the signal of that number."""
    os.kill(os.getpid(), signal.Signals(int(argument)))


def wait(argument: str, place: str) -> None:
    """Keep the device busy for so many milliseconds: what comes next waits in its queue."""
    if place == "cpu":
        sleep(int(argument) / 1000)
    else:
        torch.cuda._sleep(int(argument) * CYCLES_IN_MS)  # type: ignore[no-untyped-call]


def stumble(argument: str, place: str) -> None:
    """Raise an error after which the device still works."""
    if place == "cpu":
        raise RuntimeError("CUDA error: invalid argument" + ADVICE)
    torch.cuda.set_device(99)  # there is none of that number


def hang(argument: str, place: str) -> None:
    """Have the device busy for a minute before each probe from now on."""
    probe = DeviceRequestHandler._probe

    def probe_late(self: DeviceRequestHandler) -> None:
        wait("60000", place)
        probe(self)

    DeviceRequestHandler._probe = probe_late  # type: ignore[method-assign]  # here alone


def violate(argument: str, place: str) -> None:
    """Fail an assertion on the device: an index is out of range."""
    if place == "cpu":
        fail_from_now_on(ASSERTION)
    torch.zeros(1, device=place).index_select(0, torch.tensor([9], device=place))
    torch.cuda.synchronize(place)


def trespass(argument: str, place: str) -> None:
    """Write to a null pointer on the device."""
    if place == "cpu":
        fail_from_now_on(ILLEGAL)
    # Triton is an extra, and takes a second to import.
    from tests.rigs.null_kernel import write_to_null

    write_to_null[(1,)](0)
    torch.cuda.synchronize(place)


def fail_from_now_on(message: str) -> None:
    """Raise an error after which every call of the device fails."""

    def check_devices(self: Engine) -> None:
        raise DeviceFailedError(f"cuda:0 fails: {message}")

    Engine.check_devices = check_devices  # type: ignore[method-assign]  # here alone
    raise RuntimeError(message + ADVICE)


def exhaust(argument: str, place: str) -> None:
    """Ask for more memory than the device has, before anything is uploaded."""
    if place == "cpu":
        raise RuntimeError("CUDA error: out of memory" + ADVICE)
    block(2 * total_memory(place), place)


def fill(argument: str, place: str) -> None:
    """Raise the error of torch's allocator on the host."""
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")


def block(size: int, place: str) -> Tensor:
    """Allocate memory on the device; in a rehearsal none of the heap, which keeps what is freed."""
    if place == "cpu":
        memory = mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        return torch.frombuffer(memory, dtype=torch.uint8)
    return torch.empty(size, dtype=torch.uint8, device=place)


def starve(argument: str, place: str) -> None:
    """Take all memory of the device, once, when the next operands are there."""
    move, size = engine.move, total_memory(place) // BLOCKS

    def fail(operands: Sequence[Tensor], device: Device) -> list[Tensor]:
        engine.move = move
        held = move(operands, device)
        for _ in range(BLOCKS):
            held.append(block(size, place))
        if place == "cpu":
            raise_exhausted()
        return held  # no GPU gets here: CUDA itself has taken some of its memory

    engine.move = fail


def occupy(argument: str, place: str) -> None:
    """Take all memory of the device, as another program may, until `vacate`."""
    if place == "cpu":
        torch.Tensor.__matmul__ = raise_exhausted  # type: ignore[method-assign]  # here alone
        engine.move = raise_exhausted  # type: ignore[assignment]  # for any arguments
        return
    size = total_memory(place)
    while size >= LEAST_BYTES:
        try:
            HELD.append(block(size, place))
        except torch.OutOfMemoryError:
            size //= 2


def vacate(argument: str, place: str) -> None:
    """Give back what `occupy` has taken."""
    HELD.clear()
    torch.Tensor.__matmul__ = MULTIPLY  # type: ignore[method-assign]  # here alone
    engine.move = MOVE


def raise_exhausted(*_: object) -> NoReturn:
    """Raise the error of torch's allocator on a GPU."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


ACTS: Final[Mapping[str, Callable[[str, str], None]]] = {
    "die": die,
    "wait": wait,
    "stumble": stumble,
    "hang": hang,
    "violate": violate,
    "trespass": trespass,
    "exhaust": exhaust,
    "fill": fill,
    "starve": starve,
    "occupy": occupy,
    "vacate": vacate,
}
