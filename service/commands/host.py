"""This host as a command uses it: the parts that compute, without a server."""

from dataclasses import dataclass

import torch

from service.devices import host_devices
from service.dtypes import parse_dtype
from service.engine import Engine
from service.plan import Planner
from service.rates import Rates
from service.settings import from_environment
from service.strategies import REGISTRY
from service.wire import Reading


@dataclass(frozen=True, slots=True)
class Host:
    """What plans and computes here, and the limits that requests are read within."""

    engine: Engine
    reading: Reading


def this_host() -> Host:
    """The parts, by the SERVICE_* variables of the environment. Sets torch's threads."""
    settings = from_environment()
    torch.set_grad_enabled(False)
    torch.set_num_threads(settings.threads)
    planner = Planner(host_devices(settings.device), Rates(), settings.limits)
    reading = Reading(
        max_elements=settings.max_elements,
        dtype=parse_dtype(settings.dtype),
        max_deadline_ms=settings.deadline_ms,
        max_rank=settings.max_rank,
        max_nesting=settings.max_nesting,
    )
    return Host(Engine(REGISTRY, planner), reading)
