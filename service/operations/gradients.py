"""Gradients of einsum, each as an einsum of the upstream gradient and the other operands.

The gradient of an operand is the product of the upstream gradient, which has the letters of the
result, and of the other operands, summed over the letters that the operand does not have. Where
these letters do not give all axes of the operand, constants do:

ones        for a letter that only the operand has, or to whose size the others are stretched; and
            for an axis of size 1 that was stretched, which is summed: with a new letter
identity    for a letter that the operand repeats, whose diagonal alone was read
"""

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch

from service.core.call import Shape, Stored, Tensor, stored
from service.core.dtypes import COMPLEX, FLOATS, describe
from service.errors import InvalidEquationError, Place, UnsupportedDtypeError
from service.operations.einsum.definition import InferredEinsum
from service.operations.equation import Equation, read
from service.registry import Inferred

UPSTREAM: Final = "upstream"
# Letters of new axes: readers expect small ones.
NEW_LETTERS: Final = string.ascii_lowercase + string.ascii_uppercase


@dataclass(frozen=True, slots=True)
class Factor:
    """An operand of the einsum of a gradient; `position` is that of an operand of the call."""

    kind: Literal["upstream", "operand", "ones", "identity"]
    term: str
    shape: Shape
    name: str
    position: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """Kind, position and shape, by which factors have the same elements."""
        return self.kind, self.position, self.shape

    @property
    def code(self) -> str:
        """The factor in a line of torch, with the dtype and the device of the upstream gradient."""
        if self.kind == "ones":
            return f"{UPSTREAM}.new_ones({', '.join(map(str, self.shape))})"
        if self.kind == "identity":
            return f"torch.eye({self.shape[0]}).to({UPSTREAM})"
        return self.name

    def tensor(self, upstream: Tensor, operands: Sequence[Tensor]) -> Tensor:
        """Return the factor of a call with these operands."""
        if self.kind == "operand":
            return _conjugated(operands[self.position])
        if self.kind == "ones":
            return ones(self.shape, upstream.dtype)
        if self.kind == "identity":
            return torch.eye(self.shape[0], dtype=upstream.dtype)
        return upstream


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient of the operand `name`, whose term in the call is `term`, as an einsum.

    The operand was `stretched` along these letters, where its size is 1.
    """

    name: str
    term: str
    stretched: str
    equation: Equation
    factors: tuple[Factor, ...]

    @property
    def has_identity(self) -> bool:
        """True if the gradient is 0 but for a diagonal."""
        return any(factor.kind == "identity" for factor in self.factors)

    def zero_elsewhere(self, result: Tensor) -> Tensor:
        """Return the result with zeros off the diagonal, where it has NaN.

        There it is NaN if the other factors are not finite: 0 times infinity, for one.
        """
        if bool(result.isfinite().all()):
            return result
        for factor in self.factors:
            if factor.kind == "identity":
                first, second = (self.equation.output.index(letter) for letter in factor.term)
                size = factor.shape[0]
                shape = [size if axis in (first, second) else 1 for axis in range(result.ndim)]
                diagonal = torch.eye(size, dtype=torch.bool, device=result.device).reshape(shape)
                result = torch.where(diagonal, result, 0)
        return result

    @property
    def shape(self) -> Shape:
        """Shape of the operand, and of its gradient."""
        return self.equation.shape(self.equation.output)

    @property
    def reproduce(self) -> str:
        """The gradient as one line of torch."""
        operands = ", ".join(factor.code for factor in self.factors)
        return f'torch.einsum("{self.equation}", {operands})'

    @property
    def matrix_product(self) -> str | None:
        """The gradient by `@`, if it is a product of two matrices or of two equal batches."""
        if any(factor.shape != self.equation.shape(factor.term) for factor in self.factors):
            return None
        output = self.equation.output
        if len(self.factors) != 2 or len(output) < 2 or len(self.equation.summed) != 1:
            return None
        batch, row, column, summed = output[:-2], output[-2], output[-1], self.equation.summed
        for first, second in (self.factors, self.factors[::-1]):
            left = _matrix(first, batch, row + summed)
            right = _matrix(second, batch, summed + column)
            if left is not None and right is not None:
                return f"{left} @ {right}"
        return None

    @property
    def explanation(self) -> str:
        """Sentences with its factors, its sums, and the reason for each constant."""
        product = " times ".join(f"{factor.name} [{factor.term}]" for factor in self.factors)
        summed = f", summed over {_listed(self.equation.summed)}," if self.equation.summed else ""
        code = f": {self.matrix_product}" if self.matrix_product else ""
        text = (
            f"The gradient of {self.name}: {product}{summed} gives [{self.equation.output}]{code}."
        )
        return " ".join([text, *self._reasons()])

    def _reasons(self) -> Iterator[str]:
        """Yield the reason for each kind of factor that a product of matrices does not have."""
        terms = dict.fromkeys(("operand", "ones", "identity"), "")
        for factor in self.factors[1:]:
            terms[factor.kind] += factor.term
        repeated = "".join(c for c in terms["ones"] if c in terms["operand"])
        alone = "".join(c for c in terms["ones"] if c in self.term and c not in repeated)
        if alone:
            yield f"Only {self.name} has {_listed(alone)}: each element there counts alike."
        if repeated:
            yield f"Along {_listed(repeated)} other operands have size 1 and were stretched."
        if self.stretched:
            yield (
                f"Along {_listed(self.stretched)} {self.name} has size 1 and was stretched: "
                "its gradient is a sum there."
            )
        if terms["identity"]:
            yield f"Only the diagonal of {self.name} was read: the gradient is 0 elsewhere."


@dataclass(frozen=True, slots=True)
class Gradients:
    """The gradients of all operands of a call, in their order, and the call as an equation."""

    equation: Equation
    members: tuple[Gradient, ...]


def ones(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Return a tensor of ones that stores a single element: all strides are 0."""
    return torch.ones((), dtype=dtype).expand(shape)


def _conjugated(x: Tensor) -> Tensor:
    """Return complex numbers conjugated, an array in a file when it is read; others as they are."""
    if not x.is_complex():
        return x
    if isinstance(x, Stored):
        return stored(x.label, x.dtype, x.source, lambda: x.load().conj().resolve_conj())
    return x.conj().resolve_conj()


def find_gradients(inferred: Inferred) -> Gradients:
    """Return the gradient of each operand of a call of einsum or matmul.

    Raises UnsupportedDtypeError for integers. Operands of a complex call are conjugated, which is
    torch's convention.
    """
    if inferred.dtype not in FLOATS | COMPLEX:
        raise UnsupportedDtypeError(
            f"gradients are of floats and complex numbers; the operands are of "
            f"{describe(inferred.dtype).name}",
            hint='send the operands with "dtype": "float32"',
        )
    shapes = [spec.shape for spec in inferred.specs]
    if isinstance(inferred, InferredEinsum):
        equation, names = inferred.equation, [f"x{number}" for number in range(len(shapes))]
    else:
        equation, names = _equation_of_matmul(shapes), ["a", "b"]
    codes = [f"{name}.conj()" if inferred.dtype in COMPLEX else name for name in names]
    members = (
        _gradient(equation, shapes, name, codes, position) for position, name in enumerate(names)
    )
    return Gradients(equation, tuple(members))


def _equation_of_matmul(shapes: Sequence[Shape]) -> Equation:
    """Return the equation of a product: a vector has no row, or no column, and no batch."""
    a, b = shapes
    left, row = ("...ij", "i") if len(a) > 1 else ("j", "")
    right, column = ("...jk", "k") if len(b) > 1 else ("j", "")
    return read(f"{left},{right}->...{row}{column}", shapes)


def _gradient(
    equation: Equation, shapes: Sequence[Shape], name: str, codes: Sequence[str], position: int
) -> Gradient:
    """Return the gradient of the operand at `position`; `codes` are those of all operands."""
    term, shape = equation.inputs[position], shapes[position]
    factors = [Factor("upstream", equation.output, equation.shape(equation.output), UPSTREAM)]
    for number, other in enumerate(equation.inputs):
        if number != position:
            factors.append(Factor("operand", other, shapes[number], codes[number], number))
    new_letters = (c for c in NEW_LETTERS if c not in equation.sizes)
    output, stretched = "", ""
    for letter, size in zip(term, shape, strict=True):
        if letter not in output and size == equation.sizes[letter]:
            output += letter
            continue
        new = next(new_letters, None)
        if new is None:
            raise InvalidEquationError(
                f"the gradient of {name} has more axes than there are letters",
                places=[Place("/equation", "too many letters")],
            )
        output += new
        if size == equation.sizes[letter]:
            factors.append(Factor("identity", letter + new, (size, size), "the identity"))
        elif letter not in stretched:
            stretched += letter
    known = {pair for factor in factors for pair in zip(factor.term, factor.shape, strict=True)}
    pairs = zip(output, shape, strict=True)
    ones = [axis for axis, pair in enumerate(pairs) if pair not in known]
    if ones:
        ones_term, ones_shape = "".join(output[i] for i in ones), tuple(shape[i] for i in ones)
        factors.append(Factor("ones", ones_term, ones_shape, "ones"))
    text = f"{','.join(factor.term for factor in factors)}->{output}"
    einsum = read(text, [factor.shape for factor in factors])
    return Gradient(name, term, stretched, einsum, tuple(factors))


def _matrix(factor: Factor, batch: str, letters: str) -> str | None:
    """Return the factor as code with the axes `batch` and these two, or None if it has others."""
    if factor.term == batch + letters:
        return factor.name
    return f"{factor.name}.mT" if factor.term == batch + letters[::-1] else None


def _listed(letters: str) -> str:
    """Return letters as words of a sentence."""
    return " and ".join(filter(None, [", ".join(letters[:-1]), letters[-1]]))
