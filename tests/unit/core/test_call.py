"""The value of one call."""

import torch

from service.core.call import Call, Spec


def test_specs() -> None:
    """A call has the shape and dtype of its operands."""
    call = Call("matmul", (torch.ones(2, 3), torch.ones((), dtype=torch.int8)), {})
    assert call.specs == (Spec((2, 3), torch.float32), Spec((), torch.int8))
    assert (call.strategy, call.device, call.output) == ("auto", "auto", "nested")
