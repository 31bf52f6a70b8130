"""Kernels of GPUs: in simulators, by their compiler, and what they need of a host.

A simulator or a compiler of kernels is chosen when it is imported, so that each has a process of
its own.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import torch

from service.core import requirements
from service.core.arithmetic import Arithmetic, computing, kernel_precision
from service.core.requirements import Requirement
from service.operations import REGISTRY
from service.operations.kernels import NUMBA_CUDA, TRITON, compiled_by_trial
from service.registry import Compute, Sample
from tests.rigs.requirements import needs

TIMEOUT_S = 120
SIMULATED = {"TRITON_INTERPRET": "1", "NUMBA_ENABLE_CUDASIM": "1"}


def report_of(rig: str, *arguments: str, **variables: str) -> Any:
    """The report that a program of the rigs prints. Warnings of numbers are no failures there."""
    command = [sys.executable, "-W", "error", "-W", "ignore::RuntimeWarning", "-m"]
    done = run(
        [*command, f"tests.rigs.{rig}", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs("triton")
@needs("numba-cuda")
def test_kernels_compute_what_numpy_does() -> None:
    """Each kernel takes samples of its operation in each dtype it is for, and computes them."""
    report = report_of("kernel_rows", **SIMULATED)
    assert report["failures"] == []
    expected = {
        f"{op.name}/{name}": 2 * len(strategy.cuda)
        for op in REGISTRY.values()
        for name, strategy in op.strategies.items()
        if strategy.kernel
    }
    assert {"matmul/cuda", "matmul/triton", "norm/triton", "broadcast/triton"} == set(expected)
    assert set(report["rows"]) == set(expected)
    assert all(report["rows"][kernel] > least for kernel, least in expected.items())
    assert report["loaded before a call"] == []


@needs("triton")
@pytest.mark.parametrize("capability", ["80"])
def test_variants_are_bounded(capability: str, tmp_path: Path) -> None:
    """Triton compiles for a GPU, once for each dtype and precision, whatever sizes there are."""
    report = report_of("kernel_variants", capability, TRITON_CACHE_DIR=str(tmp_path))
    assert len(report) > len(REGISTRY)
    assert {"matmul in tf32", "matmul in bf16x3"} <= report.keys()
    assert {kernel: each for kernel, each in report.items() if each != [1, 1]} == {}


def tried(compute: Compute) -> Callable[[Any, Sequence[torch.Tensor]], bool]:
    """Return what compiles a strategy of norms, of which each order has a variant."""
    norm = REGISTRY["norm"]
    op = replace(norm, _strategies={"kernel": replace(norm.strategies["torch"], compute=compute)})
    return compiled_by_trial(
        op, "kernel", lambda one, order: (one, order), variant=lambda inferred: inferred.ord
    )


def test_a_trial_compiles_once() -> None:
    """One number is enough, once for each dtype, device and variant; it tells when it does so."""
    trials: list[object] = []

    def compute(one: torch.Tensor, order: float) -> torch.Tensor:
        trials.append((one.tolist(), one.dtype, order))
        return one

    compile_for, told = tried(compute), []
    for order, dtype in ((2, torch.int8), (2, torch.int8), (1, torch.int8), (1, torch.half)):
        for size in (3, 5):
            sample = Sample("", ((size,),), {"ord": order})
            inferred = REGISTRY["norm"].infer_sample(sample, dtype)
            told.append(compile_for(inferred, [torch.zeros(size, dtype=dtype)]))
    assert trials == [([[1]], torch.int8, 2), ([[1]], torch.int8, 1), ([[1.0]], torch.half, 1)]
    assert told == [True, False, False, False, True, False, True, False]


def test_a_failed_trial_is_tried_again() -> None:
    """A kernel that could not be compiled is not taken for one that was."""
    trials = []

    def compute(one: torch.Tensor, order: float) -> torch.Tensor:
        trials.append(order)
        raise RuntimeError("no compiler")

    compile_for = tried(compute)
    inferred = REGISTRY["norm"].infer_sample(Sample("", ((3,),), {"ord": 2}), torch.float32)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            compile_for(inferred, [torch.zeros(3)])
    assert trials == [2, 2]


def test_products_are_compiled_for_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call in another precision compiles, and none does twice."""
    strategies = REGISTRY["matmul"].strategies
    found: list[str] = []

    def compute(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found.append(kernel_precision())
        return a @ b

    triton = strategies["triton"]
    monkeypatch.setitem(strategies, "triton", replace(triton, compute=compute))
    inferred = REGISTRY["matmul"].infer_sample(Sample("", ((1, 1), (1, 1))), torch.float32)
    assert triton.compile is not None
    for precision in (None, "tf32", "bf16x3", "tf32", "ieee"):
        with computing(Arithmetic(precision), "cuda"):
            triton.compile(inferred, [torch.ones(1, 1)])
    assert found == ["ieee", "tf32", "bf16x3"]


@pytest.mark.parametrize(("wanted", "name"), [(TRITON, "triton"), (NUMBA_CUDA, "numba_cuda")])
def test_the_first_need_is_an_extra(
    wanted: Sequence[Requirement], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its module, a strategy says which command installs it."""
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    install = "pip install 'tensor-service[gpu]'"
    assert wanted[0].missing == f"needs {name}, which is not installed here: {install}"
