"""Elementwise operations in six ways, slowest first."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import product
from operator import getitem
from typing import Any, Final, Literal

import numpy as np
import torch

from service.core.call import Blocks, Shape, Spec, Tensor
from service.core.dtypes import BOOL, COMPLEX, IN_BLOCKS, IN_NUMPY, NUMBERS
from service.operations.broadcast.definition import InferredBroadcast, op
from service.registry import Compute, Work

Adapt = Callable[[Compute, InferredBroadcast, Sequence[Tensor]], Tensor]

__all__ = ["op"]


def viewed(meaning: InferredBroadcast, operands: Sequence[Tensor]) -> list[Tensor]:
    """Operands as their views show them."""
    return [x[index] for x, index in zip(operands, meaning.views, strict=True)]


def in_world(world: Literal["torch", "numpy", "python"]) -> Adapt:
    """An adapter that hands a strategy the operation's function as `world` has it."""

    def adapt(compute: Compute, meaning: InferredBroadcast, operands: Sequence[Tensor]) -> Tensor:
        function = getattr(meaning.function, world)
        if len(operands) > 2:
            function = partial(fold, function)
        return compute(function, Spec(meaning.shape, meaning.dtype), *viewed(meaning, operands))

    return adapt


def fold(function: Callable[..., Any], *values: Any) -> Any:
    """Apply a function of two to many, from the left."""
    return reduce(function, values)


def by_element(meaning: InferredBroadcast) -> Work:
    """A step for each element and application of the function."""
    return Work(steps=_applications(meaning), flops=0)


def at_once(meaning: InferredBroadcast) -> Work:
    """One step."""
    flops = _applications(meaning)
    return Work(steps=1, flops=flops, peak_elements=meaning.elements)


def _applications(meaning: InferredBroadcast) -> int:
    return meaning.elements * max(1, len(meaning.specs) - 1)


def no_complex_powers(meaning: InferredBroadcast) -> str | None:
    """Python raises where complex quotients and powers are not finite."""
    if meaning.specs[0].dtype in COMPLEX and meaning.name in ("div", "pow"):
        return f"does not take {meaning.name} of complex numbers"
    return None


def source(index: tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    """Where an operand of `shape` holds what stretches to `index`: 0 on each stretched axis."""
    added = len(index) - len(shape)
    return tuple(i if size > 1 else 0 for i, size in zip(index[added:], shape, strict=True))


EVERY: Final = NUMBERS | BOOL


@op.strategy("loops", adapt=in_world("torch"), work=by_element, dtypes=EVERY, cuda=EVERY)
def loops(function: Callable[..., Tensor], result: Spec, *operands: Tensor) -> Tensor:
    """One loop for each axis, over tensor elements; a stretched axis is read at index 0."""
    out = torch.empty(result.shape, dtype=result.dtype, device=operands[0].device)
    for index in product(*map(range, result.shape)):
        out[index] = function(*(x[source(index, x.shape)] for x in operands))
    return out


@op.strategy(
    "python", adapt=in_world("python"), work=by_element, dtypes=EVERY, unsupported=no_complex_powers
)
def python(function: Callable[..., Any], result: Spec, *operands: Tensor) -> Tensor:
    """One loop for each axis, over Python lists, without torch."""
    nested = [(x.tolist(), x.shape) for x in operands]
    values = [
        function(*(reduce(getitem, source(index, shape), lists) for lists, shape in nested))
        for index in product(*map(range, result.shape))
    ]
    return torch.tensor(values, dtype=result.dtype).reshape(result.shape)


@op.strategy("expand", adapt=in_world("torch"), work=at_once, dtypes=EVERY, cuda=EVERY)
def expand(function: Callable[..., Tensor], result: Spec, *operands: Tensor) -> Tensor:
    """Explicit views of the result's shape, whose stretched axes have stride 0 and no memory."""
    return function(*(x.expand(result.shape) for x in operands))


@op.strategy("torch", adapt=in_world("torch"), work=at_once, dtypes=EVERY, cuda=EVERY)
def torch_(function: Callable[..., Tensor], result: Spec, *operands: Tensor) -> Tensor:
    """PyTorch's own function, which broadcasts as it computes."""
    return function(*operands).expand(result.shape)


@op.strategy("numpy", adapt=in_world("numpy"), work=at_once, dtypes=EVERY & IN_NUMPY)
def numpy(function: Callable[..., Any], result: Spec, *operands: Tensor) -> Tensor:
    """NumPy's own function, which broadcasts as it computes."""
    with np.errstate(all="ignore"):
        values = function(*(x.numpy() for x in operands))
    return torch.as_tensor(values).expand(result.shape)


@op.strategy("dask", adapt=in_world("numpy"), work=at_once, dtypes=frozenset(), cluster=IN_BLOCKS)
def dask(function: Callable[..., Any], result: Spec, *operands: Blocks) -> Blocks:
    """NumPy's own function, block by block on a Dask cluster."""
    return np.broadcast_to(function(*operands), result.shape)
