"""Strategies: special values, calls they do not support, and the work they count."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.call import Shape, Spec, Tensor
from service.core.dtypes import DTYPES, FLOATS, describe
from service.errors import UnsupportedDtypeError, ValueOutOfRangeError
from service.operations import REGISTRY
from service.operations.matmul.strategies import STEPS_PER_SUM
from service.operations.norm.definition import LOW_PRECISION
from service.registry import Inferred, Op, Sample, Strategy, Work

ON_CPU = ("python", "numba", "compile", "numpy", "dask")
EVERY = [
    pytest.param(op, strategy, id=f"{op.name}-{strategy.name}")
    for op in REGISTRY.values()
    for strategy in op.strategies.values()
]


def compute(name: str, op: str, /, *operands: Tensor, **raw: object) -> Tensor:
    """The result of `op` by the strategy `name`."""
    dtype = describe(operands[0].dtype).name
    inferred = inferred_of(op, dtype, *(tuple(x.shape) for x in operands), **raw)
    strategy = REGISTRY[op].strategies[name]
    assert strategy.unsuitable(inferred, "cpu") is None
    return strategy.run(inferred, operands)


def inferred_of(op: str, dtype: str, /, *shapes: Shape, **raw: object) -> Inferred:
    """Infer `op` for operands of these shapes."""
    inferred: Inferred = REGISTRY[op].infer_sample(Sample("", shapes, raw), DTYPES[dtype].torch)
    return inferred


def work(name: str, op: str, /, *shapes: Shape, **raw: object) -> Work:
    """The work of a strategy."""
    return REGISTRY[op].strategies[name].work(inferred_of(op, "float32", *shapes, **raw))


@pytest.mark.parametrize(("op", "strategy"), EVERY)
def test_shown_to_users(op: Op[Any], strategy: Strategy[Any]) -> None:
    """A strategy has a sentence, and a short source that begins with its function or kernel."""
    assert strategy.summary.endswith(".")
    assert len(strategy.summary) <= 100
    is_kernel = strategy.kernel is not None
    assert strategy.snippet.startswith("@" if is_kernel else "def ")
    assert len(strategy.snippet.splitlines()) <= (50 if is_kernel else 25)


@pytest.mark.parametrize(("op", "strategy"), EVERY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_result_is_as_inferred(op: Op[Any], strategy: Strategy[Any], dtype: str) -> None:
    """The result of every sample has the inferred shape and dtype."""
    for sample in op.samples:
        try:
            inferred = op.infer_sample(sample, DTYPES[dtype].torch)
        except UnsupportedDtypeError:
            continue
        if strategy.unsuitable(inferred, "cpu") is None:
            operands = [torch.ones(s.shape, dtype=s.dtype) for s in inferred.specs]
            result = strategy.run(inferred, operands)
            assert (tuple(result.shape), result.dtype) == (inferred.shape, inferred.dtype), sample


@pytest.mark.parametrize(("op", "strategy"), EVERY)
def test_operands_stay_as_they_are(op: Op[Any], strategy: Strategy[Any]) -> None:
    """No strategy writes into its operands."""
    for sample in op.samples:
        inferred = op.infer_sample(sample, torch.float32)
        if strategy.unsuitable(inferred, "cpu") is None:
            operands = [torch.rand(spec.shape) for spec in inferred.specs]
            before = [x.clone() for x in operands]
            strategy.run(inferred, operands)
            assert all(map(torch.equal, operands, before)), sample


VALUES = st.lists(
    st.floats(-100, 100, width=32) | st.sampled_from([0.0, -0.0, inf, -inf, nan]),
    min_size=6,
    max_size=6,
)


@settings(max_examples=40)
@given(VALUES, VALUES)
def test_loops_are_the_same_in_python(a: list[float], b: list[float]) -> None:
    """Loops over Python lists give what loops over tensors give, special values too."""
    x, y = torch.tensor(a).reshape(2, 3), torch.tensor(b).reshape(2, 3)
    cases: list[tuple[str, tuple[Tensor, ...], dict[str, object]]] = [
        ("matmul", (x, y.T), {}),
        ("einsum", (x, y), {"equation": "ij,kj->ik"}),
        ("norm", (x,), {"ord": 3, "dim": 1}),
        ("norm", (x,), {"ord": -1, "dim": 1}),
        ("broadcast", (x, y[0]), {"op": "div"}),
        ("broadcast", (x, y[0]), {"op": "pow"}),
        ("broadcast", (x, y), {"op": "maximum"}),
        ("broadcast", (x, y), {"op": "le"}),
    ]
    for op, operands, raw in cases:
        loops, python = (compute(name, op, *operands, **raw) for name in ("loops", "python"))
        # Sums are rounded once in Python, and at each step in tensors.
        torch.testing.assert_close(loops, python, rtol=1e-4, atol=1e-2, equal_nan=True)


@pytest.mark.parametrize("name", ["loops", "python", "elementwise", "einsum"])
def test_squares_overflow(name: str) -> None:
    """Squares of what float32 holds may be more than it holds, or less."""
    large, small = torch.tensor([1e20, 1e20]), torch.tensor([1e-30, 1e-30])
    if name == "python":  # its sums are float64
        assert compute(name, "norm", large).item() == pytest.approx(1.41421356e20)
    else:
        assert compute(name, "norm", large).item() == inf
        assert compute(name, "norm", small).item() == 0


@pytest.mark.parametrize("order", [1, 2, 3, 0.5, -1, -2, 10])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_scaled_does_not_overflow(order: float, scale: float) -> None:
    """Scaled by the greatest magnitude, no power overflows or underflows."""
    x = torch.tensor([[3.0, -4.0, 1.0], [1.0, 2.0, 2.0]]) * scale
    expected = np.linalg.vector_norm(x.double().numpy() / scale, axis=1, ord=order) * scale
    found = compute("scaled", "norm", x, ord=order, dim=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("order", [2.0, -2.0, -1.0, 0.5])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param([0.0, 0.0], id="zeros"),
        pytest.param([0.0, 2.0], id="zero"),
        pytest.param([1.0, inf], id="infinity"),
        pytest.param([-inf, inf], id="infinities"),
        pytest.param([1.0, nan], id="NaN"),
        pytest.param([1e25, 1.0], id="far apart"),
        pytest.param([1e38, 1e-5, 1e-45], id="as far as can be"),
    ],
)
def test_scaled_special_values(values: list[float], order: float) -> None:
    """Zeros and infinities do not become NaN, and large numbers do not hide those that matter."""
    x = torch.tensor(values)
    found = compute("scaled", "norm", x, ord=order).item()
    expected = torch.linalg.vector_norm(x.double(), order).float().item()
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", ["torch", "numpy"])
@pytest.mark.parametrize("order", ["nuc", 2, -2])
@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_singular_values_of_finite_numbers(name: str, order: object, value: float) -> None:
    """Singular values need finite numbers; other matrices are refused with what takes them."""
    x = torch.tensor([[1.0, value], [0.0, 1.0]])
    with pytest.raises(ValueOutOfRangeError, match="only if all numbers are finite") as caught:
        compute(name, "norm", x, ord=order)
    assert caught.value.hint == '"fro" and 1 take NaN and infinities'
    compute(name, "norm", x, ord="fro")
    compute(name, "norm", x, ord=1)


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_reversed_matrix_axes(name: str) -> None:
    """Axes of a matrix norm count in the order in which they are named."""
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert compute(name, "norm", x, ord=1, dim=[0, 1]).item() == 7
    assert compute(name, "norm", x, ord=1, dim=[1, 0]).item() == 8


@pytest.mark.parametrize(
    ("op", "name", "dtype", "raw", "reason"),
    [
        ("norm", "loops", "float32", {"ord": "inf", "dim": 0}, "does not take ord inf of vectors"),
        ("norm", "loops", "float32", {"ord": 1}, "does not take ord 1 of matrices"),
        ("norm", "scaled", "float32", {"ord": 0, "dim": 0}, "does not take ord 0 of vectors"),
        ("norm", "scaled", "float16", {"ord": -1e-310, "dim": 0}, "does not take ord -1e-310 in"),
        ("norm", "loops", "bfloat16", {"ord": 1e-300, "dim": 0}, "does not take ord 1e-300 in"),
        ("norm", "einsum", "float32", {"ord": 3, "dim": 0}, "does not take ord 3, only the 2-norm"),
        ("norm", "numpy", "bfloat16", {}, "does not take bfloat16 on cpu"),
    ],
)
def test_unsupported(op: str, name: str, dtype: str, raw: dict[str, object], reason: str) -> None:
    """A strategy gives the reason for a call that it does not support."""
    inferred = inferred_of(op, dtype, (2, 2), **raw)
    found = REGISTRY[op].strategies[name].unsuitable(inferred, "cpu")
    assert found is not None
    assert found.startswith(reason)


def test_unsupported_shapes() -> None:
    """Empty norms, complex powers, and more than two operands in a step are not supported."""
    scaled, numpy = (REGISTRY["norm"].strategies[name] for name in ("scaled", "numpy"))
    assert (
        scaled.unsuitable(inferred_of("norm", "float32", (0,)), "cpu")
        == "does not take empty norms"
    )
    nuclear = inferred_of("norm", "float32", (0, 2), ord="nuc")
    assert numpy.unsuitable(nuclear, "cpu") == "does not take empty matrices"
    assert numpy.unsuitable(inferred_of("norm", "float32", (0, 2), ord="fro"), "cpu") is None
    python = REGISTRY["broadcast"].strategies["python"]
    for name, reason in (("pow", "does not take pow of complex numbers"), ("mul", None)):
        inferred = inferred_of("broadcast", "complex64", (2,), (2,), op=name)
        assert python.unsuitable(inferred, "cpu") == reason
    at_once = inferred_of(
        "einsum", "float32", (2,), (2,), (2,), equation="i,i,i", optimize=[[0, 1, 2]]
    )
    assert REGISTRY["einsum"].strategies["pairwise"].unsuitable(at_once, "cpu") == (
        "does not take a path with more than two operands in a step"
    )


@pytest.mark.parametrize(("op", "strategy"), EVERY)
def test_cuda(op: Op[Any], strategy: Strategy[Any]) -> None:
    """A strategy that runs on CUDA takes floats there, and nothing that it refuses on a CPU.

    Kernels run on CUDA alone. Numba has no arithmetic in float16 and bfloat16.
    """
    assert strategy.cuda <= strategy.dtypes or (strategy.kernel and not strategy.dtypes)
    least = FLOATS - LOW_PRECISION if strategy.name == "cuda" else FLOATS
    assert not strategy.cuda or strategy.cuda >= least
    assert bool(strategy.cuda) == (strategy.name not in ON_CPU)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loops", Work(6 * 4 * 5 * 7, 0, calls=6)),
        ("python", Work(6 * 4 * 5 * 7 + STEPS_PER_SUM * 6 * 4 * 7, 0, calls=6)),
        ("elementwise", Work(6 * 4 * 7, 6 * 4 * 5 * 7, 5, calls=6)),
        ("dot", Work(6 * 4 * 7, 6 * 4 * 5 * 7, 5, calls=6)),
        ("broadcast", Work(6 * 4, 6 * 4 * 5 * 7, 5 * 7, calls=6)),
        ("einsum", Work(6, 6 * 4 * 5 * 7, kind="batch of matrix")),
        ("torch", Work(1, 6 * 4 * 5 * 7, repeats=6, kind="batch of matrix")),
        ("numpy", Work(1, 6 * 4 * 5 * 7, repeats=6, kind="batch of matrix")),
    ],
)
def test_work_of_matmul(name: str, expected: Work) -> None:
    """Each strategy has at most the steps of the one before it, and as many multiply-adds."""
    assert work(name, "matmul", (6, 4, 5), (6, 5, 7)) == expected
    assert work(name, "matmul", (6, 4, 5), (5, 7)) == expected


@pytest.mark.parametrize(
    ("a", "b", "peak"),
    [
        pytest.param((9, 4, 5), (9, 5, 7), 0, id="equal batches"),
        pytest.param((9, 4, 5), (5, 7), 0, id="one matrix for all"),
        pytest.param((1, 4, 5), (9, 5, 7), 0, id="a batch of one"),
        pytest.param((3, 1, 4, 5), (2, 5, 7), 3 * 2 * 5 * 7, id="both stretch"),
        pytest.param((3, 4, 5), (2, 3, 5, 7), 2 * 3 * 4 * 5, id="one stretches"),
        pytest.param((0, 4, 5), (1, 5, 7), 0, id="an empty batch"),
        pytest.param((5,), (3, 5, 7), 0, id="a vector"),
    ],
)
def test_copies_of_stretched_batches(a: Shape, b: Shape, peak: int) -> None:
    """A batch that stretches is copied by torch's product, and counted."""
    assert work("torch", "matmul", a, b).peak_elements == peak
    assert work("numpy", "matmul", a, b).peak_elements == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loops", Work(2 * 3 * 4 * 5 * 3, 0)),
        ("python", Work(2 * 3 * 4 * 5 * 3, 0)),
        ("broadcast", Work(1, 2 * 3 * 4 * 5 * 3, 2 * 3 * 4 * 5, kind="matrix")),
        ("pairwise", Work(2, 2 * 3 * 4 + 2 * 4 * 5, 20, kind="matrix")),
        ("torch", Work(2, 2 * 3 * 4 + 2 * 4 * 5, 20, kind="matrix")),
        ("numpy", Work(2, 2 * 3 * 4 + 2 * 4 * 5, 20, kind="matrix")),
    ],
)
def test_work_of_einsum(name: str, expected: Work) -> None:
    """Loops do everything for each index, paths less: a step for each contraction."""
    raw = {"equation": "ij,jk,kl->il", "optimize": "none"}
    assert work(name, "einsum", (2, 3), (3, 4), (4, 5), **raw) == expected


@pytest.mark.parametrize(
    ("equation", "shapes", "repeats", "kind"),
    [
        ("bij,bjk->bik", ((6, 4, 5), (6, 5, 7)), 6, "batch of matrix"),
        ("ij,ij->i", ((6, 4), (6, 4)), 6, "batch of inner"),
        ("i,j->ij", ((600,), (400,)), 1, "outer"),
        ("ij,j->i", ((600, 400), (400,)), 1, "vector"),
        ("ij->ji", ((6, 4),), 1, "view"),
        ("ii->i", ((6, 6),), 1, "view"),
        ("ij->i", ((6, 4),), 1, "sum"),
        ("i,i,i->", ((6,), (6,), (6,)), 6, "batch of inner"),
    ],
)
def test_kinds_of_einsum(equation: str, shapes: list[Shape], repeats: int, kind: str) -> None:
    """The kind follows from the letters of the largest contraction."""
    found = work("torch", "einsum", *shapes, equation=equation)
    assert (found.repeats, found.kind) == (repeats, kind)


def test_peak_of_stretched_operands() -> None:
    """An operand that stretches is copied in its full size, and counted."""
    found = work("torch", "einsum", (300, 1), (1, 200), equation="ab,ab->")
    assert found.peak_elements == 300 * 200


def test_peak_of_three_at_once() -> None:
    """The peak of three operands contracted at once is that of all products."""
    raw = {"equation": "ij,jk,kl->il", "optimize": [[0, 1, 2]]}
    assert work("torch", "einsum", (2, 3), (3, 4), (4, 5), **raw).peak_elements == 120


def test_work_of_norm() -> None:
    """Loops take a step for each element and norm; singular values take many multiply-adds."""
    assert work("loops", "norm", (3, 4), dim=1) == Work(12 + 3, 0)
    rows = Work(1, 12, 12, repeats=3, kind="squares of rows")
    assert work("scaled", "norm", (3, 4), dim=1) == rows
    assert work("torch", "norm", (3, 4), dim=1, ord=3).kind == "powers of rows"
    assert work("torch", "norm", (3, 4)).kind == "squares"
    assert work("torch", "norm", (3, 4), dim=0, ord=1).kind == "magnitudes of columns"
    assert work("torch", "norm", (2, 3, 4), dim=[0, 2]).kind == "squares of rows"
    assert work("torch", "norm", (3, 4), ord=1).kind == "greatest of magnitudes of columns"
    assert work("torch", "norm", (3, 4), ord="-inf").kind == "greatest of magnitudes of rows"
    singular = Work(1, 2 * 12 * 3, 24, repeats=2, kind="singular")
    assert work("torch", "norm", (2, 3, 4), ord="nuc", dim=[1, 2]) == singular


def test_work_of_broadcast() -> None:
    """Loops take a step for each element and application, the others one."""
    assert work("loops", "broadcast", (2, 1), (3,), (2, 3), op="add") == Work(12, 0)
    sums = Work(1, 12, 6, kind="arithmetic")
    assert work("expand", "broadcast", (2, 1), (3,), (2, 3), op="add") == sums
    kinds = {"eq": "compare", "pow": "pow", "div": "div", "maximum": "arithmetic"}
    assert {name: work("torch", "broadcast", (2,), (2,), op=name).kind for name in kinds} == kinds
    assert work("torch", "broadcast", (2,), to=[3, 2]).kind == "view"


@pytest.mark.parametrize(
    "name", [each.name for each in REGISTRY["einsum"].strategies.values() if each.dtypes]
)
@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8"])
@pytest.mark.parametrize(
    "equation", ["ij,jk->k", "ij,jk->j", "ij,k->j", "ij,j->j", "ij,jk,kl->l", "ij->j", "ii,ij->"]
)
def test_sums_of_small_integers(name: str, dtype: str, equation: str) -> None:
    """Small integers summed before or after a product keep their dtype."""
    terms = equation.partition("->")[0].split(",")
    x = torch.arange(4, dtype=DTYPES[dtype].torch).reshape(2, 2) % 3
    operands = [x if len(term) == 2 else x[1] for term in terms]
    found = compute(name, "einsum", *operands, equation=equation)
    expected = np.einsum(equation, *[operand.numpy().astype(np.int64) for operand in operands])
    assert found.dtype == DTYPES[dtype].torch
    assert found.tolist() == expected.tolist()


def test_registry_has_four_operations() -> None:
    """The four operations, in the order of the lesson."""
    assert list(REGISTRY) == ["matmul", "einsum", "norm", "broadcast"]
    assert inferred_of("matmul", "float32", (2, 3), (3, 4)).specs[0] == Spec((2, 3), torch.float32)


# The first half sums up to 2048, beside which a number of the second half is lost, if sums are kept
# in the dtype: also if they are begun for up to 64 numbers at a time, as vector instructions do.
SMALL = {"float16": 2.0**-7, "bfloat16": 2.0**-4}
SMALL_ROOTS = {"float16": 2.0**-4, "bfloat16": 2.0**-2}
WITH_SUMS = [
    pytest.param(op, name, id=f"{op}-{name}")
    for op in ("matmul", "einsum", "norm")
    for name in REGISTRY[op].strategies
]


def half_sums(op: str, name: str, dtype: str) -> list[tuple[float, float]]:
    """Sums of numbers of a half-precision dtype by a strategy, and as they would be if exact."""
    ones = torch.ones(4096, dtype=DTYPES[dtype].torch)
    x, roots = ones.clone(), ones.clone()
    x[2048:], roots[2048:] = SMALL[dtype], SMALL_ROOTS[dtype]
    row, column, columns = x[None], ones[:, None], torch.ones(4096, 3, dtype=ones.dtype)
    calls: dict[str, list[tuple[tuple[Tensor, ...], dict[str, object]]]] = {
        "matmul": [((x, ones), {}), ((row, columns), {}), ((row.expand(9, -1), column), {})],
        "einsum": [
            ((x, ones), {"equation": "i,i"}),
            ((row, columns), {"equation": "ij,jk"}),
            ((x,), {"equation": "i->"}),
        ],
        "norm": [((roots,), {}), ((x,), {"ord": 1})],
    }
    found = []
    for operands, raw in calls[op]:
        inferred = inferred_of(op, dtype, *(tuple(each.shape) for each in operands), **raw)
        strategy = REGISTRY[op].strategies[name]
        if strategy.unsuitable(inferred, "cpu") is None:
            result = strategy.run(inferred, operands).reshape(-1)[0]
            wide = operands[0].double()
            exact = wide.norm() if operands[0] is roots else wide.reshape(-1)[:4096].sum()
            found.append((float(result), float(exact.to(result.dtype))))
    return found


@pytest.mark.parametrize(("op", "name"), WITH_SUMS)
@pytest.mark.parametrize("dtype", SMALL)
def test_sums_of_half_precision(op: str, name: str, dtype: str) -> None:
    """They are added up in the wider dtype that the strategy states, or lose the small terms."""
    strategy = REGISTRY[op].strategies[name]
    sums = half_sums(op, name, dtype)
    if strategy.accumulates_in is None:
        assert all(result < exact for result, exact in sums)
    else:
        assert strategy.accumulates_in in ("float32", "float64")
        assert all(result == exact for result, exact in sums)
        assert sums or name == "triton" or dtype == "bfloat16"


@pytest.mark.parametrize("op", REGISTRY)
def test_strategies_are_deterministic(op: str) -> None:
    """None uses an algorithm of torch that is not: it would raise an error here."""
    for name, strategy in REGISTRY[op].strategies.items():
        if name == "compile":  # code for this setting is compiled apart
            continue
        for sample in REGISTRY[op].samples:
            inferred = REGISTRY[op].infer_sample(sample, torch.float32)
            if strategy.unsuitable(inferred, "cpu") is None:
                operands = [torch.rand(shape) for shape in sample.shapes]
                expected = strategy.run(inferred, operands)
                torch.use_deterministic_algorithms(mode=True)
                try:
                    found = strategy.run(inferred, operands)
                finally:
                    torch.use_deterministic_algorithms(mode=False)
                assert torch.equal(found.nan_to_num(), expected.nan_to_num())
