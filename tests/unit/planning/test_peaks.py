"""Peak rates, with a clock that the test advances."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, cycle, repeat
from typing import Any

import pytest
import torch

from service.core.devices import CPU, Device
from service.core.dtypes import DTYPES, NUMBERS, Dtype
from service.planning import peaks
from service.planning.calibration import MAX_SAMPLE_NS
from service.planning.cost_model import COPIED, COPY, PEAK, PRODUCT, CostModel, Curve, Peak
from service.planning.peaks import LONG_NS, copy_peak, measure_peaks, product_peak

SIZES = (4, 8, 16)
GPU: Device = Device("cuda:0", "cuda", "", None)


def clock_of(*times_ns: int) -> Callable[[], int]:
    """Return a clock by which two runs of each size take these times, and later ones the last."""
    runs: Iterator[int] = chain.from_iterable(repeat(ns, 2) for ns in times_ns)
    steps = chain(runs, repeat(times_ns[-1]))
    now = 0
    starts = cycle([True, False])

    def clock() -> int:
        nonlocal now
        now += 0 if next(starts) else next(steps)
        return now

    return clock


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure with small products and copies, and repeat no run."""
    monkeypatch.setattr(peaks, "PRODUCT_SIZES", SIZES)
    monkeypatch.setattr(peaks, "COPY_SIZES", (*SIZES, 32))
    monkeypatch.setattr(peaks, "MEMORY_SIZE", 8)
    monkeypatch.setattr("service.planning.calibration.MAX_SAMPLE_NS", -1)


def test_work_and_time_of_each_size() -> None:
    """Two operations for each multiply-add; bytes are read and written."""
    products = product_peak(CPU, torch.float32, clock_of(10, 20, 900))
    assert products == Curve(0.0, [128, 1024, 8192], [10, 20, 900])
    copies = copy_peak(CPU, clock_of(10, 20, 30))
    assert copies == Curve(0.0, [8, 16, 32, 64], [10, 20, 30, 30])


def test_the_best_rate_counts() -> None:
    """Of products it is that of any size; of copies, that of as many bytes or more."""
    model = CostModel()
    model.add((PEAK, PRODUCT, "cpu", torch.float32, ""), Curve(0.0, [1, 20, 30], [1, 5, 10]))
    model.add((PEAK, COPY, "cpu", COPIED, ""), Curve(0.0, [1, 20, 30, 40], [1, 5, 15, 16]))
    for moved, rate in ((1, 4), (20, 4), (21, 2.5), (40, 2.5), (99, 2.5)):
        assert model.peak("cpu", torch.float32, moved) == Peak(4, rate)
    assert model.peak("cpu", torch.float32) == Peak(4, 2.5), "that of memory"


def test_a_long_run_ends_the_search() -> None:
    """Its overhead does not matter any more, and a larger one would delay the start."""
    assert product_peak(CPU, torch.int8, clock_of(LONG_NS, 1)) == Curve(0.0, [128], [LONG_NS])
    assert copy_peak(CPU, clock_of(1, LONG_NS - 1, LONG_NS, 1)).flops == [8, 16, 32]
    assert copy_peak(CPU, clock_of(LONG_NS)).flops == [8, 16], "caches are not all"


def test_a_full_gpu_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs may use its memory: what fits is measured; if nothing does, it fails."""
    ones = torch.ones

    def limited(count: int, **more: Any) -> torch.Tensor:
        if count > most:
            raise torch.OutOfMemoryError
        return ones(count, **more)

    monkeypatch.setattr(torch, "ones", limited)
    most = 8
    assert copy_peak(CPU, clock_of(10)).flops == [8, 16]
    most = 3
    with pytest.raises(torch.OutOfMemoryError):
        copy_peak(CPU, clock_of(10))


def test_peaks_are_measured_once() -> None:
    """The product in each dtype, and the copy for all of them; another process learns both."""
    model = CostModel()
    assert model.peak("cpu", torch.float32) == Peak()
    measure_peaks(model, torch.float32, CPU, clock_of(64))
    changes = model.changes
    measure_peaks(model, torch.float32, CPU, clock_of(1))
    assert model.changes == changes == 2
    assert model.peak("cpu", torch.float32) == Peak(8192 / 64, 1)
    assert model.peak("cpu", torch.float64) == Peak(None, 1)
    assert model.peak("cuda:0", torch.float32) == Peak()
    assert model.measured() == set(), "a peak is no strategy"
    learned = CostModel.from_rows(model.to_rows())
    assert learned.peak("cpu", torch.float32) == model.peak("cpu", torch.float32)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_dtypes_with_a_product(dtype: Dtype) -> None:
    """Torch has none of bool, and on a GPU none of integers."""
    model = CostModel()
    for device in (CPU, GPU):
        measure_peaks(model, dtype.torch, device, clock_of(1))
    assert (model.peak("cpu", dtype.torch).gflops is not None) == (dtype.torch in NUMBERS)
    on_gpu = dtype.kind in {"float", "complex"}
    assert (model.peak("cuda:0", dtype.torch).gflops is not None) == on_gpu


def test_no_peak_of_another_process() -> None:
    """A device that has a process of its own is measured there."""
    with pytest.raises(LookupError):
        copy_peak(replace(CPU, has_process=True), clock_of(1))
    assert MAX_SAMPLE_NS > LONG_NS, "a run that ends the search was repeated"
