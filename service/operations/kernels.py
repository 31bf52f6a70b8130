"""Kernels for GPUs as strategies: what they need of a host, and how they are compiled.

The kernels are in modules of their own beside the strategies, which import them when a call runs:
their compilers are extras, and take a second and much memory to import.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, TypeVar

import torch

from service.core.call import Tensor
from service.core.requirements import C_COMPILER, INSTALL_GPU, PYTHON_HEADERS, module
from service.operations.compiled import once
from service.registry import Inferred, Op

M = TypeVar("M", bound=Inferred)


TRITON: Final = (module("triton", INSTALL_GPU), C_COMPILER, PYTHON_HEADERS)
NUMBA_CUDA: Final = (module("numba_cuda", INSTALL_GPU),)


def compiled_by_trial(
    op: Op[M],
    name: str,
    arguments: Callable[[Tensor, Any], Sequence[object]],
    *,
    variant: Callable[[M], Hashable] = lambda _: None,
) -> Callable[[M, Sequence[Tensor]], bool]:
    """Return what compiles the kernel of a strategy: a trial for each dtype, device and `variant`.

    It returns whether there was a trial. The kernel serves operands of all shapes. `arguments`
    gives those of the trial from a tensor of shape (1, 1), and from the variant of the kernel that
    a call needs.
    """

    @once
    def compile_for(dtype: torch.dtype, device: torch.device, needed: Hashable) -> None:
        one = torch.ones((1, 1), dtype=dtype, device=device)
        op.strategies[name].compute(*arguments(one, needed))

    return lambda inferred, operands: compile_for(
        operands[0].dtype, operands[0].device, variant(inferred)
    )
