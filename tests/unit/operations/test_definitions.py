"""Rules of each operation: result shapes, dtypes, multiply-adds, and the errors of bad calls."""

from collections.abc import Mapping
from math import inf, prod
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.call import Shape, Spec
from service.core.dtypes import DTYPES
from service.errors import Place, RequestError, ShapeMismatchError, leaves
from service.operations import REGISTRY
from service.operations.norm.definition import InferredNorm, parse_dim, parse_ord
from service.registry import ErrorSample, Inferred, Op, Sample

MATMUL, EINSUM, NORM, BROADCAST = (REGISTRY[op] for op in REGISTRY)
ERRORS = {leaf.code: leaf for leaf in leaves()}
Raw = Mapping[str, object]


def inferred_of(
    op: Op[Any], *shapes: Shape, raw: Raw | None = None, dtype: torch.dtype = torch.float32
) -> Inferred:
    """Infer `op` for operands of these shapes and raw parameters."""
    inferred: Inferred = op.infer_sample(Sample("", shapes, raw or {}), dtype)
    return inferred


def error_of(op: Op[Any], *shapes: Shape, raw: Raw | None = None) -> RequestError:
    """The error that `op` refuses operands of these shapes with."""
    with pytest.raises(RequestError) as caught:
        inferred_of(op, *shapes, raw=raw)
    return caught.value


@pytest.mark.parametrize(
    ("op", "sample"),
    [
        pytest.param(op, sample, id=f"{op.name}-{sample.name}")
        for op in REGISTRY.values()
        for sample in op.error_samples
        if sample.code != "missing-field"
    ],
)
def test_error_samples(op: Op[Any], sample: ErrorSample) -> None:
    """Each error sample of an operation raises the error of its code."""
    with pytest.raises(ERRORS[sample.code]):
        inferred_of(op, *sample.shapes, raw=sample.params)


SHAPES = st.lists(st.sampled_from([0, 1, 2, 2, 3]), max_size=4).map(tuple)


@settings(max_examples=200)
@given(SHAPES, SHAPES)
def test_matmul_is_torch_s(a: Shape, b: Shape) -> None:
    """Shapes that torch.matmul takes are taken, with its result shape; the others are refused."""
    try:
        expected = torch.matmul(torch.ones(a), torch.ones(b)).shape
    except RuntimeError:
        error_of(MATMUL, a, b)
        return
    inferred = inferred_of(MATMUL, a, b)
    assert inferred.shape == expected
    assert inferred.multiply_adds == prod(expected) * a[-1]


@pytest.mark.parametrize(
    ("a", "b", "detail", "hint", "place"),
    [
        pytest.param(
            (2, 3),
            (2, 3),
            "matmul needs a's last axis (3) to equal b's axis 0 (2): a is (2, 3), b is (2, 3)",
            "b transposed has shape (3, 2) and fits",
            Place("/b", "axis 0 has size 2, expected 3"),
            id="b transposed",
        ),
        pytest.param(
            (5, 2, 3),
            (5, 4),
            "matmul needs a's last axis (3) to equal b's axis 0 (5): a is (5, 2, 3), b is (5, 4)",
            None,
            Place("/b", "axis 0 has size 5, expected 3"),
            id="nothing fits",
        ),
        pytest.param(
            (3, 2),
            (3,),
            "matmul needs a's last axis (2) to equal b's axis 0 (3): a is (3, 2), b is (3,)",
            "a transposed has shape (2, 3) and fits",
            Place("/b", "axis 0 has size 3, expected 2"),
            id="a transposed",
        ),
        pytest.param(
            (4, 3),
            (4, 2, 4),
            "matmul needs a's last axis (3) to equal b's axis 1 (2): a is (4, 3), b is (4, 2, 4)",
            "the operands fit the other way round",
            Place("/b", "axis 1 has size 2, expected 3"),
            id="swapped",
        ),
        pytest.param(
            (2,),
            (3,),
            "matmul needs a's last axis (2) to equal b's axis 0 (3): a is (2,), b is (3,)",
            None,
            Place("/b", "axis 0 has size 3, expected 2"),
            id="vectors",
        ),
        pytest.param(
            (),
            (2, 3),
            "matmul needs a and b of rank 1 or more; a is a single number",
            "broadcast with op mul multiplies by a number",
            Place("/a", "rank 0, expected 1 or more"),
            id="a number",
        ),
        pytest.param(
            (2,),
            (),
            "matmul needs a and b of rank 1 or more; b is a single number",
            "broadcast with op mul multiplies by a number",
            Place("/b", "rank 0, expected 1 or more"),
            id="b is a number",
        ),
        pytest.param(
            (2, 2, 3),
            (3, 3, 2),
            "batch axes do not broadcast: axis -1 has size 2 in (2,) and 3 in (3,); "
            "sizes must be equal, or one of them 1",
            "(3,) with an axis added last is (3, 1), and fits",
            Place("/b", "axis -1 has size 3, not 2"),
            id="batches",
        ),
    ],
)
def test_matmul_error(a: Shape, b: Shape, detail: str, hint: str | None, place: Place) -> None:
    """An error names axes and sizes, and a change that was tried."""
    error = error_of(MATMUL, a, b)
    assert (error.detail, error.hint, error.places) == (detail, hint, (place,))


@settings(max_examples=200)
@given(SHAPES, SHAPES)
def test_matmul_hints_hold(a: Shape, b: Shape) -> None:
    """A change that a hint suggests makes the shapes fit."""
    try:
        inferred_of(MATMUL, a, b)
    except ShapeMismatchError as error:
        hint = error.hint or ""
        if hint.startswith("b transposed"):
            inferred_of(MATMUL, a, (*b[:-2], b[-1], b[-2]))
        elif hint.startswith("a transposed"):
            inferred_of(MATMUL, (*a[:-2], a[-1], a[-2]), b)
        elif hint.startswith("the operands"):
            inferred_of(MATMUL, b, a)


@pytest.mark.parametrize("op", REGISTRY.values(), ids=REGISTRY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_of_the_result(op: Op[Any], dtype: str) -> None:
    """Results have the operands' dtype, norms a real one; bool is refused with what to ask for."""
    sample = op.samples[0]
    kind = DTYPES[dtype].kind
    if kind == "bool":
        with pytest.raises(ERRORS["dtype-unsupported"]) as caught:
            op.infer_sample(sample, torch.bool)
        assert isinstance(caught.value, RequestError)
        assert caught.value.hint is not None
        assert caught.value.hint.endswith("makes 1 and 0 of booleans that are sent")
        return
    inferred = op.infer_sample(sample, DTYPES[dtype].torch)
    expected = DTYPES[dtype].torch
    if op.name == "norm":
        expected = torch.float64 if kind == "integer" else expected.to_real()
    assert inferred.dtype == expected


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_give_bool(name: str) -> None:
    """A comparison gives bool, of bool too."""
    for dtype in (torch.float16, torch.int64, torch.bool):
        assert inferred_of(BROADCAST, (2,), (2,), raw={"op": name}, dtype=dtype).dtype == torch.bool


@pytest.mark.parametrize(
    ("name", "count", "fitting"),
    [(name, 2, ["eq", "ne"]) for name in ("lt", "le", "gt", "ge", "maximum", "minimum")]
    + [("relu", 1, ["abs"]), ("maximum", 3, [])],
)
def test_complex_numbers_have_no_order(name: str, count: int, fitting: list[str]) -> None:
    """An op that needs an order is refused for complex numbers; what the hint names takes them."""
    shapes = [(2,)] * count
    with pytest.raises(ERRORS["dtype-unsupported"], match=f"op {name} needs an order") as caught:
        inferred_of(BROADCAST, *shapes, raw={"op": name}, dtype=torch.complex64)
    assert isinstance(caught.value, RequestError)
    assert all(each in str(caught.value.hint) for each in fitting)
    assert (caught.value.hint is None) == (not fitting)
    for each in fitting:
        inferred_of(BROADCAST, *shapes, raw={"op": each}, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("op", "shapes", "raw", "multiply_adds"),
    [
        pytest.param(MATMUL, ((5, 784), (784, 10)), {}, 39200, id="the lesson's product"),
        pytest.param(MATMUL, ((3, 1, 2, 4), (5, 4, 6)), {}, 15 * 2 * 4 * 6, id="batches"),
        pytest.param(
            EINSUM,
            ((10, 1000), (1000, 10), (10, 500)),
            {"equation": "ij,jk,kl->il"},
            10 * 1000 * 10 + 10 * 10 * 500,
            id="the cheaper path",
        ),
        pytest.param(
            EINSUM,
            ((10, 1000), (1000, 10), (10, 500)),
            {"equation": "ij,jk,kl->il", "optimize": [[1, 2], [0, 1]]},
            1000 * 10 * 500 + 10 * 1000 * 500,
            id="the dearer path",
        ),
        pytest.param(NORM, ((3, 4),), {"dim": 1}, 12, id="norm"),
        pytest.param(BROADCAST, ((2, 3), (3,)), {"op": "add"}, 6, id="broadcast"),
        pytest.param(BROADCAST, ((2, 1), (3,), ()), {"op": "mul"}, 6, id="three operands"),
        pytest.param(BROADCAST, ((3,),), {"to": [4, 3]}, 12, id="expand"),
    ],
)
def test_multiply_adds(
    op: Op[Any], shapes: tuple[Shape, ...], raw: Raw, multiply_adds: int
) -> None:
    """Work is counted as the contract says."""
    assert inferred_of(op, *shapes, raw=raw).multiply_adds == multiply_adds


ORDS: tuple[object, ...] = (None, "fro", "nuc", "inf", "-inf", 0, 1, -1, 2, -2, 3, 0.5, -3.5)
DIMS: tuple[object, ...] = (None, 0, 1, -1, 3, [], [0], [0, 1], [1, 0], [-1, 0], [0, 0], [0, 1, 2])
NORM_SHAPES = ((), (3,), (0,), (2, 3), (0, 3), (3, 0), (2, 3, 4), (2, 0, 3))


def by_torch(shape: Shape, raw: Mapping[str, Any]) -> Shape | None:
    """The shape that torch.linalg gives; None where it refuses."""
    x = torch.ones(shape, dtype=torch.float64)
    order, dim, keepdim = raw["ord"], raw["dim"], raw["keepdim"]
    order = {"inf": inf, "-inf": -inf}.get(order, order) if isinstance(order, str) else order
    try:
        match raw["kind"]:
            case "auto":
                dims = [dim] if isinstance(dim, int) else dim
                return tuple(torch.linalg.norm(x, order, dims, keepdim).shape)
            case "vector":
                order = 2 if order is None else order
                return tuple(torch.linalg.vector_norm(x, order, dim, keepdim).shape)
            case _:
                order = "fro" if order is None else order
                dims = (-2, -1) if dim is None else dim
                return tuple(torch.linalg.matrix_norm(x, order, dims, keepdim).shape)
    except (RuntimeError, IndexError, TypeError):
        return None


@pytest.mark.parametrize("kind", ["auto", "vector", "matrix"])
@pytest.mark.parametrize("shape", NORM_SHAPES, ids=str)
def test_norm_is_torch_s(shape: Shape, kind: Literal["auto", "vector", "matrix"]) -> None:
    """Each order, axes and keepdim is taken where torch.linalg takes it, with the same shape.

    Only an empty list of axes is refused, which torch takes as all of them.
    """
    for order in ORDS:
        for dim in DIMS:
            for keepdim in (False, True):
                raw = {"ord": order, "dim": dim, "keepdim": keepdim, "kind": kind}
                expected = None if dim == [] else by_torch(shape, raw)
                try:
                    found: Shape | None = inferred_of(NORM, shape, raw=raw).shape
                except RequestError:
                    found = None
                assert found == expected, raw


@pytest.mark.parametrize(
    ("shape", "raw", "detail", "hint", "pointer"),
    [
        pytest.param((2, 3), {"dim": 2}, "x has rank 2 and no axis 2", None, "/dim", id="no axis"),
        pytest.param(
            (2, 3),
            {"dim": [0, -2]},
            "dim (0, -2) names an axis of x twice",
            None,
            "/dim",
            id="twice",
        ),
        pytest.param(
            (2, 3, 4),
            {"dim": [0, 1, 2]},
            "norm takes one or two axes; dim names 3",
            '"kind": "vector" takes any number of axes',
            "/dim",
            id="three axes",
        ),
        pytest.param(
            (2, 3, 4),
            {"ord": 2},
            "with ord and without dim, x must have rank 1 or 2; it has rank 3",
            'give dim, or "kind": "vector"',
            "/x",
            id="ord without dim",
        ),
        pytest.param(
            (2, 3),
            {"kind": "matrix", "dim": 0},
            "a matrix norm takes two axes; dim names 1",
            None,
            "/dim",
            id="matrix of one axis",
        ),
        pytest.param(
            (3,),
            {"ord": "nuc"},
            "ord 'nuc' is no norm of vectors; choose a number, inf or -inf",
            None,
            "/ord",
            id="nuclear of vectors",
        ),
        pytest.param(
            (2, 3),
            {"ord": 3},
            "ord 3 is no norm of matrices; choose fro, nuc, inf, -inf, 1, -1, 2, -2",
            None,
            "/ord",
            id="order 3 of matrices",
        ),
        pytest.param(
            (0,),
            {"ord": "inf"},
            "the inf norm of no numbers does not exist: x is (0,)",
            None,
            "/x",
            id="nothing",
        ),
    ],
)
def test_norm_error(shape: Shape, raw: Raw, detail: str, hint: str | None, pointer: str) -> None:
    """An error names rank, axes and order, and what would work."""
    error = error_of(NORM, shape, raw=raw)
    assert (error.detail, error.hint) == (detail, hint)
    assert error.places[0].pointer == pointer


@pytest.mark.parametrize("order", ["nuc", 2, -2])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_singular_values_need_float32(order: object, dtype: str) -> None:
    """Singular values of short floats are refused, whatever the strategy."""
    with pytest.raises(ERRORS["dtype-unsupported"], match=f"which {dtype} is too short for"):
        inferred_of(NORM, (2, 3), raw={"ord": order}, dtype=DTYPES[dtype].torch)
    assert inferred_of(NORM, (3,), raw={"ord": 2}, dtype=DTYPES[dtype].torch).shape == ()


def test_inferred_norm() -> None:
    """A norm has its axes counted from the left, and is a root of a sum of powers or not."""
    inferred = inferred_of(NORM, (2, 3, 4), raw={"dim": [-1, 0], "kind": "vector"})
    assert isinstance(inferred, InferredNorm)
    assert (inferred.dim, inferred.reduced, inferred.matrix) == ((2, 0), 8, False)
    for raw, powers in (
        ({"ord": 3, "dim": 0}, True),
        ({"ord": "fro"}, True),
        ({"ord": "inf", "dim": 0}, False),
        ({"ord": 0, "dim": 0}, False),
        ({"ord": 1}, False),
    ):
        inferred = inferred_of(NORM, (2, 3), raw=raw)
        assert isinstance(inferred, InferredNorm)
        assert inferred.is_sum_of_powers == powers


def test_parse_norm_fields() -> None:
    """Words and numbers are orders; an axis alone is a list of one."""
    assert [parse_ord(x) for x in ("fro", "inf", "-inf", 2, 0.5, None)] == [
        "fro", inf, -inf, 2, 0.5, None,
    ]  # fmt: skip
    assert [parse_dim(x) for x in (None, -1, [], [0, 1])] == [None, (-1,), (), (0, 1)]


@settings(max_examples=200)
@given(
    SHAPES,
    SHAPES,
    st.none() | SHAPES.map(list),
    st.sampled_from([None, ":", "None", "...,None", "None,:", "None,..."]),
)
def test_broadcast_is_numpy_s(a: Shape, b: Shape, to: list[int] | None, view: str | None) -> None:
    """Views, alignment and the target are those of numpy, and so are the errors."""
    parts = {":": slice(None), "None": None, "...": ...}
    index = tuple(parts[part] for part in (view or "...").split(","))
    raw = {"op": "add", "to": to, "views": [None, view]}
    try:
        expected = np.broadcast_shapes(a, np.zeros(b)[index].shape)
        if to is not None:
            expected = np.broadcast_to(np.zeros(expected), to).shape
    except (ValueError, IndexError):
        assert isinstance(error_of(BROADCAST, a, b, raw=raw), ShapeMismatchError)
    else:
        assert inferred_of(BROADCAST, a, b, raw=raw).shape == expected


@pytest.mark.parametrize(
    ("shapes", "raw", "detail", "hint"),
    [
        pytest.param(
            ((2,), (2,)),
            {},
            "broadcast takes operands and an op, or one operand and to; there were 2 operands "
            "and no op",
            "op is one of add, sub, mul, div, pow, maximum, minimum, eq, ne, lt, le, gt, ge",
            id="no op",
        ),
        pytest.param(
            ((2,),),
            {},
            "broadcast takes operands and an op, or one operand and to; there were neither op "
            "nor to",
            '"to": [3, 2] expands one operand to that shape',
            id="neither op nor to",
        ),
        pytest.param(
            ((2,),),
            {"op": "add"},
            "op add takes two operands or more; there are 1",
            "one operand takes `to`, and no op, to expand",
            id="one operand",
        ),
        pytest.param(
            ((2,),) * 3,
            {"op": "sub"},
            "op sub takes two operands; there are 3",
            None,
            id="three to subtract",
        ),
        pytest.param(
            ((2,), (2,)),
            {"op": "add", "views": [None]},
            "views has 1 entry for 2 operands",
            "null stands for a whole operand",
            id="views",
        ),
        pytest.param(
            ((2, 3),),
            {"to": [3]},
            "shape (2, 3) does not stretch to (3,): aligned from the right, each size must be "
            "equal or 1",
            None,
            id="to is smaller",
        ),
        pytest.param(
            ((3,),),
            {"to": [-1, 3]},
            "to is a list of sizes, each 0 or more; it was [-1, 3]",
            None,
            id="to is negative",
        ),
        pytest.param(
            ((3,),), {"to": 3}, "to is a list of sizes, each 0 or more; it was 3", None, id="number"
        ),
    ],
)
def test_broadcast_error(
    shapes: tuple[Shape, ...], raw: Raw, detail: str, hint: str | None
) -> None:
    """An error says which operands and fields fit, and gives a hint that works."""
    error = error_of(BROADCAST, *shapes, raw=raw)
    assert (error.detail, error.hint) == (detail, hint)


def test_explanation_of_a_broadcast() -> None:
    """A broadcast explains how its operands align, after their views."""
    inferred = inferred_of(BROADCAST, (3,), (2,), raw={"op": "mul", "views": [None, ":,None"]})
    explanation: Any = inferred.explanation
    assert explanation["shape"] == [2, 3]
    assert explanation["operands"][1] == {
        "shape": [2, 1],
        "strides": [1, 0],
        "expanded_strides": [1, 0],
        "stored_bytes": 8,
        "apparent_bytes": 24,
    }


def test_path_of_an_einsum() -> None:
    """An einsum has the steps of its path."""
    raw = {"equation": "ij,jk,kl->il"}
    assert inferred_of(EINSUM, (10, 1000), (1000, 10), (10, 500), raw=raw).path == [
        {"positions": [0, 1], "equation": "ij,jk->ik", "shape": [10, 10], "multiply_adds": 100_000},
        {"positions": [0, 1], "equation": "kl,ik->il", "shape": [10, 500], "multiply_adds": 50_000},
    ]
    assert inferred_of(MATMUL, (2,), (2,)).path is None


@pytest.mark.parametrize(
    ("op", "sample"),
    [
        pytest.param(op, sample, id=f"{op.name}-{sample.name}")
        for op in REGISTRY.values()
        for sample in op.samples
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_reproduce(op: Op[Any], sample: Sample, dtype: torch.dtype) -> None:
    """The one line of torch gives shape, dtype and numbers of the operation."""
    if sample.name in ("exp", "sqrt"):
        dtype = torch.float64
    inferred = op.infer_sample(sample, dtype)
    operands = [torch.ones(spec.shape, dtype=dtype) for spec in inferred.specs]
    names = op.operands or [f"x{number}" for number in range(len(operands))]
    scope = {"torch": torch, **dict(zip(names, operands, strict=True))}
    found = eval(inferred.reproduce, scope)
    assert tuple(found.shape) == inferred.shape
    assert found.dtype == inferred.dtype
    result = op.strategies["torch"].run(inferred, operands)
    assert torch.equal(found, result)


@pytest.mark.parametrize(
    ("op", "shapes", "raw", "dtype", "line"),
    [
        pytest.param(MATMUL, ((2,), (2,)), {}, "float32", "torch.matmul(a, b)", id="matmul"),
        pytest.param(
            EINSUM,
            ((2, 3), (3, 2)),
            {"equation": "ij,jk"},
            "float32",
            'torch.einsum("ij,jk->ik", x0, x1)',
            id="einsum",
        ),
        pytest.param(
            NORM,
            ((2, 3),),
            {"ord": "nuc"},
            "float32",
            "torch.linalg.matrix_norm(x, 'nuc', (0, 1), False)",
            id="matrix norm",
        ),
        pytest.param(
            NORM,
            ((2, 3),),
            {"dim": 1, "keepdim": True},
            "int8",
            "torch.linalg.vector_norm(x.double(), 2, (1,), True)",
            id="norm of integers",
        ),
        pytest.param(
            NORM,
            ((2, 3),),
            {"ord": 2.000000001, "kind": "vector"},
            "float32",
            "torch.linalg.vector_norm(x, 2.000000001, (0, 1), False)",
            id="norm of a root that is not round",
        ),
        pytest.param(
            NORM,
            ((2, 3),),
            {"ord": "-inf", "dim": 0},
            "float32",
            'torch.linalg.vector_norm(x, float("-inf"), (0,), False)',
            id="norm of infinite order",
        ),
        pytest.param(
            BROADCAST,
            ((3,), (3,)),
            {"op": "div", "views": [None, ":,None"]},
            "int8",
            'torch.div(x0, x1[:,None], rounding_mode="trunc")',
            id="division of integers",
        ),
        pytest.param(
            BROADCAST,
            ((3,), (3,), (3,)),
            {"op": "add", "to": [2, 3]},
            "int8",
            "torch.add(torch.add(x0, x1), x2).expand((2, 3))",
            id="sum, stretched",
        ),
        pytest.param(BROADCAST, ((3,),), {"to": [2, 3]}, "bool", "x0.expand((2, 3))", id="expand"),
    ],
)
def test_line(op: Op[Any], shapes: tuple[Shape, ...], raw: Raw, dtype: str, *, line: str) -> None:
    """The line is ordinary torch code."""
    inferred = inferred_of(op, *shapes, raw=raw, dtype=DTYPES[dtype].torch)
    assert inferred.reproduce == line


def test_specs_are_kept() -> None:
    """An Inferred keeps the specs of its operands."""
    assert inferred_of(NORM, (2,), dtype=torch.int8).specs == (Spec((2,), torch.int8),)
