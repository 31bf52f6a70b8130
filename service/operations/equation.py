"""Einsum equations: grammar (that of torch.einsum), sizes, and the path of contractions.

An equation is read once into explicit terms without ellipses; strategies get only those.
"""

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Final

import opt_einsum

from service.core.call import Shape, Tensor
from service.core.validators import integers
from service.errors import (
    InvalidEquationError,
    InvalidFieldError,
    Place,
    ShapeMismatchError,
    counted,
    quote,
)

LETTERS: Final = frozenset(string.ascii_letters)
_TERM: Final = r"[A-Za-z ]*(?:\.\.\.[A-Za-z ]*)?"
GRAMMAR: Final = re.compile(rf"{_TERM}(?:,{_TERM})*(?:->{_TERM})?")
OPTIMIZERS: Final = ("auto", "greedy", "optimal", "none")
# `optimal` tries every order: 12 ms at most for 6 operands, 100 ms for 7, seconds for 8. `auto`
# takes 15 ms for 6 operands, where it tries as many, and 10 ms for 64.
MAX_OPTIMAL_OPERANDS: Final = 6
Path = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """Explicit terms, one letter for each axis, and the size of each letter."""

    inputs: tuple[str, ...]
    output: str
    sizes: dict[str, int]

    def __str__(self) -> str:
        """The equation in the notation of torch and numpy."""
        return f"{','.join(self.inputs)}->{self.output}"

    @property
    def summed(self) -> str:
        """Letters that are absent from the result."""
        return "".join(letter for letter in self.sizes if letter not in self.output)

    def shape(self, term: str) -> Shape:
        """Return the sizes of the letters of `term`."""
        return tuple(self.sizes[letter] for letter in term)

    def indices(self) -> Iterator[dict[str, int]]:
        """Yield every assignment of an index to each letter: one loop for each letter."""
        for values in product(*map(range, self.sizes.values())):
            yield dict(zip(self.sizes, values, strict=True))

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds: the product of all sizes."""
        return prod(self.sizes.values())


@dataclass(frozen=True, slots=True)
class Step:
    """One contraction of the operands at `positions`.

    They are removed from the list of operands, and their result is appended to it.
    """

    positions: tuple[int, ...]
    equation: Equation


def read(text: str, shapes: Sequence[Shape]) -> Equation:
    """Return the explicit equation of `text` for operands of these shapes.

    Raises InvalidEquationError for the grammar, with the position, and ShapeMismatchError for
    ranks and sizes.
    """
    left, arrow, right = _split(text)
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise InvalidEquationError(
            f"the equation has {counted(len(terms), 'term')}; there "
            f"{'is' if len(shapes) == 1 else 'are'} {counted(len(shapes), 'operand')}",
            places=[_PLACE],
        )
    spare = sorted(LETTERS - set(text), reverse=True)
    ellipses = [
        len(shape) - len(term.replace("...", "")) if "..." in term else 0
        for term, shape in zip(terms, shapes, strict=True)
    ]
    width = max(ellipses)
    if width > len(spare):
        raise InvalidEquationError("the equation has more axes than letters", places=[_PLACE])
    dots = "".join(spare[:width])
    inputs = []
    for number, (term, shape, rank) in enumerate(zip(terms, shapes, ellipses, strict=True)):
        explicit = term.replace("...", dots[width - rank :] if rank > 0 else "")
        if len(explicit) != len(shape):
            raise ShapeMismatchError(
                f"term {quote(term)} names {len(explicit)} axes and operand {number} has "
                f"rank {len(shape)}: its shape is {shape}",
                places=[Place(f"/operands/{number}", f"rank {len(shape)}")],
            )
        inputs.append(explicit)
    letters = "".join(inputs)
    output = right.replace("...", dots)
    if not arrow:
        named = sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1)
        output = dots + "".join(named)
    _check_output(text, output, letters)
    sizes = _sizes(text, inputs, shapes)
    order = output + "".join(dict.fromkeys(c for c in letters if c not in output))
    return Equation(tuple(inputs), output, {letter: sizes[letter] for letter in order})


_PLACE: Final = Place("/equation", "this equation")


def _split(text: str) -> tuple[str, str, str]:
    """Split at the arrow, without spaces; an error names the first symbol that does not fit."""
    if not GRAMMAR.fullmatch(text):
        position = GRAMMAR.match(text).end()  # type: ignore[union-attr]  # it matches nothing too
        raise InvalidEquationError(
            f"position {position}: {text[position]!r} does not fit; an equation has letters, "
            "commas, one '->', and one '...' in a term at most",
            hint=_repair(text),
            places=[_PLACE],
        )
    return text.replace(" ", "").partition("->")


def _repair(text: str) -> str | None:
    """Return a hint with a corrected arrow, if that makes the equation readable."""
    for wrong in ("=>", "→", "=", ">", "-"):
        repaired = text.replace(wrong, "->")
        if repaired != text and GRAMMAR.fullmatch(repaired):
            return f"did you mean `->`? {quote(repaired)} can be read"
    return None


def _check_output(text: str, output: str, letters: str) -> None:
    """Raise unless each letter of the result occurs in it once, and in an operand."""
    named = sorted(set(letters).intersection(text))
    for letter in output:
        position = text.rfind(letter)
        if output.count(letter) > 1:
            raise InvalidEquationError(
                f"position {position}: the result names {letter!r} twice", places=[_PLACE]
            )
        if letter not in letters:
            raise InvalidEquationError(
                f"position {position}: no operand has the result's letter {letter!r}",
                hint=f"the operands have {', '.join(named)}" if named else None,
                places=[_PLACE],
            )


def _sizes(text: str, inputs: Sequence[str], shapes: Sequence[Shape]) -> dict[str, int]:
    """Return the size of each letter, which is equal or 1 in all operands that have the letter."""
    sizes: dict[str, int] = {}
    places: dict[str, str] = {}
    for number, (term, shape) in enumerate(zip(inputs, shapes, strict=True)):
        for axis, (letter, size) in enumerate(zip(term, shape, strict=True)):
            named = f"letter {letter!r}" if letter in text else "an axis of '...'"
            here = f"operand {number}, axis {axis}"
            repeated = term.index(letter)
            known = shape[repeated] if repeated < axis else sizes.get(letter, size)
            if size != known and (repeated < axis or 1 not in (size, known)):
                where = f"axis {repeated}" if repeated < axis else places[letter]
                raise ShapeMismatchError(
                    f"{named} has size {known} in {where} and {size} in {here}",
                    hint=_transposed_hint(inputs, shapes, number),
                    places=[Place(f"/operands/{number}", f"axis {axis} has size {size}")],
                )
            if sizes.get(letter, 1) == 1:
                sizes[letter], places[letter] = size, here
    return sizes


def _transposed_hint(inputs: Sequence[str], shapes: Sequence[Shape], number: int) -> str | None:
    """Return the hint to transpose the operand, if the sizes agree then."""
    transposed = [shape[::-1] if i == number else shape for i, shape in enumerate(shapes)]
    sizes: dict[str, int] = {}
    for term, shape in zip(inputs, transposed, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                return None
    return f"operand {number} transposed has shape {transposed[number]} and fits"


def parse_optimize(value: object) -> str | Path:
    """Parse the order of contractions: one of OPTIMIZERS, or a path of positions."""
    if isinstance(value, str) and value in OPTIMIZERS:
        return value
    if isinstance(value, list) and 0 < len(value) <= 64:
        steps = tuple(step for step in map(integers, value) if step)
        if len(steps) == len(value):
            return steps
    raise InvalidFieldError(
        f"optimize is one of {', '.join(OPTIMIZERS)}, or a path such as [[0, 1], [0, 1]]; "
        f"it was {quote(value)}",
        places=[Place("/optimize", "not an optimizer, not a path")],
    )


def contraction_steps(equation: Equation, optimize: str | Path) -> tuple[Step, ...]:
    """Return the steps of the contraction, in order. No tensor is allocated."""
    order = find_path(
        str(equation), tuple(equation.shape(term) for term in equation.inputs), optimize
    )
    terms = list(equation.inputs)
    steps = []
    for number, positions in enumerate(order):
        taken = tuple(terms[i] for i in positions)
        for i in sorted(positions, reverse=True):
            del terms[i]
        last = number == len(order) - 1
        needed = set(equation.output).union(*terms)
        letters = dict.fromkeys("".join(taken))
        result = equation.output if last else "".join(c for c in letters if c in needed)
        both = dict.fromkeys([*result, *letters])
        steps.append(Step(positions, Equation(taken, result, {c: equation.sizes[c] for c in both})))
        terms.append(result)
    return tuple(steps)


@lru_cache(maxsize=1024)
def find_path(text: str, shapes: tuple[Shape, ...], optimize: str | Path) -> Path:
    """Return the order of contractions, as positions in the shrinking list of operands."""
    count = len(shapes)
    if not isinstance(optimize, str):
        return _checked(optimize, count)
    if count <= 2:
        return (tuple(range(count)),)
    if optimize == "none":
        return ((0, 1), *((0, rest) for rest in range(count - 2, 0, -1)))
    if optimize == "optimal" and count > MAX_OPTIMAL_OPERANDS:
        raise InvalidFieldError(
            f"optimal tries every order, for at most {MAX_OPTIMAL_OPERANDS} operands; "
            f"there are {count}",
            hint='"optimize": "auto" takes any number',
            places=[Place("/optimize", f"optimal, with {count} operands")],
        )
    path, _ = opt_einsum.contract_path(text, *shapes, shapes=True, optimize=optimize)
    return tuple(tuple(sorted(step)) for step in path)


def _checked(path: Path, count: int) -> Path:
    """Return `path` if each step names different operands that exist and one operand is left."""
    left = count
    for step in path:
        if len(set(step)) < len(step) or not all(0 <= i < left for i in step):
            raise InvalidFieldError(
                f"step {quote(list(step))} of the path does not name different ones "
                f"of {left} operands",
                places=[Place("/optimize", f"step {quote(list(step))}")],
            )
        left -= len(step) - 1
    if left != 1:
        raise InvalidFieldError(
            f"the path leaves {left} operands; it must contract all {count} into one",
            places=[Place("/optimize", f"leaves {left} operands")],
        )
    return path


def along(x: Tensor, term: str, letters: str) -> Tensor:
    """Return a view of x with one axis for each of `letters`, of size 1 for those not in `term`."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.rindex(letter)
            x = x.diagonal(0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    x = x.permute([term.index(letter) for letter in letters if letter in term])
    return x[tuple(slice(None) if letter in term else None for letter in letters)]
