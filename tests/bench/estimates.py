"""`make bench-estimates`: estimated times against measured ones, for each strategy.

Sizes are powers of two, and random ones whose logarithms are uniform; what would take longer than
the limit is left out. A ratio is measured over estimated: above 1, it took longer.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter_ns
from timeit import repeat
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from service.core.call import Call, Shape, Spec
from service.core.devices import CPU, synchronize
from service.core.timing import COMPUTE, NS_PER_MS, Stopwatch
from service.engine import Engine
from service.errors import ServiceError
from service.operations import REGISTRY
from service.pipeline.service import build_service
from service.planning.calibration import operand
from service.planning.cost_model import CostModel
from service.planning.plan import CallSpec, Plan
from service.registry import Op, parse_params
from service.settings import Settings
from tests.bench.measurements import machine

RUNS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """A call to estimate and to measure."""

    shapes: tuple[Shape, ...]
    params: dict[str, Any]


def cases(op: Op[Any], count: int, seed: int) -> Iterator[Case]:
    """Calls of an operation, from the smallest to some millions of elements."""
    random = np.random.default_rng(seed)

    def size(most: int) -> int:
        return int(np.exp(random.uniform(0, np.log(most))))

    for _ in range(count):
        if op.name == "matmul":
            m, k, n = size(2000), size(2000), size(2000)
            yield Case(((m, k), (k, n)), {})
        elif op.name == "einsum":
            b, i, j, k = size(20), size(500), size(500), size(500)
            yield Case(((b, i, j), (b, j, k)), {"equation": "bij,bjk->bik"})
        elif op.name == "norm":
            yield Case(((size(2000), size(2000)),), {"dim": 1})
        else:
            m, n = size(3000), size(3000)
            yield Case(((m, n), (n,)), {"op": "mul"})


SQUARES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def square(op: Op[Any], n: int) -> Iterator[Case]:
    """Calls of an operation on n by n matrices."""
    if op.name == "matmul":
        yield Case(((n, n), (n, n)), {})
        yield Case(((n, n), (n,)), {})
    elif op.name == "einsum":
        for equation in ("ik,kj->ij", "ij,ij->i"):
            yield Case(((n, n), (n, n)), {"equation": equation})
        for equation in ("ij->ji", "ij->i", "ij->"):
            yield Case(((n, n),), {"equation": equation})
    elif op.name == "norm":
        for order in (None, 1, "nuc"):
            yield Case(((n, n),), {"ord": order})
        yield Case(((n, n),), {"ord": 3, "dim": 1})
    else:
        for name in ("mul", "div", "pow", "lt"):
            yield Case(((n, n), (n,)), {"op": name})


def ratio(plan: Plan) -> float:
    """Measured over estimated time of one plan."""
    operands = [operand(spec) for spec in plan.inferred.specs]
    plan.strategy.run(plan.inferred, operands)
    times = []
    for _ in range(1 if plan.estimated_ns > 50 * NS_PER_MS else RUNS):
        started = perf_counter_ns()
        plan.strategy.run(plan.inferred, operands)
        times.append(perf_counter_ns() - started)
    return median(times) / max(1, plan.estimated_ns)


def ratios(
    engine: Engine, op: Op[Any], name: str, found: Iterable[Case], options: argparse.Namespace
) -> list[float]:
    """Ratios of a strategy for the calls that it takes and that are short enough."""
    dtype, results = getattr(torch, options.dtype), []
    for case in found:
        specs = tuple(Spec(shape, dtype) for shape in case.shapes)
        try:
            request = CallSpec(op, specs, parse_params(op.params, case.params), name)
            plan = engine.planner.estimate(request).plan
        except ServiceError:  # such as singular values of half precision
            continue
        if plan is None or plan.estimated_ns > options.limit_ms * NS_PER_MS:
            continue
        if engine.planner.limit_error(plan) is None:
            results.append(ratio(plan))
    return results


def overhead_us(engine: Engine) -> float:
    """Overhead of a run in `compute_ms` beside the strategy's own time: adapter, wait and clock."""
    a, b = torch.rand(2, 2), torch.rand(2, 2)
    call = Call("matmul", (a, b), {})
    plan = engine.plan(call)
    strategy, inferred, watch = plan.strategy, plan.inferred, Stopwatch.start()

    def timed() -> None:
        strategy.run(inferred, (a, b))
        synchronize(plan.device)
        watch.lap(COMPUTE)

    runs = 20_000
    whole, bare = (
        min(repeat(each, number=runs, repeat=7)) / runs for each in (timed, lambda: a @ b)
    )
    return (whole - bare) * 1e6


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m tests.bench.estimates", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="random calls of each operation")
    parser.add_argument("--limit-ms", type=int, default=300, help="the longest run")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    engine = build_service(Settings(), REGISTRY, CostModel()).engine
    by_size = Table(title="Measured over estimated time, by size n of n x n: medians, and extremes")
    at_random = Table(title="The same of calls of random shapes: quartiles, and extremes")
    for table in (by_size, at_random):
        table.add_column("operation")
        table.add_column("strategy")
    for column in (*map(str, SQUARES), "least", "median", "most"):
        by_size.add_column(column, justify="right")
    for column in ("calls", "least", "lower", "median", "upper", "most", "within 2x"):
        at_random.add_column(column, justify="right")
    medians, extremes = [], []
    for op in REGISTRY.values():
        engine.measure(op, getattr(torch, options.dtype), CPU)
        for name, strategy in op.strategies.items():
            if getattr(torch, options.dtype) not in strategy.dtypes:
                continue
            sizes = [ratios(engine, op, name, square(op, n), options) for n in SQUARES]
            every = [each for size in sizes for each in size]
            medians.append(median(every))
            extremes += [min(every), max(every)]
            cells = [f"{median(size):.2f}" if size else "" for size in sizes]
            ends = (min(every), median(every), max(every))
            by_size.add_row(op.name, name, *cells, *(f"{x:.2f}" for x in ends))
            every = ratios(engine, op, name, cases(op, options.count, seed=1), options)
            near = sum(0.5 <= each <= 2 for each in every) / len(every)
            parts = (min(every), *quantiles(every, n=4), max(every))
            cells = [str(len(every)), *(f"{x:.2f}" for x in parts), f"{near:.0%}"]
            at_random.add_row(op.name, name, *cells)
    console = Console(width=130)
    console.print(machine())
    console.print(by_size, at_random)
    console.print(
        f"n x n: medians from {min(medians):.2f} to {max(medians):.2f}, "
        f"extremes {min(extremes):.2f} and {max(extremes):.2f}"
    )
    console.print(f"overhead inside compute_ms: {overhead_us(engine):.2f} us a call")
    return 0


if __name__ == "__main__":
    sys.exit(main())
