"""Integer results are exact or refused, compared with Python's integers."""

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import mul
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.call import Tensor
from service.core.dtypes import DTYPES, Dtype
from service.errors import IntegerOverflowError
from service.operations import REGISTRY
from service.operations import overflow as overflow_module
from service.operations.overflow import check_fits, magnitude, overflow
from service.registry import Inferred, Op, Sample

Array = npt.NDArray[Any]
INTEGER = st.sampled_from([d for d in DTYPES.values() if d.kind == "integer"])
EXACT = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}


@st.composite
def matrices(draw: Any, count: int = 2, *, side: int = 2) -> tuple[Dtype, list[Array]]:
    """Square integer matrices of one dtype, with numbers near its bounds, its root, or 0."""
    dtype = draw(INTEGER)
    root = int(dtype.high**0.5)
    near = [0, 1, 2, 3, root, root + 1, dtype.high // 2, dtype.high]
    pool = sorted({x for each in near for x in (each, -each, -each - 1) if x >= dtype.low})
    cell = st.one_of(st.sampled_from(pool), st.integers(dtype.low, dtype.high), st.integers(0, 2))
    values = draw(st.lists(cell, min_size=count * side**2, max_size=count * side**2))
    array = np.array(values, object).reshape(count, side, side)
    return dtype, list(array)


def fits(dtype: Dtype, exact: Array) -> bool:
    """Return whether the dtype holds every exact number."""
    return all(dtype.low <= value <= dtype.high for value in np.ravel(exact))


def inferred_of(op: Op[Any], operands: Sequence[Tensor], raw: Mapping[str, object]) -> Inferred:
    """Infer the operation for these operands and raw parameters."""
    sample = Sample("", tuple(tuple(x.shape) for x in operands), raw)
    inferred: Inferred = op.infer_sample(sample, operands[0].dtype)
    return inferred


def check(
    op: Op[Any], dtype: Dtype, arrays: Sequence[Array], exact: Array, raw: Mapping[str, object]
) -> None:
    """Refused if and only if the exact result does not fit; else every strategy is exact."""
    operands = [torch.from_numpy(x.astype(dtype.numpy)) for x in arrays]
    inferred = inferred_of(op, operands, raw)
    if not fits(dtype, exact):
        with pytest.raises(IntegerOverflowError):
            op.check_overflow(inferred, operands)
        return
    op.check_overflow(inferred, operands)
    for strategy in op.strategies.values():
        if strategy.unsuitable(inferred, "cpu") is None:
            result = strategy.run(inferred, operands)
            assert result.dtype == dtype.torch
            assert result.tolist() == exact.tolist()


@settings(max_examples=150)
@given(matrices())
def test_matmul(call: tuple[Dtype, list[Array]]) -> None:
    """A matrix product is refused if and only if it does not fit."""
    dtype, (a, b) = call
    check(REGISTRY["matmul"], dtype, (a, b), a @ b, {})


@settings(max_examples=150)
@given(matrices(3), st.sampled_from(["ij,jk,kl->il", "ij,jk,kl->", "ii,ij,jk->k", "ij,ij,ij->ij"]))
def test_einsum(call: tuple[Dtype, list[Array]], equation: str) -> None:
    """A sum of products is refused if and only if it does not fit, whatever the path."""
    dtype, arrays = call
    exact = np.asarray(np.einsum(equation, *arrays), object)
    check(REGISTRY["einsum"], dtype, arrays, exact, {"equation": equation})


@settings(max_examples=150)
@given(matrices(), st.sampled_from(sorted(EXACT)))
def test_arithmetic(call: tuple[Dtype, list[Array]], name: str) -> None:
    """Sums, differences and products are refused if and only if one does not fit."""
    dtype, (a, b) = call
    check(REGISTRY["broadcast"], dtype, (a, b[0]), EXACT[name](a, b[0]), {"op": name})


@settings(max_examples=200)
@given(matrices(), st.integers(0, 70))
def test_power(call: tuple[Dtype, list[Array]], greatest: int) -> None:
    """Powers are refused if and only if one is a fraction or does not fit."""
    dtype, (base, raised) = call
    exponent = np.array([int(x) % (greatest + 1) for x in np.ravel(raised)], object).reshape(2, 2)
    check(REGISTRY["broadcast"], dtype, (base, exponent), base**exponent, {"op": "pow"})


@settings(max_examples=200)
@given(matrices())
def test_division(call: tuple[Dtype, list[Array]]) -> None:
    """Quotients are refused if one has a remainder, divides by zero or does not fit."""
    dtype, (dividend, divisor) = call
    whole = all(
        b and a % b == 0 for a, b in zip(np.ravel(dividend), np.ravel(divisor), strict=True)
    )
    exact = dividend // divisor if whole else np.array([2**64], object)
    check(REGISTRY["broadcast"], dtype, (dividend, divisor), exact, {"op": "div"})


@settings(max_examples=100)
@given(matrices(4))
def test_product_of_many(call: tuple[Dtype, list[Array]]) -> None:
    """A product of four operands is refused if and only if it does not fit."""
    dtype, arrays = call
    check(REGISTRY["broadcast"], dtype, arrays, reduce(mul, arrays), {"op": "mul"})


@pytest.mark.parametrize(
    ("op", "dtype", "values", "raw", "detail"),
    [
        pytest.param(
            "matmul",
            "int8",
            ([64], [2]),
            {},
            "the exact result would hold 128, which int8 cannot",
            id="one too large",
        ),
        pytest.param(
            "matmul",
            "int64",
            ([2**62, 2**62], [4, 4]),
            {},
            "the exact result would hold about 3.68935e+19, which int64 cannot",
            id="far too large",
        ),
        pytest.param(
            "matmul",
            "int64",
            ([2**62, 2**62], [1, 1]),
            {},
            "the exact result would hold 9223372036854775808, which int64 cannot",
            id="one too large for int64",
        ),
        pytest.param(
            "broadcast",
            "uint8",
            ([3, 1], [1, 2]),
            {"op": "sub"},
            "the exact result would hold -1, which uint8 cannot",
            id="below zero",
        ),
        pytest.param(
            "broadcast",
            "int8",
            ([2], [-1]),
            {"op": "pow"},
            "the exact result would hold a number to the power -1, a fraction, which int8 cannot",
            id="a fraction",
        ),
        pytest.param(
            "broadcast",
            "int64",
            ([3], [1_000_000_000]),
            {"op": "pow"},
            "the exact result would hold 2^64 or more, which int64 cannot",
            id="a giant",
        ),
        pytest.param(
            "broadcast",
            "int32",
            ([3], [0]),
            {"op": "div"},
            "the exact result would hold a division by zero, which int32 cannot",
            id="by zero",
        ),
        pytest.param(
            "broadcast",
            "int32",
            ([3], [2]),
            {"op": "div"},
            "the exact result would hold a quotient with a fraction, which int32 cannot",
            id="a remainder",
        ),
        pytest.param(
            "broadcast",
            "int64",
            ([-(2**63)], [-1]),
            {"op": "div"},
            "the exact result would hold 9223372036854775808, which int64 cannot",
            id="the one quotient that does not fit",
        ),
    ],
)
def test_wording(
    op: str, dtype: str, values: Sequence[Any], raw: dict[str, object], detail: str
) -> None:
    """An error says which value does not fit, and what would work."""
    operands = [torch.tensor(value, dtype=DTYPES[dtype].torch) for value in values]
    inferred = inferred_of(REGISTRY[op], operands, raw)
    with pytest.raises(IntegerOverflowError) as caught:
        REGISTRY[op].check_overflow(inferred, operands)
    assert caught.value.detail == detail
    found = re.search(r"hold (-?\d+),", detail)
    is_wider_of_use = found is not None and -(2**63) <= int(found[1]) < 2**63
    assert caught.value.hint == (
        'send the operands with "dtype": "float64"'
        + (", or with a wider integer dtype" if is_wider_of_use else "")
    )


@pytest.mark.parametrize(
    ("op", "dtype", "shapes", "raw"),
    [
        pytest.param("broadcast", torch.int8, ((0,), (1,)), {"op": "pow"}, id="nothing"),
        pytest.param("broadcast", torch.int8, ((2,), (2,)), {"op": "maximum"}, id="no arithmetic"),
        pytest.param("broadcast", torch.float32, ((2,), (2,)), {"op": "mul"}, id="floats"),
        pytest.param("broadcast", torch.int8, ((2,),), {"to": [3, 2]}, id="expanding"),
        pytest.param("matmul", torch.float32, ((2, 2), (2, 2)), {}, id="float matrices"),
        pytest.param("einsum", torch.complex64, ((2, 2),), {"equation": "ii"}, id="complex"),
        pytest.param("norm", torch.int64, ((2, 2),), {}, id="norm"),
    ],
)
def test_nothing_to_prove(
    op: str, dtype: torch.dtype, shapes: tuple[tuple[int, ...], ...], raw: dict[str, object]
) -> None:
    """Floats round, and comparisons, norms and empty results cannot overflow."""
    operands = [torch.full(shape, 100).to(dtype) for shape in shapes]
    REGISTRY[op].check_overflow(inferred_of(REGISTRY[op], operands, raw), operands)


def test_differences_of_unsigned_integers() -> None:
    """A difference of unsigned integers is taken if it is not below zero."""
    operands = [torch.tensor(x, dtype=torch.uint8) for x in ([3, 2], [1, 2])]
    inferred = inferred_of(REGISTRY["broadcast"], operands, {"op": "sub"})
    REGISTRY["broadcast"].check_overflow(inferred, operands)


@pytest.mark.parametrize(
    ("sign", "accepted"),
    [
        pytest.param(1, False, id="does not fit"),
        pytest.param(-1, True, id="fits, narrowly"),
    ],
)
def test_int64_beyond_the_float_estimate(sign: int, accepted: bool) -> None:
    """Python's integers decide for a few numbers that float64 is too inexact for."""
    a = torch.tensor([2**62, sign], dtype=torch.int64)
    b = torch.tensor([2, 1], dtype=torch.int64)
    matmul = REGISTRY["matmul"]
    inferred = inferred_of(matmul, (a, b), {})
    if accepted:
        matmul.check_overflow(inferred, [a, b])
        assert matmul.strategies["torch"].run(inferred, [a, b]).item() == 2**63 - 1
    else:
        with pytest.raises(IntegerOverflowError, match="9223372036854775809"):
            matmul.check_overflow(inferred, [a, b])


def test_too_much_to_prove() -> None:
    """Many numbers that float64 is too inexact for are refused: Python's integers are too slow."""
    a, b = np.array([2**62, -1]), np.array([2, 1])

    def check_overflow(operations: int) -> None:
        check_fits(
            DTYPES["int64"],
            (a, b),
            bound=2 * magnitude(a) * magnitude(b),
            magnitude=np.matmul,
            evaluate=np.matmul,
            operations=operations,
        )

    check_overflow(overflow_module.MAX_PYTHON_OPERATIONS)
    with pytest.raises(IntegerOverflowError, match=r"about 9\.22337e"):
        check_overflow(overflow_module.MAX_PYTHON_OPERATIONS + 1)


def test_products_beyond_float64() -> None:
    """Operands whose product no float64 holds are decided exactly, and without a warning."""
    giants = [np.array([2**62]) for _ in range(20)]
    zero = np.array([0])
    for operands, accepted in (([*giants, zero], True), (giants, False)):
        arguments: dict[str, Any] = {
            "bound": reduce(mul, map(magnitude, operands)) or 2**63,
            "magnitude": lambda *x: reduce(np.multiply, x),
            "evaluate": lambda *x: reduce(np.multiply, x),
            "operations": len(operands),
        }
        if accepted:
            check_fits(DTYPES["int64"], operands, **arguments)
        else:
            with pytest.raises(IntegerOverflowError):
                check_fits(DTYPES["int64"], operands, **arguments)


def test_magnitude() -> None:
    """The greatest magnitude, of the least integer too, and 0 of nothing."""
    assert magnitude(np.array([3, -128], np.int8)) == 128
    assert magnitude(np.array([200], np.uint8)) == 200
    assert magnitude(np.array([-(2**63)])) == 2**63
    assert magnitude(np.zeros((0, 3), np.int8)) == 0


def test_overflow() -> None:
    """The error names value and dtype."""
    error = overflow("int8", "128")
    assert error.detail == "the exact result would hold 128, which int8 cannot"
