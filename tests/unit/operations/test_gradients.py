"""Gradients of einsum and of matmul, against those of torch.autograd."""

import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.call import Shape, Spec, Tensor
from service.errors import InvalidEquationError, UnsupportedDtypeError
from service.operations import REGISTRY
from service.operations.gradients import Gradient, find_gradients
from service.registry import Sample, parse_params
from tests.unit.operations.test_equation import Draw

DTYPES = (torch.float32, torch.float64, torch.complex128)
SAMPLES = [
    pytest.param(name, sample, id=f"{name}-{sample.name}")
    for name in ("einsum", "matmul")
    for sample in REGISTRY[name].samples
]


def gradients(name: str, sample: Sample, dtype: torch.dtype) -> tuple[Gradient, ...]:
    """The gradients of a sample."""
    return find_gradients(REGISTRY[name].infer_sample(sample, dtype)).members


def einsum(equation: str, *shapes: Shape) -> tuple[Gradient, ...]:
    """The gradients of an equation in float64."""
    return gradients("einsum", Sample("", shapes, {"equation": equation}), torch.float64)


@torch.enable_grad()
def check(name: str, sample: Sample, dtype: torch.dtype) -> None:
    """Assert that equations, lines of torch and products by `@` give what autograd does."""
    operands = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in sample.shapes]
    result = (
        torch.einsum(str(sample.params["equation"]), *operands)
        if name == "einsum"
        else torch.matmul(*operands)
    )
    upstream = torch.randn(result.shape, dtype=dtype)
    expected = torch.autograd.grad(result, operands, upstream, materialize_grads=True)
    values = [x.detach() for x in operands]
    found = gradients(name, sample, dtype)
    variables = {"torch": torch, "upstream": upstream}
    variables |= dict(zip((each.name for each in found), values, strict=True))
    for each, gradient in zip(found, expected, strict=True):
        factors = [factor.tensor(upstream, values) for factor in each.factors]
        assert all(x.dtype == dtype and not x.is_conj() for x in factors)
        assert each.shape == tuple(gradient.shape)
        near(torch.einsum(str(each.equation), *factors), gradient)
        near(eval(each.reproduce, variables), gradient)
        if each.matrix_product is not None:
            near(eval(each.matrix_product, variables), gradient)


def near(found: Tensor, expected: Tensor) -> None:
    """Assert that two results differ by rounding at most."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_a_sample(name: str, sample: Sample, dtype: torch.dtype) -> None:
    """All samples of both operations have the gradients of autograd."""
    check(name, sample, dtype)


@st.composite
def calls(draw: Draw) -> Sample:
    """A valid equation of repeated, shared and stretched letters, with dots or without."""
    sizes = {"i": 2, "j": 3, "k": draw(st.sampled_from([0, 1, 4]))}
    dots = draw(st.lists(st.sampled_from([1, 2]), max_size=2))
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.lists(st.sampled_from("ijk"), max_size=3))
        stretched = {letter: draw(st.integers(0, 3)) == 0 for letter in letters}
        term, shape = letters, [1 if stretched[c] else sizes[c] for c in letters]
        if draw(st.booleans()):
            term, width = ["...", *letters], draw(st.integers(0, len(dots)))
            shape = [draw(st.sampled_from([1, size])) for size in dots[:width][::-1]][::-1] + shape
        terms.append("".join(term))
        shapes.append(tuple(shape))
    used = sorted({c for term in terms for c in term} - {"."})
    kept = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
    arrow = draw(st.sampled_from(["", "->" + "".join(kept), "->..." + "".join(kept)]))
    if arrow.startswith("->...") and not any("..." in term for term in terms):
        arrow = arrow.replace("...", "")
    return Sample("random", tuple(shapes), {"equation": ",".join(terms) + arrow})


@settings(max_examples=150)
@given(sample=calls())
def test_a_random_equation(sample: Sample) -> None:
    """Any equation has the gradients of autograd."""
    check("einsum", sample, torch.float64)


@pytest.mark.parametrize(
    ("equation", "shapes", "position", "explanation"),
    [
        pytest.param(
            "ij,jk->ik",
            ((2, 3), (3, 4)),
            1,
            "The gradient of x1: upstream [ik] times x0 [ij], summed over i, gives [jk]: "
            "x0.mT @ upstream.",
            id="product",
        ),
        pytest.param(
            "ij,jk,kl->il",
            ((2, 3), (3, 4), (4, 5)),
            0,
            "The gradient of x0: upstream [il] times x1 [jk] times x2 [kl], summed over l and k, "
            "gives [ij].",
            id="three",
        ),
        pytest.param(
            "ijk->k",
            ((2, 3, 4),),
            0,
            "The gradient of x0: upstream [k] times ones [ij] gives [ijk]. "
            "Only x0 has i and j: each element there counts alike.",
            id="ones",
        ),
        pytest.param(
            "iii->i",
            ((2, 2, 2),),
            0,
            "The gradient of x0: upstream [i] times the identity [ia] times the identity [ib] "
            "gives [iab]. Only the diagonal of x0 was read: the gradient is 0 elsewhere.",
            id="diagonal",
        ),
        pytest.param(
            "ij,jk->ik",
            ((2, 1), (3, 4)),
            0,
            "The gradient of x0: upstream [ik] times x1 [jk] times ones [a], summed over k and j, "
            "gives [ia]. Along j x0 has size 1 and was stretched: its gradient is a sum there.",
            id="stretched",
        ),
        pytest.param(
            "ij,jk->ik",
            ((2, 1), (3, 4)),
            1,
            "The gradient of x1: upstream [ik] times x0 [ij] times ones [j], summed over i, "
            "gives [jk]. Along j other operands have size 1 and were stretched.",
            id="others-stretched",
        ),
    ],
)
def test_an_explanation(
    equation: str, shapes: tuple[Shape, ...], position: int, explanation: str
) -> None:
    """It says what is multiplied, what is summed, and the reason for each constant."""
    assert einsum(equation, *shapes)[position].explanation == explanation


@pytest.mark.parametrize(
    ("equation", "shapes", "products"),
    [
        ("ij,jk->ik", ((2, 3), (3, 4)), ["upstream @ x1.mT", "x0.mT @ upstream"]),
        ("ji,kj->ik", ((3, 2), (4, 3)), ["x1.mT @ upstream.mT", "upstream.mT @ x0.mT"]),
        ("bij,bjk->bik", ((5, 2, 3), (5, 3, 4)), ["upstream @ x1.mT", "x0.mT @ upstream"]),
        ("bij,bjk->bik", ((5, 2, 3), (1, 3, 4)), [None, None]),
        ("ij,j->i", ((2, 3), (3,)), [None, None]),
        ("ij,ij->ij", ((2, 3), (2, 3)), [None, None]),
        ("ij,kl->ij", ((2, 3), (4, 5)), [None, None]),
    ],
)
def test_a_product_of_matrices(
    equation: str, shapes: tuple[Shape, ...], products: list[str | None]
) -> None:
    """A gradient that is one is shown as one, with its factors transposed as they have to be."""
    assert [each.matrix_product for each in einsum(equation, *shapes)] == products


def test_the_lines_of_a_product() -> None:
    """The operands of matmul have the names of the request, and complex ones are conjugated."""
    lines = [each.reproduce for each in gradients("matmul", SHAPES, torch.complex64)]
    assert lines == [
        'torch.einsum("ik,jk->ij", upstream, b.conj())',
        'torch.einsum("ik,ij->jk", upstream, a.conj())',
    ]


SHAPES = Sample("", ((2, 3), (3, 4)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8], ids=str)
def test_integers_have_no_gradients(dtype: torch.dtype) -> None:
    """The error names their dtype, and one that has."""
    with pytest.raises(UnsupportedDtypeError, match=str(dtype).removeprefix("torch.")) as caught:
        gradients("matmul", SHAPES, dtype)
    assert "float32" in str(caught.value.hint)


def test_an_equation_without_letters_left() -> None:
    """A diagonal needs a letter of its own."""
    text = string.ascii_letters + "a->b"
    op = REGISTRY["einsum"]
    specs = (Spec((1,) * 53, torch.float32),)
    inferred = op.infer(specs, **parse_params(op.params, {"equation": text}))
    with pytest.raises(InvalidEquationError, match="more axes than there are letters"):
        find_gradients(inferred)
