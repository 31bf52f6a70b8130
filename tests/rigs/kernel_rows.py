"""Rows of the contract table for kernels of GPUs, in the simulator of their compiler.

Run as a program, for the simulators take the place of the compilers when those are imported. Prints
a JSON object: the number of rows of each kernel, and the failures in words.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf, nan
from typing import Any, Final

import numpy as np
import torch

from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from service.registry import Op, Sample, Strategy
from tests.cases import Row, assert_near

# Of more than one block, and no multiple of one: the simulators are too slow for large ones.
LARGER: Final = {
    ("matmul", "cuda"): (Sample("two blocks", ((17, 2), (2, 19))),),
    ("matmul", "triton"): (Sample("six blocks", ((70, 40), (40, 130))),),
    ("norm", "triton"): (Sample("two blocks of each row", ((3, 1100),), {"dim": 1}),),
    ("broadcast", "triton"): (
        Sample("nine blocks", ((9, 1, 37), (7, 1)), {"op": "sub"}),
        Sample("both stretched", ((5, 1, 7, 1), (1, 3, 1, 2)), {"op": "mul"}),
        Sample("rank 16", ((2,) * 8, (1,) * 8 + (2, 1) * 4), {"op": "add"}),
    ),
}
SPECIAL: Final = (nan, inf, -inf, -0.0, 1.0, 2.0)


def simulated(op: Op[Any]) -> Op[Any]:
    """The operation, whose strategies need no C compiler in a simulator."""
    strategies = {name: replace(each, missing=None) for name, each in op.strategies.items()}
    return replace(op, _strategies=strategies)


def rows(op: Op[Any], name: str) -> Iterator[Row]:
    """The samples of an operation, with the dtypes that the strategy takes on a GPU."""
    for sample in (*op.samples, *LARGER[op.name, name]):
        for dtype in DTYPES:
            row = Row(op, name, sample, dtype, "cuda")
            if row.takes_dtype and row.chosen:
                yield row


def computed(row: Row, operands: list[torch.Tensor], strategy: str) -> torch.Tensor:
    """The result of a strategy on operands in the memory of the host."""
    inferred = row.op.infer_sample(row.sample, DTYPES[row.dtype].torch)
    found: Strategy[Any] = row.op.strategies[strategy]
    if found.compile is not None:
        found.compile(inferred, operands)
    result = found.run(inferred, operands)
    assert (tuple(result.shape), result.dtype) == (inferred.shape, inferred.dtype)
    return result


def check(row: Row) -> None:
    """Compare a row with numpy, and its kernel with torch where numbers are not finite."""
    dtype = DTYPES[row.dtype].torch
    operands = [torch.as_tensor(each).to(dtype) for each in row.operands()]
    result = computed(row, operands, row.strategy)
    is_complex, is_integer = result.is_complex(), not result.is_floating_point()
    wide = torch.complex128 if is_complex else torch.int64 if is_integer else torch.float64
    assert_near(result.to(wide).numpy(), row.expected(), row.result_dtype)
    if row.dtype != "float32" or row.sample not in row.op.samples:
        return  # a kernel is the same lines for all dtypes
    operands = [
        torch.tensor(np.resize(np.roll(SPECIAL, number), shape)).to(dtype)
        for number, shape in enumerate(row.sample.shapes)
    ]
    expected = computed(row, operands, "torch")
    torch.testing.assert_close(computed(row, operands, row.strategy), expected, equal_nan=True)


def teach_bfloat16() -> None:
    """Have Triton's interpreter multiply numbers of bfloat16, where it multiplies their bits."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, _convert_float

    dot = InterpreterBuilder.create_dot

    def widened(x: Any) -> Any:
        if x.dtype.scalar != tl.bfloat16:
            return x
        data = _convert_float(x.data, tl.bfloat16, tl.float32, None)
        return TensorHandle(data.view(np.float32), tl.float32)

    InterpreterBuilder.create_dot = lambda self, a, b, *others: dot(
        self, widened(a), widened(b), *others
    )


def failures_of(rows: Iterable[Row]) -> list[str]:
    """Check each of `rows`, and return those that fail, in words."""
    failures = []
    for row in rows:
        try:
            check(row)
        except Exception as error:  # noqa: BLE001 - any error is a failure of its row
            failures.append(f"{row.name}: {error!r}")
    return failures


def main() -> None:
    """Print for each kernel how many rows it has, and which of them fail."""
    early = sorted({"numba", "triton"} & set(sys.modules))
    kernels = {
        f"{op.name}/{name}": [*rows(simulated(op), name)]
        for op in REGISTRY.values()
        for name, strategy in op.strategies.items()
        if strategy.kernel is not None
    }
    teach_bfloat16()
    report = {
        "loaded before a call": early,
        "rows": {kernel: len(each) for kernel, each in kernels.items()},
        "failures": failures_of(row for each in kernels.values() for row in each),
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
