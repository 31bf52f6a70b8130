"""Strategies that are compiled: from what, how often, and for which operands."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from service.core.call import Shape, Tensor
from service.operations import REGISTRY
from service.operations.compiled import (
    _by_numba,
    _by_torch_compile,
    by_numba,
    by_torch_compile,
    compile_by_torch,
)
from service.registry import Sample, Strategy
from tests.rigs.requirements import needs

needs_numba = needs("numba")
needs_compiler = needs("C++ compiler")
OPS = ("matmul", "norm")


def half(x: Tensor) -> Tensor:
    """Divide by two, and by zero."""
    result = x.new_zeros(x.shape[0], x.shape[1])
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            result[i, j] = x[i, j].abs() / 2 + 1 / (x[i, j] - x[i, j])
    return result


@needs_numba
@pytest.mark.parametrize("op", OPS)
def test_the_lines_are_those_of_loops(op: str) -> None:
    """The strategy `numba` is the function of `loops` itself, compiled."""
    loops, numba = (REGISTRY[op].strategies[name] for name in ("loops", "numba"))
    assert "return by_numba(loops)(" in numba.snippet
    assert numba.compute.__globals__["loops"] is loops.compute
    assert _by_numba(loops.compute).py_func is loops.compute


@needs_numba
def test_methods_of_tensors() -> None:
    """Numbers and arrays have those that `loops` calls; a quotient of zero is infinite."""
    found = by_numba(half)(torch.tensor([[-3.0, 4.0]]))
    assert found.tolist() == [[torch.inf, torch.inf]]
    assert found.dtype == torch.float32


@needs_numba
def test_without_a_folder_code_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that cannot be written to, each process compiles anew."""
    import numba

    njit, asked = numba.njit, []

    def refuse(*, cache: bool = False, **options: Any) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", refuse)
    found = by_numba(lambda x: x + 1)(torch.tensor([[1.0]]))
    assert found.tolist() == [[2.0]]
    assert asked == [True, False]


@needs_compiler
def test_more_than_was_foreseen_is_an_error() -> None:
    """Torch does not fall back to a slow run when it has compiled too often."""
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    _by_torch_compile(half)
    assert dynamo.fail_on_recompile_limit_hit
    assert inductor.compile_threads == 1


def operands(op: str, dtype: torch.dtype, *sizes: int) -> Iterator[tuple[Tensor, ...]]:
    """Operands of these sizes in every layout: in rows, in columns, stretched, and a part."""
    m, k, n = sizes
    for a in (
        torch.ones((m, k), dtype=dtype),
        torch.ones((k, m), dtype=dtype).T,
        torch.ones((m, 1), dtype=dtype).expand(m, k),
        torch.ones((m + 1, k + 1), dtype=dtype)[1:, 1:],
        unaligned(m * k, dtype).reshape(m, k),
    ):
        yield (a, torch.ones((n, k), dtype=dtype).T) if op == "matmul" else (a,)


def unaligned(count: int, dtype: torch.dtype) -> Tensor:
    """Ones that do not begin at a multiple of their size."""
    memory = bytearray(count * dtype.itemsize + 1)
    found = np.frombuffer(memory, dtype=str(dtype).partition(".")[2], offset=1)
    found[...] = 1
    return torch.as_tensor(found)


def count_of(strategy: Strategy[Any]) -> int:
    """The number of times that a strategy has been compiled in this process."""
    if strategy.name == "numba":
        return len(_by_numba(REGISTRY[strategy.op].strategies["loops"].compute).signatures)
    from torch._dynamo.eval_frame import _debug_get_cache_entry_list

    return len(_debug_get_cache_entry_list(strategy.compute.__code__))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    "name",
    [pytest.param("numba", marks=needs_numba), pytest.param("compile", marks=needs_compiler)],
)
def test_each_dtype_is_compiled_once(op: str, name: str) -> None:
    """Whatever shapes and layouts of operands follow; the results are right."""
    strategy = REGISTRY[op].strategies[name]
    inferred = REGISTRY[op].infer_sample(Sample("", shapes_of(op, 2, 2, 2)), torch.float32)
    assert strategy.compile is not None
    strategy.compile(inferred, [])
    before = count_of(strategy)
    random = np.random.default_rng(1)
    shapes = [(1, 1, 1), (1, 5, 1), (5, 1, 2), (2, 5000, 3)]
    shapes += [tuple(random.integers(1, 40, 3).tolist()) for _ in range(46)]
    for m, k, n in shapes:
        inferred = REGISTRY[op].infer_sample(Sample("", shapes_of(op, m, k, n)), torch.float32)
        for each in operands(op, torch.float32, m, k, n):
            result = strategy.run(inferred, each)
            expected = float(k) if op == "matmul" else (m * k) ** 0.5
            assert torch.allclose(result, torch.full(inferred.shape, expected), 1e-4), (m, k, n)
    assert count_of(strategy) == before > 0
    wide = REGISTRY[op].infer_sample(Sample("", shapes_of(op, 2, 2, 2)), torch.float64)
    assert strategy.compile(wide, [])
    twice = count_of(strategy)
    assert not strategy.compile(wide, [])
    assert count_of(strategy) == twice


def shapes_of(op: str, m: int, k: int, n: int) -> tuple[Shape, ...]:
    """The shapes of operands of these sizes."""
    return ((m, k), (k, n)) if op == "matmul" else ((m, k),)


@needs_compiler
def test_a_number_of_threads_is_compiled_for_apart() -> None:
    """Code is made for the threads that a process has, and for all shapes each time."""

    def double(x: Tensor) -> Tensor:
        return x + x

    from torch._dynamo.eval_frame import _debug_get_cache_entry_list

    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            compile_by_torch(double, 1, torch.float32)
            for size in (1, 3, 4):
                assert by_torch_compile(double)(torch.ones(size, 2)).sum() == 4 * size
        assert len(_debug_get_cache_entry_list(double.__code__)) == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("op", ["matmul", "norm"])
def test_the_expression_that_is_compiled(op: str) -> None:
    """Without its compiler it computes the same."""
    a, b = torch.rand(3, 4), torch.rand(4, 5)
    compute = REGISTRY[op].strategies["compile"].compute
    found, expected = (compute(a, b), a @ b) if op == "matmul" else (compute(a), a.norm(dim=1))
    assert torch.allclose(found, expected)
