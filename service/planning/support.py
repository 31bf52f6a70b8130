"""Strategies and devices that support what a call asks of arithmetic."""

from collections.abc import Sequence
from typing import Any

import torch

from service.core.arithmetic import Arithmetic
from service.core.call import AUTO
from service.core.devices import CLUSTER, Device, Devices
from service.core.dtypes import describe
from service.registry import Op, Strategy


def choices(op: Op[Any], wanted: str, arithmetic: Arithmetic | None) -> tuple[Strategy[Any], ...]:
    """Return the strategies that a name means, best first.

    With a reduced precision `auto` means those that have it, if there are any.
    """
    found = op.resolve(wanted)
    if wanted != AUTO or arithmetic is None or not arithmetic.is_reduced:
        return found
    slowest_first = op.strategies.values()
    able = [each for each in slowest_first if arithmetic.precision in each.precisions]
    return tuple(reversed(able)) or found


def lack(
    arithmetic: Arithmetic,
    strategy: Strategy[Any],
    dtype: torch.dtype,
    device: Device,
    devices: Devices,
) -> str | None:
    """Return what a strategy lacks on one of the devices to compute as asked for, or None."""
    if arithmetic.deterministic and device.kind == CLUSTER:
        return "is not deterministic on a cluster, whose workers add up in any order"
    precision = arithmetic.precision
    if not arithmetic.is_reduced:
        return None
    here = devices.precisions(device)
    if precision not in strategy.precisions:
        own = [each for each in strategy.precisions if each in here]
        return f"has no {precision}: on {device.name} it computes in {_choice(own)}"
    if dtype != torch.float32:
        return f"has {precision} for float32 alone, and the operands are {describe(dtype).name}"
    if precision not in here:
        return f"has no {precision} on {device.name}, which computes in {_choice(here)}"
    return None


def lack_of_all(
    op: Op[Any], precision: str, strategy: Strategy[Any], reason: str, devices: Devices
) -> str:
    """Return why no strategy that a call means has a reduced precision, and which ones have it.

    `strategy` is the best of those that the call means, and `reason` is why it does not take it.
    """
    having = [each for each in op.strategies.values() if precision in each.precisions]
    here = [each.name for each in having if not each.lacking(devices.absent)]
    have = f"{', '.join(here)} {'has' if len(here) == 1 else 'have'} it"
    if not having:
        return f"all strategies of {op.name} compute in {_choice(op.precisions)}"
    if not here:
        return f"{having[0].name} has it, and {having[0].lacking(devices.absent)}"
    if not any(precision in devices.precisions(each) for each in devices.ready):
        among = "that is ready" if devices.readiness.absences else "of this host"
        return f"{have}, and no device {among} does"
    if strategy not in having:
        return f"it computes in {_choice(strategy.precisions)}, and {have}"
    return f"{strategy.name} {reason}"


def _choice(precisions: Sequence[str]) -> str:
    return " or ".join(precisions)
