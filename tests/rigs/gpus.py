"""GPU of the tests of the table: the host's own, or one whose process computes on the CPU.

TESTS_GPU=rehearsal asks for the latter. It rehearses all but the kernels: the process of a device,
its messages, and which strategies and dtypes a GPU takes.
"""

import os
from typing import Any, Final

import pytest
import torch
from fastapi import FastAPI

from service.api.app import create_app
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from tests.rigs.device_processes import GPU, IS_REHEARSAL, MAKE, curves_of

HAS_GPU: Final = IS_REHEARSAL or torch.cuda.is_available()
NO_GPU: Final = pytest.mark.skipif(not HAS_GPU, reason="this host has no CUDA device")
# Only a GPU runs kernels.
UNTRIED: Final = frozenset(
    name
    for op in REGISTRY.values()
    for name, strategy in op.strategies.items()
    if IS_REHEARSAL and strategy.kernel
)


def with_gpus(cost_model: CostModel) -> dict[str, Any]:
    """Return arguments of `create_app`: the costs, and in a rehearsal its GPU."""
    if not IS_REHEARSAL:
        return {"cost_model": cost_model}
    known = CostModel.from_rows([*cost_model.to_rows(), *curves_of(GPU)])
    return {"cost_model": known, "gpus": [GPU], "device_worker": MAKE}


def rehearsed_app() -> FastAPI:
    """Return the service with a GPU that computes on the CPU; its costs are measured as ever."""
    os.environ["TESTS_GPU"] = "rehearsal"  # for its device process, which may find a GPU here
    return create_app(gpus=[GPU], device_worker=MAKE)
