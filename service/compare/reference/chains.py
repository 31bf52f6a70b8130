"""References of chains: each step by its own reference, rounded to float64 for the next one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from service.compare.reference.calls import Reference, reference_of, widen
from service.core.call import Tensor
from service.core.dtypes import INTEGERS, WIDE
from service.planning.chain_steps import ChainStep, InferredChain, Source, at_step


def chain_references(
    inferred: InferredChain, steps: Sequence[ChainStep], operands: Sequence[Tensor]
) -> list[Reference]:
    """Return the references of all results; IntegerOverflowError if an integer does not fit.

    A step is computed from whole results; the last step may be a sample.
    """
    values: dict[Source, Tensor] = {
        number: torch.from_numpy(widen(operand)) for number, operand in enumerate(operands)
    }
    found: dict[str, Reference] = {}
    for number, (step, each) in enumerate(zip(steps, inferred.steps, strict=True)):
        dtype = each.specs[0].dtype
        taken = [values[source] for source in step.sources]
        if each.dtype in INTEGERS:
            with at_step(number, step.name, step.place):
                step.op.check_overflow(each, [value.to(dtype) for value in taken])
        taken = [value.to(WIDE.get(dtype, value.dtype)) for value in taken]
        is_last = number == len(steps) - 1
        reference = reference_of(step.op, each, step.params, taken, whole=not is_last)
        values[step.name] = torch.from_numpy(np.asarray(reference.high))
        found[step.name] = reference
    method = " and ".join(dict.fromkeys(each.basis.method for each in found.values()))
    if len(steps) > 1:
        method += ", each step rounded to float64"
    return [
        replace(found[name], name=name, basis=replace(found[name].basis, method=method))
        for name in inferred.results
    ]
