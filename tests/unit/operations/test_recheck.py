"""Second computation of results whose intermediate values left the range, against mpmath."""

from collections.abc import Iterator, Sequence
from math import inf, nan
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.call import Call, Outcome, Tensor
from service.core.devices import Device, Devices
from service.core.dtypes import DTYPES
from service.core.timing import Stopwatch
from service.engine import Engine
from service.operations import REGISTRY, recheck
from service.operations.recheck import _least_bit, _times_power, is_suspect, recheck_of
from service.planning.cost_model import CostModel
from service.planning.limits import Limits
from service.planning.planner import Planner
from service.registry import Recheck, Sample, parse_params

HERE = Engine(
    REGISTRY,
    Planner(
        Devices((Device("cpu", "cpu", "", None),)),
        CostModel(),
        Limits(max_elements=1000, max_bytes=10_000, max_rank=4, deadline_ms=60_000),
    ),
)
FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
# Of a number of each dtype that has been rounded a few times.
TOLERANCES = {
    "float16": 4e-3,
    "bfloat16": 3e-2,
    "float32": 2e-5,
    "float64": 1e-13,
    "complex64": 2e-5,
    "complex128": 1e-13,
}


@pytest.fixture(scope="module", autouse=True)
def digits() -> Iterator[None]:
    """60 digits of all that is computed here."""
    with mpmath.workdps(60):
        yield


@pytest.fixture(params=["exactly", "by 'torch' in float64"])
def again(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Way to compute results again: in integers if they are few, else in float64."""
    if request.param != "exactly":
        monkeypatch.setattr(recheck, "MAX_EXACT", 0)
    return str(request.param)


def compute(op: str, /, *operands: Tensor, strategy: str = "auto", **raw: object) -> Outcome:
    """The outcome of an operation."""
    call = Call(op, operands, parse_params(REGISTRY[op].params, raw), strategy)
    return HERE.run(call, HERE.plan(call), Stopwatch.start())


def norm_of(values: Sequence[complex], order: float) -> Any:
    """The norm of finite numbers, in 60 digits."""
    sizes = [abs(mpmath.mpc(value)) for value in values]
    if order == inf:
        return max(sizes)
    if order == -inf:
        return min(sizes)
    if order < 0 and 0 in sizes:
        return mpmath.mpf(0)
    order = mpmath.mpf(order)
    return sum(size**order for size in sizes if size) ** (1 / order)


def assert_is(found: float, truth: Any, dtype: str) -> None:
    """`found` is the truth as far as the dtype holds it: rounded, infinite beyond it.

    Within the tolerance of the largest number either is right.
    """
    limits = torch.finfo(DTYPES[dtype].torch)
    if truth > limits.max * (1 + TOLERANCES[dtype]):
        assert found == inf
    elif truth < limits.max * (1 - TOLERANCES[dtype]):
        error = abs(mpmath.mpf(found) - truth)
        assert error <= TOLERANCES[dtype] * truth + limits.tiny * limits.eps


ORDERS = (1, 2, 3, 2.5, 0.5, 7, 100, -1, -2, -0.5, -10, "inf", "-inf")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_norms_of_rows_of_any_scale(dtype: str, order: float) -> None:
    """Large, small, subnormal, mixed and ordinary rows in one tensor each have their norm."""
    limits = torch.finfo(DTYPES[dtype].torch)
    tiny, most = limits.tiny, limits.max
    rows = torch.tensor(
        [
            [most / 8, -most / 9, most / 16],
            [most**0.6, most**0.5, -(most**0.4)],
            [tiny * 3, tiny * 4, -tiny * 5],
            [tiny / 8, tiny / 16, tiny / 8],
            [tiny**0.5, tiny**0.6, tiny**0.7],
            [most**0.9, 1.0, tiny**0.9],
            [3.0, 4.0, 12.0],
            [0.0, 0.0, 0.0],
            [most / 8, 0.0, tiny],
        ],
        dtype=torch.float64,
    )
    x = rows.to(DTYPES[dtype].torch)
    if x.is_complex():
        x = x * (1 + 0.5j)
    norms = compute("norm", x, ord=order, dim=1).result.tolist()
    for row, found in zip(x.tolist(), norms, strict=True):
        assert_is(found, norm_of(row, float(order)), dtype)


@settings(max_examples=150)
@given(
    exponents=st.lists(st.integers(-1070, 1020), min_size=1, max_size=4),
    dtype=st.sampled_from(["float32", "float64"]),
    order=st.sampled_from([1, 2, 3, 0.5, -1, -3, 1.5]),
)
def test_norms_of_any_numbers(exponents: list[int], dtype: str, order: float) -> None:
    """The norm of numbers of any magnitudes is that of mpmath."""
    limits = torch.finfo(DTYPES[dtype].torch)
    x = torch.tensor([1.25 * 2.0**e for e in exponents], dtype=torch.float64)
    x = x.clamp(max=limits.max).to(DTYPES[dtype].torch)
    truth = norm_of(x.tolist(), order)
    assert_is(compute("norm", x, ord=order).result.item(), truth, dtype)


@pytest.mark.parametrize("order", ["fro", "nuc", 2, -2, 1, -1, "inf", "-inf"])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_norms_of_matrices(order: object, scale: float, dtype: str) -> None:
    """Those of every order are right at any scale, in a batch that has several."""
    x = torch.tensor([[3.0, -4.0], [1.0, 2.0]]).to(DTYPES[dtype].torch)
    batch = torch.stack([x * scale, x, x * 0])
    found = compute("norm", batch, ord=order, dim=[1, 2]).result
    expected = torch.linalg.matrix_norm(x.to(torch.complex128), _order(order), (0, 1)).item()
    assert found.tolist() == pytest.approx([expected * scale, expected, 0], rel=1e-5)


def _order(order: Any) -> Any:
    return float(order) if order in {"inf", "-inf"} else order


@pytest.mark.parametrize(
    ("values", "dtype", "norm"),
    [
        # numpy.linalg.norm and torch.linalg.norm give infinity, 0 and 1.0003e-22 for these.
        pytest.param([1e20, 1e20], "float32", 1.4142135e20, id="overflow"),
        pytest.param([1e-30, 1e-30], "float32", 1.4142135e-30, id="underflow"),
        pytest.param([1e-22, 1e-22], "float32", 1.4142135e-22, id="digits lost"),
        pytest.param([1e200, 1e200], "float64", 1.4142135623730951e200, id="float64"),
        pytest.param([3e200, 4e200], "float64", 5e200, id="3 and 4"),
        pytest.param([1e-320, 0.0], "float64", 1e-320, id="subnormal"),
        pytest.param([2**62] * 4, "int64", 2.0**63, id="integers"),
    ],
)
def test_known_norms(values: list[float], dtype: str, norm: float) -> None:
    """Known faults of libraries are absent; a warning names the strategy `scaled`."""
    outcome = compute("norm", torch.tensor(values, dtype=DTYPES[dtype].torch))
    assert outcome.result.item() == pytest.approx(norm, rel=1e-6 if dtype == "float32" else 1e-15)
    if dtype != "int64":
        assert outcome.strategy == "scaled"
        left = f"intermediate values of 'torch' left the range of {dtype}"
        warning = f"the result is computed again by 'scaled' in float64: {left}"
        assert outcome.warnings == (warning,)


@pytest.mark.parametrize("name", ["loops", "elementwise", "einsum", "torch", "numpy"])
def test_a_named_strategy_keeps_its_result(name: str) -> None:
    """It says that the result is wrong, and how auto computes."""
    x = torch.tensor([[1e20, 1e20], [3.0, 4.0], [1e-30, 1e-30]])
    outcome = compute("norm", x, strategy=name, dim=1)
    assert outcome.result.tolist() == [inf, 5.0, 0.0]
    assert outcome.strategy == name
    left = f"intermediate values of '{name}' left the range of float32"
    warning = f"2 of 3 numbers are wrong: {left}; auto computes again by 'scaled' in float64"
    assert outcome.warnings == (warning,)


@pytest.mark.parametrize(
    ("values", "norm"),
    [
        pytest.param([0.0, 0.0], 0.0, id="zeros"),
        pytest.param([nan, 1e20], nan, id="NaN"),
        pytest.param([inf, 1e20], inf, id="infinity"),
    ],
)
def test_what_the_operand_explains(values: list[float], norm: float) -> None:
    """A norm of 0, infinity or NaN that is right has no warning, beside one that is mended."""
    outcome = compute("norm", torch.tensor(values))
    assert outcome.result.item() == pytest.approx(norm, nan_ok=True)
    assert (outcome.strategy, outcome.warnings) == ("torch", ())
    outcome = compute("norm", torch.tensor([values, [1e20, 0.0]]), dim=1)
    assert outcome.result.tolist() == pytest.approx([norm, 1e20], nan_ok=True)
    assert outcome.strategy == "scaled"
    assert outcome.warnings[0].startswith("1 of 2 numbers is computed again by 'scaled'")


@pytest.mark.parametrize("strategy", ["auto", "torch", "scaled"])
@pytest.mark.parametrize("order", [2, 1])
@pytest.mark.parametrize(
    ("dtype", "wider"),
    [
        ("float16", "float64"),
        ("float32", "float64"),
        ("float64", None),
        ("complex64", "complex128"),
    ],
)
def test_a_norm_beyond_the_dtype(
    strategy: str, order: float, dtype: str, wider: str | None
) -> None:
    """Infinity is right where the norm is beyond the dtype; a warning says what holds it."""
    limits = torch.finfo(DTYPES[dtype].torch)
    x = torch.full((2,), limits.max, dtype=DTYPES[dtype].torch)
    outcome = compute("norm", x, strategy=strategy, ord=order)
    name = dtype.replace("complex64", "float32")
    assert outcome.result.item() == inf
    assert outcome.strategy == ("torch" if strategy == "auto" else strategy)
    assert outcome.warnings == (
        f"the result is beyond the greatest {name}, {limits.max:.6g}"
        + (f'; "dtype": "{wider}" holds more' if wider else ""),
    )


def test_integers() -> None:
    """They are computed with in float64, where a high power overflows too."""
    outcome = compute("norm", torch.tensor([[2**62, 2**62], [0, 0]]), ord=50, dim=1)
    assert outcome.result.tolist() == pytest.approx([2.0**62 * 2 ** (1 / 50), 0.0])
    assert outcome.strategy == "scaled"


def test_orders_that_float32_rounds() -> None:
    """An order above the greatest float32 is an infinity in torch; `scaled` has it in float64."""
    outcome = compute("norm", torch.tensor([1e20, 1e20]), ord=1e300)
    assert outcome.result.item() == pytest.approx(1e20)
    assert outcome.strategy == "scaled"
    # No strategy takes this root.
    assert compute("norm", torch.tensor([3.0, 4.0]), ord=1e-310).strategy == "torch"
    assert compute("norm", torch.tensor([3.0, 4.0]), ord=0).result.item() == 2


@pytest.mark.parametrize("order", [-0.5, -1, -2])
def test_magnitudes_beyond_the_dtype(order: float) -> None:
    """Complex numbers have greater magnitudes than parts, which a negative order divides by."""
    x = torch.full((2, 4), 3e38 + 3e38j, dtype=torch.complex64)
    x[1, 0] = 3e38
    found = compute("norm", x, ord=order, dim=1).result.tolist()
    expected = [norm_of(row, order) for row in x.tolist()]
    assert found == pytest.approx([float(each) for each in expected], rel=1e-5)


@pytest.mark.parametrize("value", [0.0, inf, nan])
@pytest.mark.parametrize("order", [2, -2, 1])
def test_rows_that_explain_their_norm(
    value: float, order: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost no second computation: rows of padding are common."""
    monkeypatch.setattr(recheck, "compute_again", None)
    compute("norm", torch.tensor([[value, value], [3.0, 4.0]]), ord=order, dim=1)


MENDED = [
    pytest.param("matmul", [[[3.3e38, 3.3e38, -3.3e38]], [[1.0]] * 3], {}, [[3.3e38]], id="a sum"),
    pytest.param(
        "einsum", [[3.3e38, 3.3e38, -3.3e38]], {"equation": "i->"}, 3.3e38, id="sum of one"
    ),
    pytest.param("einsum", [[1e30]] * 2 + [[1e-30]], {"equation": "i,i,i->"}, 1e30, id="large"),
    pytest.param("einsum", [[1e-30]] * 2 + [[1e30]], {"equation": "i,i,i->"}, 1e-30, id="small"),
    pytest.param("broadcast", [[1e30]] * 2 + [[1e-30]], {"op": "mul"}, [1e30], id="factors"),
    pytest.param("broadcast", [[1e-30]] * 2 + [[1e30]], {"op": "mul"}, [1e-30], id="small factors"),
    pytest.param(
        "broadcast", [[3.3e38], [3.3e38], [-3.3e38]], {"op": "add"}, [3.3e38], id="addends"
    ),
    pytest.param(
        "broadcast", [[1e38]] * 9 + [[1e-38]] * 9, {"op": "mul"}, [1.0], id="many factors"
    ),
]


@pytest.mark.parametrize(("op", "operands", "raw", "expected"), MENDED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "float64"])
def test_results_of_all_operations(
    op: str, operands: list[Any], raw: dict[str, Any], expected: Any, *, dtype: str, again: str
) -> None:
    """With auto they are finite, and the warning says how; a named strategy has a warning only."""
    torch_dtype = DTYPES[dtype].torch
    tensors = [torch.tensor(x, dtype=torch.float64) for x in operands]
    wanted = torch.tensor(expected, dtype=torch.float64)
    if dtype == "float64":  # the same in its range: 2^1023 is as far above 1 as 2^127 squared
        tensors = [x.sign() * x.abs() ** 8 for x in tensors]
        wanted = wanted.sign() * wanted.abs() ** 8
    tensors = [x.to(torch_dtype) for x in tensors]
    outcome = compute(op, *tensors, **raw)
    rtol = TOLERANCES[dtype] * 8
    torch.testing.assert_close(outcome.result.to(torch.complex128), wanted.to(torch.complex128),
                               rtol=rtol, atol=0)  # fmt: skip
    assert outcome.strategy == "torch"
    left = f"intermediate values of 'torch' left the range of {dtype}"
    assert outcome.warnings == (f"the result is computed again {again}: {left}",)
    named = compute(op, *tensors, strategy="torch", **raw)
    assert not torch.equal(named.result, outcome.result)
    assert named.warnings == (f"the result is wrong: {left}; auto computes again {again}",)


def test_terms_that_cancel(again: str) -> None:
    """In float64 they are computed again where that is exact, or the rest is more than noise."""
    large = torch.tensor([1e30, 1e30]), torch.tensor([1e30, -1e30])
    outcome = compute("matmul", *large)
    assert outcome.result.item() == 0
    assert len(outcome.warnings) == 1
    # 1e60 less 1e60 plus 1 is 0 in float64, and 1 in truth.
    noise = torch.tensor([1e30, 1.0, 1e30]), torch.tensor([1e30, 1.0, -1e30])
    outcome = compute("matmul", *noise)
    (warning,) = outcome.warnings
    if again == "exactly":
        assert outcome.result.item() == 1
    else:
        assert not outcome.result.isfinite()
        assert warning.startswith("the result is not certain: ")
    # In float64 only if digits are few.
    digits = torch.tensor([1e200, 1e200], dtype=torch.float64)
    found = compute("matmul", digits, digits * torch.tensor([1, -1])).result.item()
    assert (found == 0) == (again == "exactly")
    bits = torch.tensor([2.0**600, 2.0**600], dtype=torch.float64)
    assert compute("matmul", bits, bits * torch.tensor([1, -1])).result.item() == 0


def test_terms_that_underflow(again: str) -> None:
    """Scaled, the first product would become 0: that is not relied on."""
    x = torch.tensor([1e116, 1e298], dtype=torch.float64)
    y = torch.tensor([1e99, 1e308], dtype=torch.float64)
    z = torch.tensor([1e176, 1e308], dtype=torch.float64)
    outcome = compute("einsum", x, y, z, equation="i,i,i->i")
    assert outcome.result.tolist() == [inf, inf]
    most = "beyond the greatest float64, 1.79769e+308"
    if again == "exactly":
        assert outcome.warnings == (f"2 of 2 numbers are {most}",)
    else:
        beyond, uncertain = outcome.warnings
        assert beyond == f"1 of 2 numbers is {most}"
        assert uncertain.startswith("1 of 2 numbers is not certain: ")


@pytest.mark.parametrize(
    ("op", "dtype", "operands", "raw", "expected"),
    [
        pytest.param(
            "einsum",
            "float64",
            [[1e200, 1e-200], [1e200, 1e-200], [1e-200, 1e200]],
            {"equation": "i,i,i->i"},
            [1e200, 1e-200],
            id="scales that differ",
        ),
        pytest.param(
            "broadcast",
            "float64",
            [[1, 1e-200], [1, 1e-200], [1, 1e200]],
            {"op": "mul"},
            [1, 1e-200],
            id="underflow beside 1",
        ),
        pytest.param(
            "einsum",
            "float64",
            [[[1e200, 0], [0, 1e-200]], [[1e200, 0], [0, 1e-200]], [[1e-250, 0], [0, 1e250]]],
            {"equation": "ab,bc,ca->"},
            1e150,
            id="a trace",
        ),
        pytest.param(
            "broadcast",
            "float32",
            [[1e-30, inf], [1e-30, 1], [1e30, 1]],
            {"op": "mul"},
            [1e-30, inf],
            id="beside an infinity",
        ),
        pytest.param(
            "matmul",
            "float32",
            [[[nan, 1, 1], [1e20, 1e20, 1]], [[4e18], [-4e18], [1e30]]],
            {},
            [[nan], [1e30]],
            id="a row beside NaN",
        ),
        pytest.param(
            "matmul",
            "float32",
            [[[1e30, 1e30, 1]], [[1e30], [-1e30], [3]]],
            {},
            [[3]],
            id="the rest",
        ),
        pytest.param(
            "einsum",
            "float64",
            [[1.7e308, 1.7e308, -1.7e308]],
            {"equation": "i->"},
            1.7e308,
            id="a sum",
        ),
        pytest.param(
            "matmul", "float64", [[[1e160, 1e160]], [[4e148], [-3e148]]], {}, [[1e308]], id="large"
        ),
        pytest.param(
            "einsum",
            "float32",
            [[3e38, 3e38, -3e38], [1, 1, 1], [1, 1, 1]],
            {"equation": "i,i,i->"},
            3e38,
            id="a sum of products",
        ),
        pytest.param(
            "einsum",
            "float32",
            [[1e-22], [1e-22], [1e30]],
            {"equation": "i,i,i->"},
            1e-14,
            id="digits",
        ),
        pytest.param(
            "einsum",
            "float16",
            [[3e-4], [3e-4], [1000]],
            {"equation": "i,i,i->i"},
            [9e-5],
            id="digits of float16",
        ),
        pytest.param(
            "matmul", "bfloat16", [[1e30, 1e30, 1, 1], [1e30, -1e30, 1, 1]], {}, 2, id="bfloat16"
        ),
        pytest.param(
            "broadcast", "float32", [[2e38], [2e38], [-2e38]], {"op": "add"}, [2e38], id="addends"
        ),
        pytest.param(
            "broadcast",
            "complex128",
            [[complex(1e-310, 1e-310)], [complex(1e-310, 0)]],
            {"op": "div"},
            [1 + 1j],
            id="a small divisor",
        ),
        pytest.param(
            "broadcast",
            "complex128",
            [[complex(1.7e308, 1.7e308)], [complex(1.7e308, 1.7e308)]],
            {"op": "div"},
            [1],
            id="a large divisor",
        ),
        pytest.param(
            "einsum",
            "float64",
            [[[[1e200, 1]]], [1e200, 1], [1e-200, 1e200]],
            {"equation": "abi,i,i->bi"},
            [[1e200, 1e200]],
            id="axes in another order",
        ),
    ],
)
def test_few_numbers_are_exact(
    op: str, dtype: str, operands: list[Any], raw: dict[str, Any], expected: Any
) -> None:
    """Nothing leaves the range of an integer; numbers from what is not finite stay as they are."""
    torch_dtype = DTYPES[dtype].torch
    exact = torch.complex128 if torch_dtype.is_complex else torch.float64
    tensors = [torch.tensor(x, dtype=exact).to(torch_dtype) for x in operands]
    outcome = compute(op, *tensors, **raw)
    wanted = torch.tensor(expected, dtype=torch.complex128)
    found = outcome.result.to(torch.complex128)
    rtol = TOLERANCES[dtype]
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=0, equal_nan=True)
    assert any("computed again exactly" in each for each in outcome.warnings)


def test_a_division_by_zero_stays() -> None:
    """As do quotients of what is not finite."""
    zero, one = torch.tensor([0j, inf, 1]), torch.tensor([0j, 1, 0])
    outcome = compute("broadcast", zero, one, op="div")
    assert outcome.warnings == ()
    assert not outcome.result.isfinite().any()


@pytest.mark.usefixtures("again")
@pytest.mark.parametrize("value", [inf, nan])
def test_operands_that_are_not_finite(value: float) -> None:
    """A result that they explain is not computed again."""
    x = torch.tensor([[value, 1.0]])
    outcome = compute("matmul", x, x.T)
    assert (outcome.strategy, outcome.warnings) == ("torch", ())
    outcome = compute("broadcast", x, x, x, op="mul")
    assert (outcome.strategy, outcome.warnings) == ("torch", ())


def test_zeros_that_are_right() -> None:
    """Products of ordinary numbers and of 0 are not computed again."""
    x = torch.tensor([1.0, 0.0, 1e-9])
    outcome = compute("einsum", x, x, x, equation="i,i,i->i")
    assert outcome.result[1].item() == 0
    assert outcome.warnings == ()


def test_products_of_complex_numbers() -> None:
    """The real part is beyond the dtype; the imaginary one is 0, and not NaN."""
    for dtype, size in ((torch.complex64, 1e30), (torch.complex128, 2.0**600)):
        x = torch.full((3,), complex(size, size), dtype=dtype)
        outcome = compute("broadcast", x, x.conj(), op="mul")
        assert outcome.result.tolist() == [complex(inf, 0)] * 3
        assert len(outcome.warnings) == 2
        assert outcome.warnings[1].startswith("3 of 3 numbers are beyond the greatest complex")


def test_one_operation_is_not_checked() -> None:
    """Operations of IEEE 754 are as they should be; nor are views, integers and empty results."""
    pair: list[tuple[int, ...]] = [(2,), (2,)]
    unchecked: list[tuple[str, torch.dtype, list[tuple[int, ...]], dict[str, object]]] = [
        ("broadcast", torch.float32, pair, {"op": "div"}),
        ("broadcast", torch.complex64, pair, {"op": "add"}),
        ("broadcast", torch.float64, pair, {"op": "add"}),
        ("broadcast", torch.float32, pair, {"op": "lt"}),
        ("broadcast", torch.int32, [*pair, (2,)], {"op": "add"}),
        ("einsum", torch.float32, [(2, 3)], {"equation": "ij->ji"}),
        ("matmul", torch.int64, pair, {}),
        ("matmul", torch.float32, [(0, 2), (2,)], {}),
        ("matmul", torch.float32, [(2, 0), (0, 2)], {}),
        ("norm", torch.float32, [(2,)], {"ord": 0}),
    ]
    for name, dtype, shapes, raw in unchecked:
        op = REGISTRY[name]
        assert recheck_of(op, op.infer_sample(Sample("", tuple(shapes), raw), dtype)) is None


def test_a_sum_alone_is_not_suspect() -> None:
    """Finite numbers, whose sum is beyond float16, are as they should be."""
    check = Recheck("torch", "each operand")
    assert not is_suspect(check, torch.full((2,), 60_000, dtype=torch.float16))
    assert is_suspect(check, torch.tensor([inf, -inf]))
    assert is_suspect(check, torch.tensor([complex(1, nan), 1]))


@pytest.mark.parametrize(
    ("numbers", "bit"),
    [
        pytest.param([3.0, 0.0, 0.75], 0.25, id="fractions"),
        pytest.param([5e-324, 1e308], 5e-324, id="extremes"),
        pytest.param([-12.0], 4.0, id="negative"),
        pytest.param([complex(4, 2)], 2.0, id="parts"),
        pytest.param([0.0], inf, id="zero"),
    ],
)
def test_least_bit(numbers: list[complex], bit: float) -> None:
    """All numbers are multiples of it."""
    is_complex = isinstance(numbers[0], complex)
    x = torch.tensor(numbers, dtype=torch.complex128 if is_complex else torch.float64)
    assert _least_bit(x) == bit


@pytest.mark.parametrize("exponent", [0, 1, -1, 1000, -1074, 2050, -2098])
def test_powers_beyond_float64(exponent: int) -> None:
    """They are multiplied by in parts; complex numbers by part, so that none becomes NaN."""
    start = -exponent // 2
    x = torch.tensor([2.0 ** (start % 1000)], dtype=torch.float64)
    with np.errstate(over="ignore"):
        assert _times_power(x, exponent).item() == np.ldexp(x.item(), exponent)
    z = _times_power(torch.tensor([complex(1, 0)], dtype=torch.complex128), 2000)
    assert z.tolist() == [complex(inf, 0)]
