"""POST /einsum/gradients and /matmul/gradients, against torch.autograd."""

from typing import Any

import numpy as np
import pytest
import torch
from httpx import AsyncClient

from service.operations import REGISTRY
from service.registry import Sample
from tests.cases import Array, assert_near, from_json, named, operands_of, to_json

A, B = [[1, 2], [3, 4]], [[5, 6], [7, 8]]


def samples() -> list[object]:
    """Every sample of both operations, in dtypes that have gradients."""
    return [
        pytest.param(name, sample, dtype, id=f"{name}-{sample.name.replace(' ', '_')}-{dtype}")
        for name in ("einsum", "matmul")
        for sample in REGISTRY[name].samples
        for dtype in ("float32", "float64", "bfloat16", "complex128")
    ]


@torch.enable_grad()
def by_autograd(name: str, sample: Sample, operands: list[Array], upstream: Array) -> list[Array]:
    """The gradients of torch.autograd in float64 or complex128."""
    tensors = [torch.tensor(x, requires_grad=True) for x in operands]
    if name == "einsum":
        result = torch.einsum(str(sample.params["equation"]), *tensors)
    else:
        result = torch.matmul(*tensors)
    gradients = torch.autograd.grad(result, tensors, torch.tensor(upstream), materialize_grads=True)
    return [gradient.numpy() for gradient in gradients]


@pytest.mark.parametrize(("name", "sample", "dtype"), samples())
@pytest.mark.parametrize("is_given", [True, False], ids=["given", "ones"])
async def test_a_sample(
    client: AsyncClient, name: str, sample: Sample, dtype: str, is_given: bool
) -> None:
    """Each operand has the gradient of autograd, for a given upstream gradient or for ones."""
    op = REGISTRY[name]
    operands = operands_of(name, sample, dtype)
    shape = op.infer_sample(sample, torch.float64).shape
    kind: Any = complex if dtype == "complex128" else float
    upstream = np.ones(shape, kind)
    body = {**named(op, [to_json(x, dtype) for x in operands]), **sample.params}
    if is_given:
        upstream = np.arange(1, upstream.size + 1).reshape(shape) / 4 * kind(1)
        body["upstream"] = to_json(upstream, dtype)
    response = await client.post(f"/{name}/gradients", json=body)
    answer = response.json()
    assert response.status_code == 200, answer
    names = list(op.operands or map(str, range(len(operands))))
    assert (answer["op"], list(answer["gradients"])) == (name, names)
    expected = by_autograd(name, sample, operands, upstream)
    for found, gradient in zip(answer["gradients"].values(), expected, strict=True):
        assert found["result"]["dtype"] == dtype
        assert_near(from_json(found["result"]), gradient, dtype)
