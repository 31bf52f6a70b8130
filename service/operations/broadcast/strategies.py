"""Six strategies for elementwise operations, slowest first."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import product
from operator import getitem
from typing import Any, Final, Literal

import numpy as np
import torch

from service.core.call import Blocks, Shape, Spec, Tensor
from service.core.dtypes import BOOL, COMPLEX, FLOATS, IN_BLOCKS, IN_NUMPY, INTEGERS, NUMBERS
from service.operations.broadcast.definition import InferredBroadcast, op
from service.operations.elementwise import FUNCTIONS
from service.operations.kernels import TRITON, compiled_by_trial
from service.registry import Compute, Work

Adapt = Callable[[Compute, InferredBroadcast, Sequence[Tensor]], Tensor]
# Kinds of work of functions that take another time for each element than sums do.
KINDS: Final = {
    "expand": "view",
    "div": "div",
    "exp": "div",
    "sqrt": "div",
    "pow": "pow",
    **{name: "compare" for name, function in FUNCTIONS.items() if function.compares},
}
ARITHMETIC: Final = ("add", "sub", "mul", "div", "maximum", "minimum")

__all__ = ["op"]


def viewed(inferred: InferredBroadcast, operands: Sequence[Tensor]) -> list[Tensor]:
    """Return the operands, each indexed by its view."""
    return [x[index] for x, index in zip(operands, inferred.views, strict=True)]


def with_backend(backend: Literal["torch", "numpy", "python"]) -> Adapt:
    """Return an adapter that passes the function of a backend to a strategy.

    A function of more than two operands is folded from the left.
    """

    def adapt(compute: Compute, inferred: InferredBroadcast, operands: Sequence[Tensor]) -> Tensor:
        function = getattr(inferred.function, backend)
        if len(operands) > 2:
            function = partial(fold, function)
        return compute(function, Spec(inferred.shape, inferred.dtype), *viewed(inferred, operands))

    return adapt


def fold(function: Callable[..., Any], *values: Any) -> Any:
    """Apply a function of two arguments to many values, from the left."""
    return reduce(function, values)


def in_pairs(compute: Compute, inferred: InferredBroadcast, operands: Sequence[Tensor]) -> Tensor:
    """Call a strategy with views of the result's shape, two at a time from the left."""
    views = [x.expand(inferred.shape) for x in viewed(inferred, operands)]
    return reduce(partial(compute, inferred.name), views)


def by_element(inferred: InferredBroadcast) -> Work:
    """Count a step for each element and application of the function."""
    return Work(steps=_applications(inferred), flops=0)


def at_once(inferred: InferredBroadcast) -> Work:
    """Count one step."""
    flops = _applications(inferred)
    kind = KINDS.get(inferred.name, "arithmetic")
    return Work(steps=1, flops=flops, peak_elements=inferred.elements, kind=kind)


def _applications(inferred: InferredBroadcast) -> int:
    """Return the number of times that the function is applied."""
    return inferred.elements * max(1, len(inferred.specs) - 1)


def no_complex_powers(inferred: InferredBroadcast) -> str | None:
    """Reject what Python raises for if complex numbers are not finite, and their roots."""
    if inferred.specs[0].dtype in COMPLEX and inferred.name in ("div", "pow", "exp", "sqrt"):
        return f"does not take {inferred.name} of complex numbers"
    return None


def only_arithmetic(inferred: InferredBroadcast) -> str | None:
    """Reject functions that there is no kernel for."""
    if inferred.name in ARITHMETIC:
        return None
    return f"does not take {inferred.name}, only {', '.join(ARITHMETIC)}"


def source(index: tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    """Return the index into an operand of `shape` for `index` of the result.

    It is 0 on each stretched axis.
    """
    added = len(index) - len(shape)
    return tuple(i if size > 1 else 0 for i, size in zip(index[added:], shape, strict=True))


EVERY: Final = NUMBERS | BOOL


@op.strategy("loops", adapt=with_backend("torch"), work=by_element, dtypes=EVERY, cuda=EVERY)
def loops(function: Callable[..., Tensor], result: Spec, *operands: Tensor) -> Tensor:
    """One loop for each axis, over tensor elements; a stretched axis is read at index 0."""
    out = torch.empty(result.shape, dtype=result.dtype, device=operands[0].device)
    for index in product(*map(range, result.shape)):
        out[index] = function(*(x[source(index, x.shape)] for x in operands))
    return out


@op.strategy(
    "python",
    adapt=with_backend("python"),
    work=by_element,
    dtypes=EVERY,
    unsupported=no_complex_powers,
)
def python(function: Callable[..., Any], result: Spec, *operands: Tensor) -> Tensor:
    """One loop for each axis, over Python lists, without torch."""
    nested = [(x.tolist(), x.shape) for x in operands]
    values = [
        function(*(reduce(getitem, source(index, shape), lists) for lists, shape in nested))
        for index in product(*map(range, result.shape))
    ]
    return torch.tensor(values, dtype=result.dtype).reshape(result.shape)


@op.strategy("expand", adapt=with_backend("torch"), work=at_once, dtypes=EVERY, cuda=EVERY)
def expand(function: Callable[..., Tensor], result: Spec, *operands: Tensor) -> Tensor:
    """Explicit views of the result's shape, whose stretched axes have stride 0 and no memory."""
    return function(*(x.expand(result.shape) for x in operands))


@op.strategy(
    "triton",
    adapt=in_pairs,
    work=at_once,
    dtypes=frozenset(),
    cuda=FLOATS | INTEGERS,
    unsupported=only_arithmetic,
    needs=TRITON,
    compile=compiled_by_trial(
        op, "triton", lambda one, name: (name, one, one), variant=lambda inferred: inferred.name
    ),
    kernel="service.operations.broadcast.triton_kernel:elementwise",
)
def triton(function: str, x: Tensor, y: Tensor) -> Tensor:
    """A Triton kernel: a program for each block of the result finds its operands by strides.

    x and y have the shape of the result, and stride 0 where they are stretched.
    """
    from service.operations.broadcast.triton_kernel import BLOCK, elementwise

    out = x.new_empty(x.shape)
    axes = x.new_tensor([x.shape, x.stride(), y.stride()], dtype=torch.int64).T.flip(0).contiguous()
    if out.numel():
        programs = -(-out.numel() // BLOCK)
        elementwise[(programs,)](x, y, out, axes, out.dim(), out.numel(), function, BLOCK)
    return out


@op.strategy("torch", adapt=with_backend("torch"), work=at_once, dtypes=EVERY, cuda=EVERY)
def torch_(function: Callable[..., Tensor], result: Spec, *operands: Tensor) -> Tensor:
    """PyTorch's own function, which broadcasts as it computes."""
    return function(*operands).expand(result.shape)


@op.strategy("numpy", adapt=with_backend("numpy"), work=at_once, dtypes=EVERY & IN_NUMPY)
def numpy(function: Callable[..., Any], result: Spec, *operands: Tensor) -> Tensor:
    """NumPy's own function, which broadcasts as it computes."""
    with np.errstate(all="ignore"):
        values = function(*(x.numpy() for x in operands))
    return torch.as_tensor(values).expand(result.shape)


@op.strategy(
    "dask", adapt=with_backend("numpy"), work=at_once, dtypes=frozenset(), cluster=IN_BLOCKS
)
def dask(function: Callable[..., Any], result: Spec, *operands: Blocks) -> Blocks:
    """NumPy's own function, block by block on a Dask cluster."""
    return np.broadcast_to(function(*operands), result.shape)
