"""Builder of a chain: several operations in one request, whose results stay in the service.

`h = chain.matmul(x, w)` adds a step, and `h` is an operand of later ones. `chain.run(y)` sends all
steps, and returns an array for each result that is named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

from tensor_service_client.arrays import Operand
from tensor_service_client.calls import INFINITE, Call, given
from tensor_service_client.errors import InvalidArgumentError
from tensor_service_client.operands import named, operand_of

Sent = TypeVar("Sent")


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """The result of a step, which is an operand of later steps of the same chain."""

    chain: "Chain[Any]"
    name: str


StepOperand: TypeAlias = "Operand | StepResult"


class Chain(Generic[Sent]):
    """Steps that are sent together. Each method adds one, and returns what stands for its result.

    An array that several steps take is sent once. Numbers stand in the steps.
    """

    def __init__(self, send: Callable[[Call[Any]], Sent], options: Mapping[str, Any]):
        """Begin without steps; `send` sends the call of all, whose fields are `options`."""
        self._send, self._options = send, options
        self._steps: list[dict[str, Any]] = []
        self._given: list[object] = []  # as they came: an array is found again by its identity
        self._operands: list[Operand] = []

    def matmul(self, a: StepOperand, b: StepOperand, *, strategy: str | None = None) -> StepResult:
        """Add a product of two matrices, or of batches of them."""
        return self._add("matmul", {"a": a, "b": b}, {}, strategy)

    def einsum(
        self,
        equation: str,
        *operands: StepOperand,
        optimize: str | Sequence[Any] | None = None,
        strategy: str | None = None,
    ) -> StepResult:
        """Add a sum of products by an `equation`."""
        fields = {"equation": equation, "optimize": optimize}
        return self._add("einsum", operands, fields, strategy)

    def norm(
        self,
        x: StepOperand,
        *,
        ord: SupportsFloat | str | None = None,  # its name in torch and numpy
        dim: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdim: bool | None = None,
        kind: Literal["auto", "vector", "matrix"] | None = None,
        strategy: str | None = None,
    ) -> StepResult:
        """Add a norm of vectors or matrices."""
        fields = {"ord": ord, "dim": dim, "keepdim": keepdim, "kind": kind}
        return self._add("norm", {"x": x}, fields, strategy)

    def broadcast(
        self,
        *operands: StepOperand,
        op: str | None = None,
        views: Sequence[str | None] | None = None,
        to: Sequence[SupportsIndex] | None = None,
        strategy: str | None = None,
    ) -> StepResult:
        """Add an elementwise `op` of operands that are aligned from the right."""
        return self._add("broadcast", operands, {"op": op, "views": views, "to": to}, strategy)

    def call(self, *results: StepResult) -> Call[Any]:
        """Return the call of all steps, which can be planned; the last step's result by default."""
        for each in results:
            self._check(each)
        operands = {str(number): operand for number, operand in enumerate(self._operands)}
        fields: dict[str, Any] = {"steps": self._steps}
        if results:
            fields["results"] = [each.name for each in results]
        return Call("chain", operands, given(self._options) | fields, listed=True)

    def run(self, *results: StepResult) -> Sent:
        """Compute all steps, and return the answer with these results, in their order."""
        return self._send(self.call(*results))

    def _add(
        self,
        operation: str,
        operands: Mapping[str, StepOperand] | Sequence[StepOperand],
        fields: Mapping[str, Any],
        strategy: str | None,
    ) -> StepResult:
        step: dict[str, Any] = {"name": f"{operation}{len(self._steps)}", "operation": operation}
        if isinstance(operands, Mapping):
            step |= named(self._reference, operands)
        else:
            numbered = {str(number): operand for number, operand in enumerate(operands)}
            step["operands"] = [*named(self._reference, numbered).values()]
        step |= given(fields, strategy=strategy)
        if isinstance(order := step.get("ord"), str):
            step["ord"] = INFINITE.get(order, order)
        self._steps.append(step)
        return StepResult(self, step["name"])

    def _reference(self, value: Any) -> object:
        """Return what stands for an operand in a step."""
        if isinstance(value, StepResult):
            self._check(value)
            return {"step": value.name}
        if isinstance(value, int | float):
            return value
        for number, known in enumerate(self._given):
            if known is value:
                return {"operand": number}
        self._operands.append(operand_of(value))
        self._given.append(value)
        return {"operand": len(self._operands) - 1}

    def _check(self, result: StepResult) -> None:
        if result.chain is not self:
            raise InvalidArgumentError(f"{result.name!r} is a step of another chain")
