"""References of sums of products: matrix products, einsum, sums of squares and of magnitudes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, TypeVar

import numpy as np
import torch

from service.compare.reference.evaluation import BUDGET_NS, EXACT, Array, Evaluation, Pair
from service.compare.reference.exact import (
    DigitSums,
    Rounded,
    carry,
    contract,
    digit_bits,
    integers,
    occupied,
    rounded,
    split,
)
from service.operations import equation as equations
from service.operations.einsum.definition import contract as follow
from service.operations.einsum.definition import stretched
from service.operations.equation import Equation, Step

# Estimated nanoseconds of the parts of the work.
SCAN_NS: Final = 20  # finding the digits of a number
DIGIT_NS: Final = 6  # splitting one off
CALL_NS: Final = 20_000  # a contraction
PRODUCT_NS: Final = 0.1  # a product in it
READ_NS: Final = 0.3  # a digit that it reads
SUM_NS: Final = 3  # a digit that it adds to a result
RESULT_NS: Final = 15  # rounding a digit of a result
T = TypeVar("T")
Finish = Callable[[Rounded], Pair]


def sum_of_products(
    text: str, operands: Sequence[Array], finish: Finish = Rounded.floats
) -> Evaluation:
    """Return the evaluation of an einsum: exact, until `finish` makes numbers of the sums."""
    equation = equations.read(text, [x.shape for x in operands])
    plan = ProductPlan(equation, equations.contraction_steps(equation, "auto"), tuple(operands))
    return Evaluation(EXACT, plan.cost_ns(), lambda: plan.compute(finish))


@dataclass(frozen=True, slots=True)
class ProductPlan:
    """An einsum in steps of one or two operands, which are int64, float64 or complex128."""

    equation: Equation
    steps: tuple[Step, ...]
    operands: tuple[Array, ...]

    @property
    def parts(self) -> bool:
        """True if numbers have real and imaginary parts."""
        return self.operands[0].dtype.kind == "c"

    @property
    def bits(self) -> int:
        """Length of the digits, of which the sums of all steps are exact."""
        summed = (prod(step.equation.shape(step.equation.summed)) for step in self.steps)
        return digit_bits(max(summed), parts=self.parts)

    def cost_ns(self) -> float:
        """Estimate the time; operands are read only if the time without that is moderate."""
        least = self._cost_ns([1] * len(self.operands))
        if least > BUDGET_NS:
            return least
        bits = self.bits
        counts = self._once(lambda x: len(occupied(_finite(x), bits)[1]))
        return self._cost_ns(counts)

    def _once(self, function: Callable[[Array], T]) -> list[T]:
        """Return the function of each operand; one that occurs twice is evaluated once."""
        found = {key: function(x) for key, x in {id(x): x for x in self.operands}.items()}
        return [found[id(x)] for x in self.operands]

    def _cost_ns(self, counts: Sequence[int]) -> float:
        """Estimate the time for operands of these numbers of digits."""
        times = 1 + self.parts
        digits = {id(x): x.size * k for x, k in zip(self.operands, counts, strict=True)}
        cost = float(sum(digits.values()) * DIGIT_NS)
        cost += sum(x.size for x in self.operands) * SCAN_NS
        left = list(counts)
        for step in self.steps:
            taken = [left[position] for position in step.positions]
            left = [k for number, k in enumerate(left) if number not in step.positions]
            left.append(sum(taken) + 1)
            results = prod(step.equation.shape(step.equation.output))
            read = sum(prod(step.equation.shape(term)) for term in step.equation.inputs)
            products = step.equation.multiply_adds * PRODUCT_NS * times + read * READ_NS
            cost += prod(taken) * (products + results * SUM_NS) + taken[0] * CALL_NS
            cost += left[-1] * results * RESULT_NS
        return times * cost

    def compute(self, finish: Finish) -> Pair:
        """Return the result; where an operand is not finite, it follows IEEE 754."""
        bits, parts = self.bits, self.parts
        left = self._once(lambda x: split(_finite(x), bits))
        sums: DigitSums | None = None
        for step in self.steps:
            taken = [left[position] for position in step.positions]
            left = [x for number, x in enumerate(left) if number not in step.positions]
            sums = contract(step.equation, taken, parts=parts)
            if step is not self.steps[-1]:
                left.append(carry(sums, bits))
        assert sums is not None  # noqa: S101  # there is a step at least
        if self.operands[0].dtype.kind == "i":
            values = integers(sums, bits)
            return values, np.zeros_like(values)
        high, low = finish(rounded(sums, bits))
        if parts:
            high, low = (np.ascontiguousarray(x).view(np.complex128)[..., 0] for x in (high, low))
        return self._with_special_values(high, low)

    def _with_special_values(self, high: Array, low: Array) -> Pair:
        """Return the values with NaN and infinities that come from those in the operands.

        They are found with the sign in place of each finite number, which cannot overflow.
        """
        if all(np.isfinite(x).all() for x in self.operands):
            return high, low
        signs = [torch.from_numpy(_signs(x)) for x in self.operands]
        tensors = stretched(self.equation, signs, torch.Tensor.expand)
        found = follow(self.steps, lambda step, *x: torch.einsum(str(step), *x), tensors).numpy()
        if not self.parts:
            special = ~np.isfinite(found)
            return np.where(special, found, high), np.where(special, 0, low)
        for part, high_part, low_part in (
            (found.real, high.real, low.real),
            (found.imag, high.imag, low.imag),
        ):
            special = ~np.isfinite(part)
            high_part[special], low_part[special] = part[special], 0
        return high, low


def _finite(x: Array) -> Array:
    """Return the parts of numbers on a last axis if they have any; 0 for those not finite."""
    if x.dtype.kind == "i":
        return x
    values = np.ascontiguousarray(x).reshape(x.shape)
    if x.dtype.kind == "c":
        values = values[..., None].view(np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def _signs(x: Array) -> Array:
    """Return the sign of each finite number, and others as they are."""
    if x.dtype.kind == "c":
        signs: Array = np.empty(x.shape, np.complex128)
        signs.real, signs.imag = _signs(x.real), _signs(x.imag)
        return signs
    return np.where(np.isfinite(x), np.sign(x), x)
