"""Steps of a chain: what each takes, and the results that they have."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service.core.call import Spec, Tensor
from service.core.dtypes import BOOL, promote
from service.errors import (
    InvalidFieldError,
    Place,
    ServiceError,
    UnsupportedDtypeError,
    did_you_mean,
    quote,
    quote_names,
)
from service.registry import Inferred, Op

# The position of an operand of the request, or the name of an earlier step.
Source = int | str


@dataclass(frozen=True, slots=True)
class ChainStep:
    """One call of a chain: an operation on the values that `sources` name."""

    name: str
    op: Op[Any]
    sources: tuple[Source, ...]
    params: Mapping[str, object] = field(default_factory=dict)
    strategy: str | None = None  # as the chain if None
    # Pointer and subject in errors, of a step that the request has under another name.
    place: tuple[str, str] | None = None
    # What is made of the result, in the same shape and dtype.
    finish: Callable[[Tensor], Tensor] | None = None

    @property
    def subject(self) -> str:
        """The step as the subject of an error or of a warning."""
        return f"step {quote(self.name)}" if self.place is None else self.place[1]

    def pointer_to(self, number: int) -> str:
        """Return the pointer, within the step, of an operand by its number."""
        operands = self.op.operands
        return f"/operands/{number}" if operands is None else f"/{operands[number]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredChain(Inferred):
    """Shapes and dtypes of all steps. Those of the chain itself are of its first result."""

    results: tuple[str, ...]
    steps: tuple[Inferred, ...]

    @property
    def operations(self) -> int:
        """Arithmetic operations of all steps."""
        return sum(each.operations for each in self.steps)


@contextmanager
def at_step(number: int, name: str, place: tuple[str, str] | None = None) -> Iterator[None]:
    """Have errors name the step that they are raised for, and point into it, or at its `place`."""
    try:
        yield
    except ServiceError as error:
        error.place_in(*(place or (f"/steps/{number}", f"step {quote(name)}")))
        raise


def infer_chain(
    specs: tuple[Spec, ...], *, steps: Sequence[ChainStep], results: Sequence[str] | None
) -> InferredChain:
    """Return shapes and dtypes of all steps; the results are those of the last one if None."""
    chosen = tuple(results) if results is not None else (steps[-1].name,)
    _check_uses(len(specs), steps, chosen)
    known: dict[Source, Spec] = dict(enumerate(specs))
    found: list[Inferred] = []
    for number, step in enumerate(steps):
        with at_step(number, step.name, step.place):
            inferred = _infer(step, _operand_specs(known, step))
        known[step.name] = Spec(inferred.shape, inferred.dtype)
        found.append(inferred)
    first = known[chosen[0]]
    return InferredChain(
        specs=specs,
        shape=first.shape,
        dtype=first.dtype,
        multiply_adds=sum(inferred.multiply_adds for inferred in found),
        results=chosen,
        steps=tuple(found),
    )


def _infer(step: ChainStep, specs: tuple[Spec, ...]) -> Inferred:
    """Return shape and dtype of a step; an error about booleans that steps give has its own hint.

    Those of a comparison are not sent, so that no dtype of the request makes numbers of them.
    """
    try:
        inferred: Inferred = step.op.infer(specs, **step.params)
    except UnsupportedDtypeError as error:
        if specs[0].dtype in BOOL and all(isinstance(source, str) for source in step.sources):
            error.hint = "a step of op mul by an operand 1 makes 1 and 0 of the booleans"
        raise
    return inferred


def _operand_specs(known: Mapping[Source, Spec], step: ChainStep) -> tuple[Spec, ...]:
    """Return the operands of a step in their common dtype."""
    given = [known[source] for source in step.sources]
    dtype = promote(spec.dtype for spec in given)
    return tuple(Spec(spec.shape, dtype) for spec in given)


def _check_uses(count: int, steps: Sequence[ChainStep], results: Sequence[str]) -> None:
    """Raise InvalidFieldError for a result that is no step, and for what is there for nothing."""
    names = [step.name for step in steps]
    for place, name in enumerate(results):
        if name not in names:
            raise InvalidFieldError(
                f"results names {quote(name)}, which is no step; steps are {quote_names(names)}",
                hint=did_you_mean(name, names),
                places=[Place(f"/results/{place}", "no such step")],
            )
    used = {*results, *(source for step in steps for source in step.sources)}
    for number, step in enumerate(steps):
        for place, source in enumerate(step.sources):
            if isinstance(source, int) and source >= count:
                with at_step(number, step.name, step.place):
                    raise no_operand(source, count, step.pointer_to(place))
        if step.name not in used:
            raise InvalidFieldError(
                f"step {quote(step.name)} is used by no later step, and is not among the results",
                hint=f'leave it out, or send "results": ["{step.name}", ...]',
                places=[Place(f"/steps/{number}/name", "not used")],
            )
    unused = next((number for number in range(count) if number not in used), None)
    if unused is not None:
        raise InvalidFieldError(
            f"operand {unused} is used by no step",
            hint="leave it out",
            places=[Place(f"/operands/{unused}", "not used")],
        )


def no_operand(position: object, count: int, pointer: str) -> InvalidFieldError:
    """Return the error for a reference to an operand that the request does not have."""
    return InvalidFieldError(
        f"operand {quote(position)} is referred to; the request has {count}, counted from 0",
        places=[Place(pointer, "no such operand")],
    )
