"""Costs that are set instead of measured."""

from collections.abc import Iterator
from dataclasses import astuple
from functools import cache
from typing import Any

import torch

from service.core.devices import Device
from service.core.dtypes import describe
from service.operations import REGISTRY
from service.planning.cost_model import Curve, CurveRow
from service.registry import Op, Strategy


def cost_rows(device: Device, curve: Curve) -> Iterator[CurveRow]:
    """Yield the same curve for every strategy, dtype and kind of work on a device."""
    for op in REGISTRY.values():
        for strategy in op.strategies.values():
            for dtype in strategy.dtypes_on(device.kind):
                for kind in kinds_of(op, strategy):
                    name = describe(dtype).name
                    yield op.name, strategy.name, device.name, name, kind, *astuple(curve)


@cache
def kinds_of(op: Op[Any], strategy: Strategy[Any]) -> set[str]:
    """Return the kinds of work that the calibration samples have."""
    samples = (op.infer_sample(sample, torch.float32) for sample in op.calibration_samples)
    return {strategy.work(inferred).kind for inferred in samples}
