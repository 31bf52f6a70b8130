"""Tests of calls made from fields and shapes."""

import pytest
import torch

from service.cli.request import RandomOperand, random_tensor
from service.codecs import DecodeContext
from service.core.dtypes import DTYPES, describe
from service.errors import LimitExceededError
from tests.unit.cli.commands import Output, refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare matmul --shapes 2x3", "takes 2 operands, a and b; --shapes has 1"),
        ("compare matmul --shapes 2x3 2*3", "there was '2*3'\nhint: did you mean '2x3'?"),
        ("plan matmul --shapes 2X3 3x2", "hint: did you mean '2x3'?"),
        ("plan matmul --shapes '(2, 3)' 3x2", "hint: did you mean '2x3'?"),
        ("plan norm --shapes '[5]'", "hint: did you mean '5'?"),
        ("plan matmul --shapes 2x3,3x2", "hint: such as 5x784; a space is between two shapes"),
        ("plan norm --shapes 99999999999999999999", "a shape is sizes of at most 18 digits"),
        ("compare matmul --shapes 2xn nx2", "hint: n stands for the size in a --sweep"),
        ("compare matmul --shapes 2x3 2x3", "hint: b transposed has shape (3, 2) and fits"),
        ("compare matmul --shapes 99999x99999 2", "the limit is 16777216 (SERVICE_MAX_ELEMENTS)"),
    ],
)
def test_wrong_shapes(capsys: Output, arguments: str, message: str) -> None:
    """Shapes that cannot be parsed or do not fit are an error with a hint."""
    assert message in refused(capsys, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare matmul --shapes 2 2 --dtype flot32", "hint: did you mean 'float32'?"),
        ("compare matmul --shapes 2 2 --seed -1", "seed is an integer from 0 to"),
        ("compare matmul --shapes 2 2 --precision tf23", "hint: did you mean 'tf32'?"),
        ("plan matmul --shapes 2 2 --precision TF32", "precision is one of ieee, tf32, bf16x3"),
        ("plan norm --shapes 2 --deterministic yes", "deterministic is true or false; it was"),
    ],
)
def test_wrong_fields(capsys: Output, arguments: str, message: str) -> None:
    """An invalid field is an error with a hint."""
    assert message in refused(capsys, arguments)


@pytest.mark.parametrize("name", DTYPES)
def test_random_operands(name: str) -> None:
    """Each dtype has random elements; the same seed gives the same ones."""
    dtype = DTYPES[name].torch
    first, second = (
        random_tensor((4, 5), dtype, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert (first.shape, first.dtype) == ((4, 5), dtype)
    assert torch.equal(first, second)
    assert len(set(first.flatten().tolist())) > 1


def test_random_operands_keep_within_limits() -> None:
    """An operand over a limit raises an error before it is allocated."""
    context = DecodeContext(max_elements=10, dtype=DTYPES["float32"], max_deadline_ms=1)
    operand = RandomOperand("/a", (10**9, 10**9), context, torch.Generator())
    with pytest.raises(LimitExceededError, match="a has 10"):
        operand.read(describe(torch.float32))
