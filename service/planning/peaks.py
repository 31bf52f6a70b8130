"""Peak rates of a device: operations of torch's product, and bytes of a copy, in a second.

Both are measured as strategies are, at growing sizes, until a run is long enough for its overhead
not to matter.
"""

from collections.abc import Callable, Iterable
from typing import Final

import torch

from service.core.call import Spec
from service.core.devices import Device, check_here
from service.core.dtypes import COMPLEX, FLOATS, NUMBERS
from service.planning.calibration import Clock, least_ns, operand
from service.planning.cost_model import COPIED, COPY, PEAK, PRODUCT, CostModel, Curve

LONG_NS: Final = 1_000_000
# A CPU reaches a millisecond at 512, and a large GPU at 8192 in bfloat16.
PRODUCT_SIZES: Final = tuple(2**power for power in range(8, 14))
# The dtypes in which torch has a product, by kind of device.
PRODUCT_DTYPES: Final = {"cpu": NUMBERS, "cuda": FLOATS | COMPLEX}
# From what the caches of a core hold on. A GPU with 5 TB/s needs 0.2 ms for the largest.
COPY_SIZES: Final = (2**17, 2**19, 2**21, 2**23, *(2**power for power in range(25, 30)))
# With its source it is larger than most caches; a larger one would delay the start by page faults.
MEMORY_SIZE: Final = 2**25

# The work of a run, and the run.
Trial = tuple[int, Callable[[], object]]


def measure_peaks(model: CostModel, dtype: torch.dtype, device: Device, clock: Clock) -> None:
    """Add peak rates that `model` does not have yet: 10 ms for each dtype, 30 ms for a device."""
    found = model.peak(device.name, dtype)
    if found.gflops is None and dtype in PRODUCT_DTYPES[device.kind]:
        curve = product_peak(device, dtype, clock)
        model.add((PEAK, PRODUCT, device.name, dtype, ""), curve)
    if found.gb_per_s is None:
        model.add((PEAK, COPY, device.name, COPIED, ""), copy_peak(device, clock))


def product_peak(device: Device, dtype: torch.dtype, clock: Clock) -> Curve:
    """Return operations of products, two for each multiply-add, and their times."""

    def prepare(n: int) -> Trial:
        a = operand(Spec((n, n), dtype)).to(device.torch_device)
        return 2 * n**3, lambda: a @ a

    return _measure(prepare, PRODUCT_SIZES, PRODUCT_SIZES[0], device, clock)


def copy_peak(device: Device, clock: Clock) -> Curve:
    """Return bytes of copies, both read and written ones, and their times."""

    def prepare(count: int) -> Trial:
        source = torch.ones(count, dtype=COPIED, device=device.torch_device)
        target = torch.zeros_like(source)
        return 2 * count, lambda: target.copy_(source)

    return _measure(prepare, COPY_SIZES, MEMORY_SIZE, device, clock)


def _measure(
    prepare: Callable[[int], Trial], sizes: Iterable[int], least: int, device: Device, clock: Clock
) -> Curve:
    """Return work and time of each size, up to a long run from `least` on or the end of memory."""
    check_here(device)
    found: list[tuple[int, int]] = []
    for size in sizes:
        try:
            work, run = prepare(size)
            ns = max(1, least_ns(run, device, clock))
        except torch.OutOfMemoryError:
            if not found:
                raise
            break  # other programs use the GPU too
        found.append((work, ns))
        if ns >= LONG_NS and size >= least:
            break
    torch.cuda.empty_cache()
    return Curve(0.0, *map(list, zip(*found, strict=True)))
