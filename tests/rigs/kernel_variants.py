"""Compiled variants of Triton's kernels, counted over many shapes, on a host without a GPU.

Run as a program, with a compute capability such as 90. Triton's compiler makes machine code for a
GPU that need not be there; nothing is launched. Prints a JSON object: for each operation and dtype
the number of variants after one shape and after all.
"""

import json
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from service.core.arithmetic import IEEE, PRECISIONS, Arithmetic, computing
from service.core.dtypes import FLOATS, INTEGERS
from service.operations import REGISTRY
from service.operations.broadcast.triton_kernel import elementwise
from service.operations.matmul.triton_kernel import product as matrix_product
from service.operations.norm.triton_kernel import norms_of_rows

# 1, multiples of 16, and others: Triton compiles variants for these unless it is told not to.
SIZES: Final = (1, 16, 17, 64)
KERNELS: Final = {"matmul": matrix_product, "norm": norms_of_rows, "broadcast": elementwise}


class AbsentGpu:
    """Driver of a GPU that is not there, which the compiler asks what to compile for."""

    def __init__(self, capability: int):
        """Stand for a GPU of a compute capability."""
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        """Return what to compile for."""
        return self._target

    def get_current_device(self) -> int:
        """Return the only device."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Return the default stream."""
        return 0


def shapes(op: str, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    """Yield arguments of a strategy, some at addresses that are no multiples of 16 bytes."""
    many = torch.ones(20_002, dtype=dtype)
    if op == "broadcast":
        yield "add", many[0], many[1]
    for m, k, n, start in product(SIZES, SIZES, SIZES, (0, 1)):
        a, b = many[start : start + m * k], many[1 - start : 1 - start + k * n]
        if op == "matmul":
            yield a.reshape(m, k), b.reshape(k, n)
        elif op == "norm":
            yield b.reshape(k, n), 2
        else:
            shape = (*(1,) * (m % 4), m, k, n)
            yield "add", a.reshape(m, k, 1).expand(shape), b.reshape(k, n).expand(shape)


def variants(op: str, dtype: torch.dtype, precision: str = IEEE) -> list[int]:
    """Return the number of variants that are added by one shape, and by all."""
    with computing(Arithmetic(precision), "cuda"):
        return _variants(op, dtype)


def _variants(op: str, dtype: torch.dtype) -> list[int]:
    caches = KERNELS[op].device_caches
    found = [len(caches[0][0])]
    strategy = REGISTRY[op].strategies["triton"]
    for arguments in shapes(op, dtype):
        strategy.compute(*arguments)
        found.append(len(caches[0][0]))
    return [found[1] - found[0], found[-1] - found[0]]


def compile_only(capability: int) -> None:
    """Have Triton compile for a GPU of this compute capability, and launch nothing."""
    run = JITFunction.run
    JITFunction.run = lambda self, *arguments, **options: run(
        self, *arguments, **{**options, "warmup": True}
    )
    driver.set_active(AbsentGpu(capability))


def main(capability: int) -> None:
    """Compile what many shapes need, and print how many variants there are."""
    compile_only(capability)
    dtypes = {"matmul": FLOATS, "norm": FLOATS, "broadcast": FLOATS | INTEGERS}
    report = {
        f"{op} {dtype}": variants(op, dtype)
        for op in KERNELS
        for dtype in sorted(dtypes[op], key=str)
    }
    for precision in PRECISIONS[1:]:
        report[f"matmul in {precision}"] = variants("matmul", torch.float32, precision)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]))
