"""Operations, their parameters and strategies, and the registry that holds them.

The registry is the only source of the OpenAPI document, `GET /strategies`, docs/operations.md and
the contract tests. It depends on no web framework and no wire format.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeVar

import torch

from service.core.arithmetic import IEEE
from service.core.call import AUTO, Shape, Spec, Tensor
from service.core.dtypes import describe
from service.core.requirements import Requirement
from service.errors import UnknownStrategyError, did_you_mean, quote

Compute = Callable[..., Tensor]
NOTHING_ABSENT: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """Shape, dtype and work of a call, as inferred from its specs and parameters.

    No data is read, and no tensor is allocated. Operations subclass it with fields of their own.
    """

    specs: tuple[Spec, ...]
    shape: Shape
    dtype: torch.dtype
    multiply_adds: int

    @property
    def elements(self) -> int:
        """Number of elements of the result."""
        return prod(self.shape)

    @property
    def operations(self) -> int:
        """Arithmetic operations, by which rates are given: one an element, but two in a product.

        A view, which computes nothing, has none.
        """
        return self.multiply_adds

    @property
    def explanation(self) -> Mapping[str, object] | None:
        """A block of the response named after the operation; None for operations without one."""
        return None

    @property
    def path(self) -> Sequence[Mapping[str, object]] | None:
        """The steps of the contraction; None for operations other than einsum."""
        return None

    @property
    def reproduce(self) -> str:
        """The call as one line of torch; operands are a and b, x, or x0, x1, ..."""
        raise NotImplementedError


M = TypeVar("M", bound=Inferred)


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a strategy for one call, from which its time is estimated.

    steps           steps of the Python interpreter, each at least one call into native code
    flops           multiply-adds in native code
    peak_elements   elements of the largest intermediate
    calls           calls of the strategy's function, one for each pair of matrices in a batch
    repeats         parts of equal size of each step, such as the matrices of a batch
    kind            of the work: times of one kind follow from the counts above
    """

    steps: int
    flops: int
    peak_elements: int = 0
    calls: int = 1
    repeats: int = 1
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Recheck:
    """Check and remedy of a result whose intermediate values left the range of the dtype.

    Such a result has numbers that are not finite, or, with `bounds`, magnitudes outside of them.
    It is computed again in float64 by the strategy `by`. `scales_with` is what a factor of the
    result can be taken out of: each operand on its own, as in a product, or all of them at once, as
    in a norm. `extent` gives for each number of the result the magnitude that it
    comes from: 0 explains a 0, and what is not finite anything. Without it, only operands that are
    not finite explain a result. `exact` gives numbers of the result by their indices, each from so
    many `factors`; None for one that comes from a number that is not finite.
    """

    by: str
    scales_with: Literal["each operand", "all operands"]
    bounds: tuple[float, float] | None = None
    extent: Callable[[Sequence[Tensor]], Tensor] | None = None
    exact: Callable[[Sequence[Tensor], Sequence[Shape]], list[complex | None]] | None = None
    factors: int = 0

    @property
    def is_chain(self) -> bool:
        """True for products of three operands or more, which may lose digits on the way."""
        return self.bounds is not None and self.scales_with == "each operand"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an operation; `parse` returns its value or raises an InvalidFieldError."""

    name: str
    summary: str
    schema: Mapping[str, Any]
    parse: Callable[[object], object]
    default: object = None
    required: bool = False


def parse_params(params: Sequence[Param], raw: Mapping[str, object]) -> dict[str, object]:
    """Return the value of each parameter, parsed from `raw`, or its default.

    An optional parameter that is null has its default, too.
    """
    return {
        param.name: param.default
        if raw.get(param.name) is None and not param.required
        else param.parse(raw[param.name])
        for param in params
    }


@dataclass(frozen=True, slots=True)
class Sample:
    """A valid call, given by operand shapes and raw parameters.

    Tests run every strategy on the samples of an operation, and the cost model is calibrated by its
    calibration samples.
    """

    name: str
    shapes: tuple[Shape, ...]
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorSample:
    """An invalid call, and the code of the error that it must raise."""

    name: str
    shapes: tuple[Shape, ...]
    code: str
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Strategy(Generic[M]):
    """One way to compute an operation.

    `compute` is the function that is shown to users, after the `kernel` that it launches, which is
    `module:function`. `adapt` calls `compute` for operands of any rank. `dtypes`, `cuda` and
    `cluster` are the supported dtypes on a CPU, on CUDA and on a cluster. `unsupported` returns the
    reason why a call is not supported, or None.

    `compile` makes the code that `compute` needs for such operands, unless this process has it, and
    returns whether it did; None for a strategy that is not compiled. It takes seconds under the
    GIL, so that such a strategy runs in processes that can be killed, and never in the server.
    `missing` is the reason why a strategy runs on no device of this host, which lacks something
    that it needs.

    `precisions` are those of its float32 products, where a device has them. `accumulates_in` is the
    dtype of its sums of float16 and bfloat16, where that is a wider one.
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
    compile: Callable[[M, Sequence[Tensor]], bool] | None = None
    kernel: str | None = None
    missing: str | None = None
    precisions: tuple[str, ...] = (IEEE,)
    accumulates_in: str | None = None

    @property
    def is_deterministic(self) -> bool:
        """False for a strategy for clusters alone: their workers add up in any order."""
        return bool(self.dtypes or self.cuda)

    def run(self, inferred: M, operands: Sequence[Tensor]) -> Tensor:
        """Compute the result, whose dtype and shape are those of `inferred`."""
        if self.compile is not None:
            self.compile(inferred, operands)
        return self.adapt(self.compute, inferred, operands)

    def dtypes_on(self, kind: str) -> frozenset[torch.dtype]:
        """Return the dtypes that it supports on a `kind` of device of this host."""
        if self.missing:
            return frozenset()
        return {"cpu": self.dtypes, "cuda": self.cuda}.get(kind, self.cluster)

    def unsuitable(
        self, inferred: M, kind: str, absent: Mapping[str, str] = NOTHING_ABSENT
    ) -> str | None:
        """Return the reason why the call is not supported on a `kind` of device, or None.

        `absent` gives the reason for kinds of device that this host does not have.
        """
        if self.missing:
            return self.missing
        dtypes = self.dtypes_on(kind)
        if not dtypes:
            return self.lacking(absent) or f"does not run on {kind}"
        for spec in inferred.specs:
            if spec.dtype not in dtypes:
                return f"does not take {describe(spec.dtype).name} on {kind}"
        return self.unsupported(inferred)

    def lacking(self, absent: Mapping[str, str]) -> str | None:
        """Return what this host lacks to run it for any call, or None; `absent` as above."""
        if self.missing or self.dtypes:  # what runs on the CPU has a device here
            return self.missing
        for kind, reason in absent.items():
            if self.dtypes_on(kind):
                return reason
        return None

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return inspect.getdoc(self.compute).partition("\n")[0]  # type: ignore[union-attr]  # Op.strategy demands a docstring

    @property
    def snippet(self) -> str:
        """The source of its kernel and of `compute`, without the decorator that registers it."""
        source = textwrap.dedent(inspect.getsource(self.compute))
        function = ast.parse(source).body[0]
        own = "\n".join(source.splitlines()[function.lineno - 1 :])
        return own if self.kernel is None else f"{source_of(self.kernel)}\n\n\n{own}"


def source_of(name: str) -> str:
    """Return the source of `module:function`, decorators included, without importing the module."""
    module, _, function = name.partition(":")
    spec = find_spec(module)
    if spec is None or not spec.has_location:
        raise ValueError(f"kernel {name!r} is in no file of a module")
    text = Path(str(spec.origin)).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise ValueError(f"kernel {name!r} is no function of its module")


@dataclass(frozen=True, eq=False)
class Op(Generic[M]):
    """An operation: its operands and parameters, its rules, and the strategies that compute it.

    `operands` are the names of its tensors; None means a list called `operands`. `infer` makes
    an Inferred of specs and parameters, or raises the error that explains why it cannot.
    `check_overflow` raises IntegerOverflowError unless the exact result of integer operands fits. A
    call that leaves the strategy to `auto` gets the first of these that takes it; one that
    `is_heavy` gets one that is clearly quicker, on the same device, if there is one. `recheck` says
    how a result in floats is checked, or None if intermediate values cannot spoil it. Without
    `needs_operands` they may all stand in other fields. A request may leave out the `optional`
    ones, which come last, beside the list if there is one; a parameter of that name has the
    position.
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
    recheck: Callable[[M], Recheck | None] = lambda _: None
    needs_operands: bool = True
    optional: tuple[str, ...] = ()
    _strategies: dict[str, Strategy[M]] = field(default_factory=dict)

    @property
    def strategies(self) -> Mapping[str, Strategy[M]]:
        """Strategies by name, slowest first, which is the order of registration."""
        return self._strategies

    @property
    def tensor_fields(self) -> tuple[str, ...]:
        """Names of the fields that have tensors, or the list of them."""
        return ("operands", *self.optional) if self.operands is None else self.operands

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that float32 products of some strategy have; without products IEEE alone."""
        return tuple(
            dict.fromkeys(p for each in self._strategies.values() for p in each.precisions)
        )

    @property
    def strategy_names(self) -> list[str]:
        """Names that a request may give beside `auto`."""
        return [*self._strategies]

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
        needs: tuple[Requirement, ...] = (),
        compile: Callable[[M, Sequence[Tensor]], bool] | None = None,
        kernel: str | None = None,
        precisions: tuple[str, ...] = (),
        accumulates_in: str | None = None,
    ) -> Callable[[Compute], Compute]:
        """Register the decorated function as a strategy, and return it unchanged.

        What it `needs` beyond the packages of the service is looked up now.
        """
        missing = next(filter(None, (need.missing for need in needs)), None)

        def register(compute: Compute) -> Compute:
            if name in self._strategies or name == AUTO:
                raise ValueError(f"{self.name} cannot have another strategy named {name!r}")
            if not compute.__doc__:
                raise ValueError(f"strategy {self.name}/{name} needs a docstring: users see it")
            self._strategies[name] = Strategy(
                self.name,
                name,
                compute,
                adapt,
                work,
                dtypes,
                cuda,
                cluster,
                unsupported,
                compile,
                kernel,
                missing,
                (IEEE, *precisions),
                accumulates_in,
            )
            return compute

        return register

    def resolve(self, name: str) -> tuple[Strategy[M], ...]:
        """Return the strategies that `name` means, best first: several for `auto`, else one."""
        if name == AUTO:
            return tuple(map(self._strategies.__getitem__, self.auto))
        found = self._strategies.get(name)
        if found is None:
            raise UnknownStrategyError(
                f"{self.name} has no strategy {quote(name)}; "
                f"choose auto or one of {', '.join(self.strategies)}",
                hint=did_you_mean(name, [AUTO, *self.strategies]),
            )
        return (found,)

    def take_inline(self, fields: Mapping[str, object], count: int) -> list[tuple[str, object]]:
        """Take operands out of other fields, and leave their positions after `count` others there.

        Return the pointer and the value of each. A single operation has none.
        """
        return []

    def infer_sample(self, sample: "Sample", dtype: torch.dtype) -> M:
        """Infer a sample with operands of `dtype`."""
        specs = tuple(Spec(shape, dtype) for shape in sample.shapes)
        return self.infer(specs, **parse_params(self.params, sample.params))


class Registry(Mapping[str, Op[Any]]):
    """Mapping of operations by name."""

    def __init__(self, *ops: Op[Any]):
        """Collect `ops`, or raise ValueError for a duplicate name or an unknown name in `auto`."""
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
