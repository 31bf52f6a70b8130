"""Tests of references of calls: every operation, sample and dtype."""

from typing import Any

import numpy as np
import pytest
import torch

from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from service.registry import Op, Sample
from tests import cases
from tests.cases import TOLERANCES
from tests.unit.compare.reference.oracle import reference


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("op", "sample"),
    [
        pytest.param(op, sample, id=f"{op.name}-{sample.name.replace(' ', '_')}")
        for op in REGISTRY.values()
        for sample in op.samples
    ],
)
def test_every_sample_has_a_reference(op: Op[Any], sample: Sample, dtype: str) -> None:
    """Of all elements, without a strategy, and as numpy computes it in the widest dtype."""
    row = cases.Row(op, "auto", sample, dtype, "cpu")
    if not row.takes_dtype:
        return
    operands = [torch.as_tensor(x).to(DTYPES[dtype].torch) for x in row.operands()]
    found = reference(op.name, operands, **sample.params)
    expected = row.expected()
    assert found.dtype == DTYPES[row.result_dtype].torch
    assert found.high.shape == found.low.shape == expected.shape
    assert found.basis.checked == found.basis.elements == expected.size
    assert "strategy" not in found.basis.method
    exact = row.result_dtype not in TOLERANCES
    np.testing.assert_allclose(found.high, expected, *((0, 0) if exact else (1e-13, 1e-14)))
