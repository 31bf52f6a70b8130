"""Imported by the fork server: what its worker processes would load one by one.

To import numba and to load the code of its first function take half a second, and 60 MB that forks
share. torch.compile is left out: it takes ten times as long, for calls that few hosts get.
"""

from contextlib import suppress
from typing import Final

import torch

from service.operations import REGISTRY

PRELOADED: Final = "numba"

for op in REGISTRY.values():
    strategy = op.strategies.get(PRELOADED)
    if strategy is not None and strategy.compile is not None and strategy.missing is None:
        inferred = op.infer_sample(op.samples[0], torch.float32)
        with suppress(Exception):  # the call that asks for it gets the error
            strategy.compile(inferred, [torch.ones(spec.shape) for spec in inferred.specs])
