"""Strategies that are compiled: loops by numba, expressions over whole tensors by torch.compile.

Both compilers take seconds and a hundred megabytes, so that they are imported by the first call
that needs them. What is compiled is bounded: each function once for each dtype, whatever the shapes
of operands are.
"""

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, Final
from warnings import catch_warnings

import numpy as np
import torch

from service.core.call import Tensor
from service.core.dtypes import IN_NUMPY
from service.core.requirements import CPP_COMPILER, PYTHON_HEADERS, WRITABLE_CODE, module

NUMBA: Final = (module("numba"),)
# On a CPU numba does not compute with float16, which it only reads and writes.
BY_NUMBA: Final = IN_NUMPY - {torch.float16}
TORCH_COMPILE: Final = (CPP_COMPILER, PYTHON_HEADERS, WRITABLE_CODE)
# Each dtype takes seconds, and what is compiled of others is no faster than torch's own.
BY_TORCH_COMPILE: Final = frozenset({torch.float32, torch.float64})
# One memory layout for all operands: numba compiles for each layout apart.
LAYOUT: Final = ("C_CONTIGUOUS", "ALIGNED", "WRITEABLE")


def once(compile_for: Callable[..., object]) -> Callable[..., bool]:
    """Return a function that compiles once for the same arguments, and returns whether it has now.

    A compilation that has failed is tried again.
    """
    done: set[tuple[Hashable, ...]] = set()

    def run(*arguments: Hashable) -> bool:
        if arguments in done:
            return False
        compile_for(*arguments)
        done.add(arguments)
        return True

    return run


@cache
def by_numba(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function over tensors, which numba compiles when it first gets operands of a dtype.

    `function` may call the methods of tensors that `_teach_methods` lists. Its other arguments are
    floats.
    """
    compiled = _by_numba(function)

    def run(*arguments: Tensor | float) -> Tensor:
        arrays = (
            np.require(x.numpy(), requirements=LAYOUT) if isinstance(x, Tensor) else x
            for x in arguments
        )
        return torch.from_numpy(compiled(*arrays))

    return run


@once
def compile_by_numba(
    function: Callable[..., Tensor], count: int, dtype: torch.dtype, *floats: float
) -> None:
    """Compile `function` for so many matrices of a dtype, and floats."""
    by_numba(function)(*[torch.ones((1, 1), dtype=dtype)] * count, *floats)


@cache
def _by_numba(function: Callable[..., Tensor]) -> Any:
    """Return a function over arrays.

    Its code is kept on the disk, from which the next process loads it, if there is a folder for it:
    `__pycache__` beside the source, or NUMBA_CACHE_DIR.
    """
    import numba

    _teach_methods()
    # A quotient of 0 is what IEEE 754 says. Other threads go on while it computes.
    options: Any = {"error_model": "numpy", "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no such folder can be written to
        return numba.njit(**options)(function)


@cache
def _teach_methods() -> None:
    """Give numba's arrays and numbers the methods of tensors that `loops` calls."""
    from numba.core import types
    from numba.extending import overload_method

    # Each is a function of types that returns the method, whose source numba reads.
    overload_method(types.Array, "new_zeros")(
        lambda x, *shape: lambda x, *shape: np.zeros(shape, x.dtype)
    )
    overload_method(types.Float, "abs")(lambda x: lambda x: abs(x))  # noqa: PLW0108


@cache
def by_torch_compile(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function over matrices, which torch compiles for each dtype when that comes first.

    It compiles for the shapes of its first operands, unless `compile_by_torch` has compiled for all
    shapes before.
    """
    compiled = _by_torch_compile(function)

    def run(*matrices: Tensor) -> Tensor:
        # Gradients are off on the main thread alone, and code for each setting is compiled apart.
        with torch.no_grad():
            result: Tensor = compiled(*map(_row_major, matrices))
            return result

    return run


@cache
def _by_torch_compile(function: Callable[..., Tensor]) -> Any:
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    # An error, and no slow run without compiling, if more is compiled than was foreseen.
    dynamo.fail_on_recompile_limit_hit = True
    # Code is compiled here, where it ends with a call that is too late, and by no other process.
    inductor.compile_threads = 1
    return torch.compile(function, fullgraph=True)


def compile_by_torch(function: Callable[..., Tensor], count: int, dtype: torch.dtype) -> bool:
    """Compile `function` for so many matrices of a dtype, of any sizes from 1 on.

    Return whether it has been compiled now.
    """
    return _compile_by_torch(function, count, dtype, torch.get_num_threads())


@once
def _compile_by_torch(
    function: Callable[..., Tensor], count: int, dtype: torch.dtype, threads: int
) -> None:
    """Compile for the number of threads that this thread has: code for each is compiled apart."""
    from torch._dynamo.decorators import mark_unbacked

    examples = [torch.ones((64, 64), dtype=dtype) for _ in range(count)]
    for example in examples:
        for axis in (0, 1):
            mark_unbacked(example, axis)
    # torch warns of what it uses of its own.
    with torch.no_grad(), catch_warnings(action="ignore"):
        _by_torch_compile(function)(*examples)


def _row_major(x: Tensor) -> Tensor:
    """Return a matrix with the strides that code is compiled for, also where a size is 1."""
    return x.contiguous().as_strided(x.shape, (x.shape[1], 1))
