"""Einsum equations: read as by torch.einsum, and contracted along a path."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import opt_einsum
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.core.call import Shape
from service.errors import (
    InvalidEquationError,
    InvalidFieldError,
    Place,
    RequestError,
    ShapeMismatchError,
)
from service.operations.equation import (
    MAX_OPTIMAL_OPERANDS,
    OPTIMIZERS,
    Equation,
    Path,
    contraction_steps,
    find_path,
    parse_optimize,
    read,
)

SIZES = {"i": 2, "j": 3, "k": 4, "A": 1}
LETTERS = st.sampled_from("ijkA")
Draw = Callable[[st.SearchStrategy[Any]], Any]


@st.composite
def terms(draw: Draw, *, dots: bool = True) -> str:
    """Up to three letters, and perhaps `...` among them."""
    letters: list[str] = draw(st.lists(LETTERS, max_size=3))
    if dots and draw(st.booleans()):
        letters.insert(draw(st.integers(0, len(letters))), "...")
    return "".join(letters)


@st.composite
def calls(draw: Draw) -> tuple[str, list[Shape]]:
    """An equation, and shapes that mostly fit it."""
    inputs = draw(st.lists(terms(), min_size=1, max_size=3))
    shapes = []
    for term in inputs:
        shape: list[int] = []
        for letter in term.replace("...", "."):
            if letter == ".":
                shape += draw(st.lists(st.sampled_from([1, 3]), max_size=2))
            else:
                size = SIZES[letter]
                shape.append(draw(st.sampled_from([size] * 8 + [1, 1, 0, 5])))
        if draw(st.integers(0, 20)) == 0:
            shape.append(2)
        shapes.append(tuple(shape))
    text = ",".join(inputs)
    if draw(st.booleans()):
        text += "->" + draw(terms())
    return text, shapes


def by_torch(text: str, shapes: list[Shape]) -> Shape | None:
    """The shape that torch.einsum gives, or None where it refuses."""
    # With opt_einsum switched on, another parser reads the equations of three operands and more.
    with torch.backends.opt_einsum.flags(enabled=False):
        try:
            return tuple(torch.einsum(text, *[torch.ones(shape) for shape in shapes]).shape)
        except RuntimeError:
            return None


def by_us(text: str, shapes: list[Shape]) -> Shape | None:
    """The shape of the equation as it is read here, or None where it is refused."""
    try:
        equation = read(text, shapes)
    except RequestError:
        return None
    return equation.shape(equation.output)


@settings(max_examples=300)
@given(calls())
def test_read_as_torch_reads(call: tuple[str, list[Shape]]) -> None:
    """Equations that torch.einsum takes are taken, with the same shape; others are refused."""
    text, shapes = call
    assert by_us(text, shapes) == by_torch(text, shapes)


@settings(max_examples=300)
@given(st.text("ij ,.->", max_size=10), st.integers(1, 3))
def test_grammar_is_torch_s(text: str, count: int) -> None:
    """A text of the equation's symbols in any order is read as torch.einsum reads it."""
    shapes: list[Shape] = [
        (2,) * sum(part in "ij" for part in term)
        for term in text.replace(" ", "").partition("->")[0].split(",")
    ]
    shapes = (shapes * count)[:count] if len(shapes) < count else shapes
    assert by_us(text, shapes) == by_torch(text, shapes)


@settings(max_examples=200)
@given(calls(), st.sampled_from(OPTIMIZERS))
def test_same_numbers(call: tuple[str, list[Shape]], optimize: str) -> None:
    """The explicit equation, step by step along any path, gives what torch.einsum gives."""
    text, shapes = call
    assume(by_torch(text, shapes) is not None)
    random = np.random.default_rng(0)
    arrays = [random.random(shape) for shape in shapes]
    equation = read(text, shapes)
    left = [
        np.broadcast_to(array, equation.shape(term))
        for array, term in zip(arrays, equation.inputs, strict=True)
    ]
    for step in contraction_steps(equation, optimize):
        taken = [left[position] for position in step.positions]
        left = [array for i, array in enumerate(left) if i not in step.positions]
        left.append(np.einsum(str(step.equation), *taken))
    (result,) = left
    with torch.backends.opt_einsum.flags(enabled=False):
        expected = torch.einsum(text, *map(torch.from_numpy, arrays)).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@settings(max_examples=300)
@given(st.lists(terms(dots=False), min_size=1, max_size=3), terms(dots=False))
def test_numpy_agrees(inputs: list[str], output: str) -> None:
    """The shape is that of numpy.einsum, if it gives one."""
    text = f"{','.join(inputs)}->{output}"
    shapes = [tuple(SIZES[letter] for letter in term) for term in inputs]
    try:
        expected = np.einsum(text, *[np.ones(shape) for shape in shapes]).shape
    except ValueError:
        assert by_us(text, shapes) is None
    else:
        assert by_us(text, shapes) == expected


@pytest.mark.parametrize(
    ("text", "detail", "hint"),
    [
        pytest.param(
            "ik,kj>ij",
            "position 5: '>' does not fit; an equation has letters, commas, one '->', "
            "and one '...' in a term at most",
            "did you mean `->`? 'ik,kj->ij' can be read",
            id="half an arrow",
        ),
        pytest.param(
            "ij=>ji", "position 2: '='", "did you mean `->`? 'ij->ji' can be read", id="fat"
        ),
        pytest.param(
            "ij→ji", "position 2: '→'", "did you mean `->`? 'ij->ji' can be read", id="sign"
        ),
        pytest.param(
            "ij=ji", "position 2: '='", "did you mean `->`? 'ij->ji' can be read", id="eq"
        ),
        pytest.param(
            "ij-ji", "position 2: '-'", "did you mean `->`? 'ij->ji' can be read", id="dash"
        ),
        pytest.param("i1->i", "position 1: '1'", None, id="digit"),
        pytest.param("i..->i", "position 1: '.'", None, id="two dots"),
        pytest.param("...i...->i", "position 4: '.'", None, id="dots twice"),
        pytest.param("i->i,i", "position 4: ','", None, id="comma in the result"),
        pytest.param("i->i->i", "position 4: '-'", None, id="two arrows"),
        pytest.param("ij\n", "position 2: '\\n'", None, id="line end"),
        pytest.param("é", "position 0: 'é'", None, id="another letter"),
        pytest.param("ij,jk", "the equation has 2 terms; there is 1 operand", None, id="terms"),
        pytest.param("ij->ii", "position 5: the result names 'i' twice", None, id="letter twice"),
        pytest.param(
            "ij->ik",
            "position 5: no operand has the result's letter 'k'",
            "the operands have i, j",
            id="letter unknown",
        ),
        pytest.param(
            "...->k",
            "position 5: no operand has the result's letter 'k'",
            None,
            id="no letter known",
        ),
        pytest.param(
            "...j->k",
            "position 6: no operand has the result's letter 'k'",
            "the operands have j",
            id="letters of dots are not told",
        ),
    ],
)
def test_wrong_equation(text: str, detail: str, hint: str | None) -> None:
    """An error gives position and symbol, and a corrected equation if one can be read."""
    with pytest.raises(InvalidEquationError) as caught:
        read(text, [(2, 2)])
    assert caught.value.detail.startswith(detail)
    assert caught.value.hint == hint
    assert caught.value.places == (Place("/equation", "this equation"),)


def test_more_axes_than_letters() -> None:
    """The axes of an ellipsis take unused letters, of which there are 52 in all."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    chunks = [letters[i : i + 13] for i in range(0, 52, 13)]
    shapes: list[Shape] = [(1,) * 13] * 4
    assert read(",".join([*chunks, "..."]) + "->", [*shapes, ()]).multiply_adds == 1
    with pytest.raises(InvalidEquationError, match="more axes than letters"):
        read(",".join([*chunks, "..."]) + "->", [*shapes, (1,)])


@pytest.mark.parametrize(
    ("text", "shapes", "detail", "hint", "place"),
    [
        pytest.param(
            "ijk->i",
            [(2, 3)],
            "term 'ijk' names 3 axes and operand 0 has rank 2: its shape is (2, 3)",
            None,
            Place("/operands/0", "rank 2"),
            id="rank",
        ),
        pytest.param(
            "ij...->i",
            [(2,)],
            "term 'ij...' names 2 axes and operand 0 has rank 1: its shape is (2,)",
            None,
            Place("/operands/0", "rank 1"),
            id="dots and rank",
        ),
        pytest.param(
            "ij,jk->ik",
            [(2, 3), (2, 3)],
            "letter 'j' has size 3 in operand 0, axis 1 and 2 in operand 1, axis 0",
            "operand 1 transposed has shape (3, 2) and fits",
            Place("/operands/1", "axis 0 has size 2"),
            id="sizes, transposed",
        ),
        pytest.param(
            "ij,jk->ik",
            [(2, 3), (4, 5)],
            "letter 'j' has size 3 in operand 0, axis 1 and 4 in operand 1, axis 0",
            None,
            Place("/operands/1", "axis 0 has size 4"),
            id="sizes",
        ),
        pytest.param(
            "i,i,i",
            [(1,), (3,), (2,)],
            "letter 'i' has size 3 in operand 1, axis 0 and 2 in operand 2, axis 0",
            None,
            Place("/operands/2", "axis 0 has size 2"),
            id="sizes after 1",
        ),
        pytest.param(
            "ii->i",
            [(1, 3)],
            "letter 'i' has size 1 in axis 0 and 3 in operand 0, axis 1",
            None,
            Place("/operands/0", "axis 1 has size 3"),
            id="no square",
        ),
        pytest.param(
            "...,...",
            [(2,), (3,)],
            "an axis of '...' has size 2 in operand 0, axis 0 and 3 in operand 1, axis 0",
            None,
            Place("/operands/1", "axis 0 has size 3"),
            id="dots",
        ),
    ],
)
def test_wrong_shapes(
    text: str, shapes: list[Shape], detail: str, hint: str | None, place: Place
) -> None:
    """An error names letter, sizes and operands, and a transposition with which they fit."""
    with pytest.raises(ShapeMismatchError) as caught:
        read(text, shapes)
    assert (caught.value.detail, caught.value.hint) == (detail, hint)
    assert caught.value.places == (place,)


def test_equation() -> None:
    """An equation has its letters, their sizes and the product of these."""
    equation = read(" b i j , b j k ", [(5, 2, 3), (1, 3, 4)])
    assert str(equation) == "bij,bjk->ik"
    assert equation.sizes == {"b": 5, "i": 2, "j": 3, "k": 4}
    assert equation.summed == "bj"
    assert equation.shape("kb") == (4, 5)
    assert equation.multiply_adds == 120


def test_indices() -> None:
    """Every letter takes every index, the result's letters first."""
    equation = read("ij->j", [(2, 3)])
    indices = list(equation.indices())
    assert len(indices) == 6
    assert indices[:2] == [{"j": 0, "i": 0}, {"j": 0, "i": 1}]
    assert list(read("ij->", [(0, 3)]).indices()) == []
    assert list(read("->", [()]).indices()) == [{}]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_by_name(name: str) -> None:
    """Each optimizer is its name."""
    assert parse_optimize(name) == name


def test_path_of_positions() -> None:
    """A path is a list of lists of positions."""
    assert parse_optimize([[0, 2], [1, 0]]) == ((0, 2), (1, 0))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("best", id="unknown"),
        pytest.param([], id="no step"),
        pytest.param([[]], id="empty step"),
        pytest.param([0, 1], id="no list in it"),
        pytest.param([[0, True]], id="boolean"),
        pytest.param([[0, 1.5]], id="float"),
        pytest.param([[0]] * 65, id="too many steps"),
        pytest.param(None, id="null"),
    ],
)
def test_no_optimizer(value: object) -> None:
    """Anything else is refused with the choices."""
    with pytest.raises(InvalidFieldError, match="optimize is one of auto, greedy, optimal, none"):
        parse_optimize(value)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        pytest.param(((0, 0), (0, 1)), "step [0, 0] of the path does not name", id="twice"),
        pytest.param(((0, 3),), "step [0, 3] of the path does not name", id="beyond"),
        pytest.param(((-1, 0),), "step [-1, 0] of the path does not name", id="negative"),
        pytest.param(((0, 1),), "the path leaves 2 operands; it must contract all 3", id="stops"),
        pytest.param(
            ((0, 1, 2), (0, 1)),
            "step [0, 1] of the path does not name different ones of 1",
            id="on",
        ),
    ],
)
def test_wrong_path(path: Path, detail: str) -> None:
    """A path contracts operands that exist, each once, into one."""
    with pytest.raises(InvalidFieldError) as caught:
        find_path("i,i,i->", ((2,), (2,), (2,)), path)
    assert caught.value.detail.startswith(detail)
    assert caught.value.places[0].pointer == "/optimize"


def test_long_step_is_not_repeated() -> None:
    """Of a step of many positions, the error repeats the beginning."""
    with pytest.raises(InvalidFieldError) as caught:
        find_path("i,i->", ((2,), (2,)), (tuple(range(10_000)),))
    assert len(caught.value.detail) < 200
    assert len(caught.value.places[0].detail) < 100


@pytest.mark.parametrize(
    ("count", "path"),
    [
        pytest.param(1, ((0,),), id="one"),
        pytest.param(2, ((0, 1),), id="two"),
        pytest.param(3, ((0, 1), (0, 1)), id="three"),
        pytest.param(5, ((0, 1), (0, 3), (0, 2), (0, 1)), id="five"),
    ],
)
def test_left_to_right(count: int, path: Path) -> None:
    """Without an optimizer, the result so far is contracted with the next operand."""
    assert find_path(",".join("i" * count) + "->", ((2,),) * count, "none") == path
    equation = read(",".join("abcde"[:count]), [(2,)] * count)
    steps = contraction_steps(equation, "none")
    assert steps[-1].equation.output == "abcde"[:count]
    assert [step.equation.inputs[0] for step in steps[1:]] == list("abcde"[2:count])


def test_optimal_has_a_limit() -> None:
    """Trying every order is for few operands; more are refused, with what takes them."""
    most = MAX_OPTIMAL_OPERANDS
    text = ",".join(["ij"] * most)
    assert len(find_path(text + "->", ((2, 2),) * most, "optimal")) == most - 1
    with pytest.raises(InvalidFieldError, match=f"at most {most} operands; there are") as caught:
        find_path(text + ",ij->", ((2, 2),) * (most + 1), "optimal")
    assert caught.value.hint == '"optimize": "auto" takes any number'
    assert len(find_path(text + ",ij->", ((2, 2),) * (most + 1), "auto")) == most


@pytest.mark.parametrize("optimize", ["auto", "greedy", "none"])
@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(lambda i: "ab", id="all the same"),
        pytest.param(lambda i: "a" + "bcdefgh"[i % 7], id="star"),
        pytest.param(lambda i: chr(ord("a") + i % 26) + chr(ord("A") + i // 26), id="grid"),
        pytest.param(lambda i: "", id="numbers"),
    ],
)
def test_many_operands(pattern: Callable[[int], str], size: int, optimize: str) -> None:
    """64 operands of any pattern, empty ones too, have a path."""
    inputs = [pattern(i) for i in range(64)]
    equation = read(",".join(inputs) + "->", [(size,) * len(term) for term in inputs])
    steps = contraction_steps(equation, optimize)
    assert len(steps) == 63
    assert steps[-1].equation.output == ""


@st.composite
def dense(draw: Draw) -> Equation:
    """Three to six operands of letters with different sizes, and some of them as a result."""
    inputs = draw(
        st.lists(
            st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True).map("".join),
            min_size=3,
            max_size=6,
        )
    )
    used = sorted(set("".join(inputs)))
    output = "".join(draw(st.lists(st.sampled_from(used), max_size=3, unique=True)))
    sizes = dict(zip("abcdef", (2, 3, 5, 7, 11, 13), strict=True))
    return read(f"{','.join(inputs)}->{output}", [tuple(sizes[c] for c in term) for term in inputs])


@settings(max_examples=200)
@given(dense(), st.sampled_from(["auto", "greedy", "optimal", "none"]))
def test_multiply_adds(equation: Equation, optimize: str) -> None:
    """The steps' multiply-adds are the sizes that opt_einsum multiplies for the same path."""
    shapes = tuple(map(equation.shape, equation.inputs))
    steps = contraction_steps(equation, optimize)
    path = [step.positions for step in steps]
    _, info = opt_einsum.contract_path(str(equation), *shapes, shapes=True, optimize=path)
    for step, (_, _, text, _, _) in zip(steps, info.contraction_list, strict=True):
        letters = set(text) - set(",->")
        assert step.equation.multiply_adds == prod(equation.sizes[c] for c in letters)


def test_path_of_single_operands() -> None:
    """A step may rearrange or reduce one operand; the last step gives the result."""
    equation = read("ij,jk->ki", [(2, 3), (3, 4)])
    steps = contraction_steps(equation, ((0,), (0, 1), (0,)))
    assert [str(step.equation) for step in steps] == ["ij->ij", "jk,ij->ki", "ki->ki"]
