"""What an operation is: its operands, its parameters, and the strategies that compute it.

The registry is the one truth: the OpenAPI document, `GET /strategies`, docs/operations.md and the
contract tests are read from it. It knows no web and no wire format.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import torch

from service.core.call import AUTO, Shape, Spec, Tensor
from service.core.dtypes import describe
from service.errors import UnknownStrategyError, UnsuitableStrategyError, did_you_mean, quote

Compute = Callable[..., Tensor]
NOTHING_ABSENT: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """What a call means once its shapes are known: no data is read, nothing is allocated."""

    specs: tuple[Spec, ...]
    shape: Shape
    dtype: torch.dtype
    multiply_adds: int

    @property
    def elements(self) -> int:
        """How many elements the result has."""
        return prod(self.shape)

    @property
    def explanation(self) -> Mapping[str, object] | None:
        """A block of the answer named after the operation, if it has one."""
        return None

    @property
    def path(self) -> Sequence[Mapping[str, object]] | None:
        """The steps of a contraction, if there is one."""
        return None

    @property
    def reproduce(self) -> str:
        """One line of torch that computes the same; operands are a and b, x, or x0, x1, ..."""
        raise NotImplementedError


M = TypeVar("M", bound=Inferred)


@dataclass(frozen=True, slots=True)
class Work:
    """What a strategy does for one call: the two quantities that its time is estimated from.

    `steps` of the Python interpreter, each at least one call into native code; `flops`, the
    multiply-adds done there; `peak_elements`, the largest intermediate.
    """

    steps: int
    flops: int
    peak_elements: int = 0


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an operation: `parse` gives its value or raises an InvalidFieldError."""

    name: str
    summary: str
    schema: Mapping[str, Any]
    parse: Callable[[object], object]
    default: object = None
    required: bool = False


def parse_params(params: Sequence[Param], raw: Mapping[str, object]) -> dict[str, object]:
    """The value of each parameter: parsed from `raw`, or its default."""
    return {
        param.name: param.parse(raw[param.name]) if param.name in raw else param.default
        for param in params
    }


@dataclass(frozen=True, slots=True)
class Sample:
    """A call to test every strategy with: operand shapes and raw parameters."""

    name: str
    shapes: tuple[Shape, ...]
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorSample:
    """A call that must be refused, by the code of its error."""

    name: str
    shapes: tuple[Shape, ...]
    code: str
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Strategy(Generic[M]):
    """One way to compute an operation.

    `compute` is the function that users are shown. `adapt` calls it for operands of any rank.
    `dtypes` are those it takes on a CPU, `cuda` and `cluster` those it takes there; `unsupported`
    gives the reason why it does not take a call, or None.
    """

    op: str
    name: str
    compute: Compute
    adapt: Callable[[Compute, M, Sequence[Tensor]], Tensor]
    work: Callable[[M], Work]
    dtypes: frozenset[torch.dtype]
    cuda: frozenset[torch.dtype]
    cluster: frozenset[torch.dtype]
    unsupported: Callable[[M], str | None]

    def run(self, meaning: M, operands: Sequence[Tensor]) -> Tensor:
        """The result of the operation; its dtype and shape are those of `meaning`."""
        return self.adapt(self.compute, meaning, operands)

    def dtypes_on(self, kind: str) -> frozenset[torch.dtype]:
        """The dtypes it takes on a `kind` of device."""
        return {"cpu": self.dtypes, "cuda": self.cuda}.get(kind, self.cluster)

    def unsuitable(
        self, meaning: M, kind: str, absent: Mapping[str, str] = NOTHING_ABSENT
    ) -> str | None:
        """Why this strategy does not take the call on a `kind` of device, or None.

        `absent` says of kinds that are not here what they would take.
        """
        dtypes = self.dtypes_on(kind)
        if not dtypes:
            needed = (absent[other] for other in absent if self.dtypes_on(other))
            return next(needed, f"does not run on {kind}")
        for spec in meaning.specs:
            if spec.dtype not in dtypes:
                return f"does not take {describe(spec.dtype).name} on {kind}"
        return self.unsupported(meaning)

    @property
    def summary(self) -> str:
        """What it does, in a line: the first of its docstring."""
        return inspect.getdoc(self.compute).partition("\n")[0]  # type: ignore[union-attr]  # Op.strategy demands a docstring

    @property
    def snippet(self) -> str:
        """Its source, without the decorator that registers it."""
        source = textwrap.dedent(inspect.getsource(self.compute))
        function = ast.parse(source).body[0]
        return "\n".join(source.splitlines()[function.lineno - 1 :])


@dataclass(frozen=True, eq=False)
class Op(Generic[M]):
    """An operation: what it takes, what it means, and the strategies that compute it.

    `operands` are the names of its tensors; None means a list called `operands`. `infer` turns
    specs and parameters into an Inferred, or raises the error that explains why it cannot.
    `check_overflow` raises IntegerOverflowError unless the exact result of integer operands fits. A
    call that leaves the strategy to `auto` gets the first of these that takes it; one that
    `is_heavy` gets one that is clearly quicker, on the same device, if there is one.
    """

    name: str
    summary: str
    operands: tuple[str, ...] | None
    params: tuple[Param, ...]
    infer: Callable[..., M]
    check_overflow: Callable[[M, Sequence[Tensor]], None]
    auto: tuple[str, ...]
    samples: tuple[Sample, ...]
    error_samples: tuple[ErrorSample, ...]
    calibration_samples: tuple[Sample, ...]
    is_heavy: Callable[[M], bool] = lambda _: False
    _strategies: dict[str, Strategy[M]] = field(default_factory=dict)

    @property
    def strategies(self) -> Mapping[str, Strategy[M]]:
        """Strategies by name, slowest first: in the order in which they were registered."""
        return self._strategies

    def strategy(
        self,
        name: str,
        *,
        adapt: Callable[[Compute, M, Sequence[Tensor]], Tensor],
        work: Callable[[M], Work],
        dtypes: frozenset[torch.dtype],
        cuda: frozenset[torch.dtype] = frozenset(),
        cluster: frozenset[torch.dtype] = frozenset(),
        unsupported: Callable[[M], str | None] = lambda _: None,
    ) -> Callable[[Compute], Compute]:
        """Register the decorated function as a strategy, and return it as it was."""

        def register(compute: Compute) -> Compute:
            if name in self._strategies or name == AUTO:
                raise ValueError(f"{self.name} cannot have another strategy named {name!r}")
            if not compute.__doc__:
                raise ValueError(f"strategy {self.name}/{name} needs a docstring: users see it")
            self._strategies[name] = Strategy(
                self.name, name, compute, adapt, work, dtypes, cuda, cluster, unsupported
            )
            return compute

        return register

    def resolve(self, name: str) -> tuple[Strategy[M], ...]:
        """Strategies that may serve a request for `name`, best first; one alone if it is named."""
        if name == AUTO:
            return tuple(self.strategies[each] for each in self.auto)
        found = self.strategies.get(name)
        if found is None:
            raise UnknownStrategyError(
                f"{self.name} has no strategy {quote(name)}; "
                f"choose auto or one of {', '.join(self.strategies)}",
                hint=did_you_mean(name, [AUTO, *self.strategies]),
            )
        return (found,)

    def sample_meaning(self, sample: "Sample", dtype: torch.dtype) -> M:
        """The meaning of a sample with operands of `dtype`."""
        specs = tuple(Spec(shape, dtype) for shape in sample.shapes)
        return self.infer(specs, **parse_params(self.params, sample.params))

    def unsuitable(
        self,
        wanted: str,
        meaning: M,
        kinds: Sequence[str],
        absent: Mapping[str, str] = NOTHING_ABSENT,
    ) -> UnsuitableStrategyError:
        """The error for a call that `wanted` does not take, naming the strategies that do."""
        reason = next(
            reason
            for strategy in self.resolve(wanted)
            for kind in kinds
            if (reason := strategy.unsuitable(meaning, kind, absent))
        )
        able = [
            name
            for name, strategy in self.strategies.items()
            if any(strategy.unsuitable(meaning, kind) is None for kind in kinds)
        ]
        return UnsuitableStrategyError(
            f"{self.name} strategy {wanted!r} {reason}",
            hint=f"these take it: {', '.join(able)}" if able else None,
        )


class Registry(Mapping[str, Op[Any]]):
    """The operations by name."""

    def __init__(self, *ops: Op[Any]):
        """Collect `ops`; a ValueError says what is wrong with one of them."""
        self._ops: Final = {op.name: op for op in ops}
        if len(self._ops) != len(ops):
            raise ValueError("two operations have the same name")
        for op in ops:
            if unknown := set(op.auto) - set(op.strategies):
                raise ValueError(f"{op.name}: auto names no strategy {sorted(unknown)}")

    def __getitem__(self, name: str) -> Op[Any]:
        return self._ops[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ops)

    def __len__(self) -> int:
        return len(self._ops)
