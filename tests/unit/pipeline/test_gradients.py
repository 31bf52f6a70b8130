"""Admission of the call whose gradients are asked for."""

import pytest
import torch

from service.core.call import AUTO, Spec
from service.core.devices import CLUSTER, Device
from service.errors import LimitExceededError, UnsuitableStrategyError
from service.operations import REGISTRY
from service.pipeline.gradients import _admitted
from service.planning.plan import CallSpec
from service.registry import parse_params
from tests.unit.test_engine import CPU, engine


def test_a_cluster_admits_no_call_that_gradients_are_asked_of() -> None:
    """The identity of a trace would be made here, where its operand has no room."""
    planner = engine(devices=(CPU, Device(CLUSTER, CLUSTER, "", None))).planner

    def trace(size: int, device: str = AUTO) -> CallSpec:
        op, spec = REGISTRY["einsum"], Spec((size, size), torch.float32)
        return CallSpec(op, (spec,), parse_params(op.params, {"equation": "ii"}), device=device)

    assert planner.plan(trace(1000)).device.name == CLUSTER
    assert _admitted(planner, trace(10)).shape == ()
    with pytest.raises(LimitExceededError, match="elements of operand 0"):
        _admitted(planner, trace(1000))
    with pytest.raises(UnsuitableStrategyError, match="one device of this host"):
        _admitted(planner, trace(10, CLUSTER))
