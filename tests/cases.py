"""The table of the contract tests, built from the registry.

A row is an operation, a strategy, a sample, a dtype and a device. The expected result is computed
here by numpy, in float64 and complex128 or in exact integers, without the service's arithmetic.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import inf
from typing import Any, Final
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch

from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from service.registry import ErrorSample, Op, Sample, Strategy

Array = npt.NDArray[Any]
Json = Any

DEVICES: Final = ("cpu", "cuda")
# How far a result may be from float64, relative to the value and absolute: sums of a few numbers
# near 1, each rounded to the dtype.
TOLERANCES: Final[Mapping[str, tuple[float, float]]] = {
    "float32": (1e-5, 1e-5),
    "float64": (1e-12, 1e-12),
    "float16": (2e-2, 2e-2),
    "bfloat16": (6e-2, 1e-1),
    "complex64": (1e-5, 1e-5),
    "complex128": (1e-12, 1e-12),
}
WORDS: Final = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


@dataclass(frozen=True, slots=True)
class Row:
    """One call of the table."""

    op: Op[Any]
    strategy: str
    sample: Sample
    dtype: str
    device: str

    @property
    def name(self) -> str:
        """The row in words, for reports."""
        sample = self.sample.name.replace(" ", "_")
        return f"{self.op.name}-{self.strategy}-{sample}-{self.dtype}-{self.device}"

    def operands(self) -> list[Array]:
        """Values that the dtype holds, as exact int64, float64 or complex128."""
        return operands_of(self.op.name, self.sample, self.dtype)

    def body(self, strategy: str | None = None) -> dict[str, Json]:
        """The request, by the row's own strategy or another one."""
        tensors = [to_json(x, self.dtype) for x in self.operands()]
        return {
            **named(self.op, tensors),
            **self.sample.params,
            "strategy": strategy or self.strategy,
            "device": self.device,
        }

    def expected(self) -> Array:
        """The result that numpy gives for the operands."""
        return REFERENCES[self.op.name](self.operands(), self.sample.params)

    @property
    def result_dtype(self) -> str:
        """The dtype that the contract promises."""
        kind = DTYPES[self.dtype].kind
        real = {"complex64": "float32", "complex128": "float64"}
        if self.sample.params.get("op") == "abs":
            return real.get(self.dtype, self.dtype)
        if self.op.name == "norm":
            return "float64" if kind == "integer" else real.get(self.dtype, self.dtype)
        return "bool" if self.sample.params.get("op") in COMPARISONS else self.dtype

    @property
    def takes_dtype(self) -> bool:
        """True if any strategy of the operation takes the dtype."""
        function = self.sample.params.get("op")
        if self.dtype == "bool":
            # Expanding computes nothing; a comparison of booleans is a boolean.
            return self.op.name == "broadcast" and (function is None or function in COMPARISONS)
        if self.dtype in ("float16", "bfloat16") and self.op.name == "norm":
            return self.sample.name not in SINGULAR_VALUES
        if DTYPES[self.dtype].kind == "integer" and function in ("exp", "sqrt"):
            return False
        return not (DTYPES[self.dtype].kind == "complex" and function in ORDERED)

    @property
    def missing(self) -> str | None:
        """What this host lacks to run the strategy, as GET /strategies tells it."""
        strategy = self.op.strategies.get(self.strategy)  # `auto` is none of them
        return None if strategy is None else strategy.missing

    def takers(self) -> list[str]:
        """The strategies that support the call, in the order of the registry."""
        inferred = self.op.infer_sample(self.sample, DTYPES[self.dtype].torch)
        return [
            name
            for name, strategy in self.op.strategies.items()
            if strategy.unsuitable(inferred, self.device) is None
        ]

    @property
    def chosen(self) -> str | None:
        """The strategy that must compute it; None where it must be refused."""
        takers = self.takers()
        wanted = self.op.auto if self.strategy == "auto" else (self.strategy,)
        return next((name for name in wanted if name in takers), None)


# It takes 13 s to compile in each new process: tests/contract/test_compiled.py has its rows.
SLOW: Final = frozenset({"compile"})
ORDERED: Final = ("relu", "maximum", "minimum", "lt", "le", "gt", "ge")
SINGULAR_VALUES: Final = ("nuclear", "spectral", "least singular value", "empty matrix")
COMPARISONS: Final = ("eq", "ne", "lt", "le", "gt", "ge")


def named(op: Op[Any], tensors: list[Json]) -> dict[str, Json]:
    """Operands under the names that the operation gives them."""
    if op.operands is None:
        return {"operands": tensors}
    return dict(zip(op.operands, tensors, strict=True))


def rows() -> Iterator[Row]:
    """The whole table, without the strategies that are SLOW."""
    for op in REGISTRY.values():
        for strategy in ("auto", *(name for name in op.strategies if name not in SLOW)):
            for sample in op.samples:
                for dtype in DTYPES:
                    for device in DEVICES:
                        yield Row(op, strategy, sample, dtype, device)


def error_samples() -> Iterator[tuple[Op[Any], ErrorSample]]:
    """Every call that an operation lists as invalid."""
    for op in REGISTRY.values():
        for sample in op.error_samples:
            yield op, sample


def here(op: Op[Any], dtype: str | None = None) -> list[str]:
    """The strategies that need nothing this host lacks, slowest first; those that take a dtype.

    Those that are SLOW are not among them.
    """
    found = ((n, each.dtypes_on("cpu")) for n, each in op.strategies.items() if n not in SLOW)
    return [n for n, dtypes in found if dtypes and (not dtype or DTYPES[dtype].torch in dtypes)]


def strategies() -> Iterator[tuple[Op[Any], Strategy[Any]]]:
    """Every strategy of the registry that needs nothing this host lacks, such as a cluster."""
    for op in REGISTRY.values():
        for strategy in map(op.strategies.__getitem__, here(op)):
            yield op, strategy


def operands_of(op: str, sample: Sample, dtype: str) -> list[Array]:
    """Operands of a sample, the same on every run; an integer result of theirs fits the dtype."""
    random = np.random.default_rng(crc32(f"{op} {sample.name}".encode()))
    function = sample.params.get("op")
    kind = DTYPES[dtype].kind
    found = []
    for number, shape in enumerate(sample.shapes):
        if kind == "bool":
            values = random.integers(0, 2, shape).astype(bool)
        elif kind == "integer":
            low = 0 if dtype == "uint8" else -2
            values = random.integers(low, 3, shape)
            if dtype == "uint8" and function == "neg":
                values *= 0  # it has no negative numbers
            if number == 0 and function == "sub":
                values += 2  # uint8 has no negative difference
            if number == 0 and function == "div":
                values *= 2  # a quotient with a fraction is refused
            if number == 1 and function in ("div", "pow"):
                values = random.integers(1, 3, shape)
        else:
            values = random.uniform(0.5, 2, shape)
            if function not in ("pow", "sqrt"):
                values *= random.choice([-1, 1], shape)
            if kind == "complex":
                values = values + 1j * random.uniform(0.5, 2, shape)
            values = rounded(values, dtype)
        found.append(np.asarray(values))
    return found


def rounded(values: Array, dtype: str) -> Array:
    """Values that the dtype holds, in float64 or complex128."""
    wide = torch.complex128 if np.iscomplexobj(values) else torch.float64
    return torch.as_tensor(values).to(DTYPES[dtype].torch).to(wide).numpy()


def to_json(values: Array, dtype: str) -> Json:
    """A tensor object that states its dtype; complex numbers are pairs on a last axis."""
    if np.iscomplexobj(values):
        data = np.stack([values.real, values.imag], -1).tolist()
    else:
        data = values.tolist()
    return {"shape": list(values.shape), "dtype": dtype, "data": data}


def from_json(result: Json) -> Array:
    """The values of an answered tensor, as exact int64, float64, complex128 or bool."""
    kind = DTYPES[result["dtype"]].kind
    if kind == "bool":
        return np.array(result["data"], bool).reshape(result["shape"])
    if kind == "integer":
        return np.array(result["data"], np.int64).reshape(result["shape"])
    if kind == "float":
        return floats(result["data"]).reshape(result["shape"])
    pairs = floats(result["data"]).reshape(*result["shape"], 2)
    return np.asarray(pairs[..., 0] + 1j * pairs[..., 1])


def floats(data: Json) -> Array:
    """Nested numbers and words for those that are not finite, in float64."""
    return np.array([float(WORDS.get(x, x)) for x in np.array(data, object).reshape(-1)])


def assert_near(found: Array, expected: Array, dtype: str) -> None:
    """Equal in shape; in value exactly for integers and booleans, within tolerance for others."""
    assert found.shape == expected.shape
    if dtype in TOLERANCES:
        rtol, atol = TOLERANCES[dtype]
        np.testing.assert_allclose(found, expected, rtol, atol)
    else:
        np.testing.assert_array_equal(found, expected)


def matmul(operands: list[Array], params: Mapping[str, Json]) -> Array:
    """The matrix product."""
    a, b = operands
    return np.asarray(np.matmul(a, b))


def einsum(operands: list[Array], params: Mapping[str, Json]) -> Array:
    """The sum of products; numpy has the grammar of torch, but does not sum an ellipsis."""
    left, arrow, right = params["equation"].replace(" ", "").partition("->")
    if not arrow or "..." not in left or "..." in right:
        return np.asarray(np.einsum(left + arrow + right, *operands))
    kept = np.asarray(np.einsum(f"{left}->...{right}", *operands))
    return np.asarray(kept.sum(tuple(range(kept.ndim - len(right)))))


def norm(operands: list[Array], params: Mapping[str, Json]) -> Array:
    """The norm, by numpy's rules for vectors or for matrices."""
    x = operands[0] if np.iscomplexobj(operands[0]) else operands[0].astype(np.float64)
    order: Any = params.get("ord")
    order = {"inf": inf, "-inf": -inf}.get(order, order)
    axes, keepdim = params.get("dim"), params.get("keepdim", False)
    matrix = params.get("kind") == "matrix"
    if "kind" not in params and order is not None:
        matrix = x.ndim == 2 if axes is None else isinstance(axes, list) and len(axes) == 2
    if not matrix:
        axis = None if axes is None else tuple(np.atleast_1d(axes).tolist())
        order = 2 if order is None else order
        with np.errstate(divide="ignore"):
            return np.asarray(np.linalg.vector_norm(x, axis=axis, keepdims=keepdim, ord=order))
    axis = (-2, -1) if axes is None else tuple(axes)
    if x.size == 0:
        assert order == "nuc"  # numpy has no singular values of nothing; their sum is 0
        return np.zeros(())
    return np.asarray(np.linalg.norm(x, order, axis, keepdim))


def broadcast(operands: list[Array], params: Mapping[str, Json]) -> Array:
    """The elementwise function of the indexed operands, from the left."""
    views = params.get("views") or [None] * len(operands)
    arrays = [x[index_of(view or "...")] for x, view in zip(operands, views, strict=True)]
    name = params.get("op")
    function = None if name is None else ufunc(name, arrays[0].dtype.kind)
    if function is None:
        values = arrays[0]
    else:
        values = function(arrays[0]) if len(arrays) == 1 else reduce(function, arrays)
    return np.asarray(values if "to" not in params else np.broadcast_to(values, params["to"]))


def ufunc(name: str, kind: str) -> Callable[..., Array]:
    """numpy's function of that name."""
    if name == "div" and kind == "i":
        return np.floor_divide  # exact quotients, where all roundings agree
    if name == "relu":
        return lambda x: np.where(x > 0, x, 0)
    words = {
        "neg": "negative",
        "sub": "subtract",
        "mul": "multiply",
        "div": "true_divide",
        "pow": "power",
        "eq": "equal",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
    }
    return getattr(np, words.get(name, name))  # type: ignore[no-any-return]  # a ufunc


def index_of(text: str) -> tuple[Any, ...]:
    """The index that a view is written as."""
    parts = {":": slice(None), "None": None, "...": ...}
    return tuple(parts[part.strip()] for part in text.split(","))


REFERENCES: Final[Mapping[str, Callable[[list[Array], Mapping[str, Json]], Array]]] = {
    "matmul": matmul,
    "einsum": einsum,
    "norm": norm,
    "broadcast": broadcast,
}
