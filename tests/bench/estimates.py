"""`make bench-estimates`: estimated times against measured ones, for each strategy.

Sizes are drawn so that their logarithms are uniform, up to what a request may have; what would take
longer than the limit is left out. A ratio is measured over estimated: above 1, it took longer.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter_ns
from timeit import repeat
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from service.core.call import Call, Shape, Spec
from service.core.devices import synchronize
from service.core.timing import COMPUTE, NS_PER_MS, Stopwatch
from service.engine import Engine
from service.operations import REGISTRY
from service.pipeline.service import build_service
from service.planning.cost_model import CostModel
from service.planning.planner import CallSpec, Plan
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


def ratio(plan: Plan) -> float:
    """Measured over estimated time of one plan."""
    operands = [torch.rand(s.shape).to(s.dtype) for s in plan.inferred.specs]
    plan.strategy.run(plan.inferred, operands)
    times = []
    for _ in range(1 if plan.estimated_ns > 50 * NS_PER_MS else RUNS):
        started = perf_counter_ns()
        plan.strategy.run(plan.inferred, operands)
        times.append(perf_counter_ns() - started)
    return median(times) / max(1, plan.estimated_ns)


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
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.bench.estimates", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="calls of each operation")
    parser.add_argument("--limit-ms", type=int, default=300, help="the longest run")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    engine = build_service(Settings(), REGISTRY, CostModel()).engine
    table = Table(title="Measured over estimated time", caption="quartiles over calls")
    for column in ("operation", "strategy", "calls", "lower", "median", "upper", "within 2x"):
        table.add_column(column, justify="left" if column in ("operation", "strategy") else "right")
    wrong = 0
    for op in REGISTRY.values():
        engine.measure(op, dtype)
        found: dict[str, list[float]] = {name: [] for name in op.strategies}
        for case in cases(op, options.count, seed=1):
            specs = tuple(Spec(shape, dtype) for shape in case.shapes)
            for name in op.strategies:
                request = CallSpec(op, specs, parse_params(op.params, case.params), name)
                plan = engine.planner.estimate(request).plan
                if plan is None or plan.estimated_ns > options.limit_ms * NS_PER_MS:
                    continue
                if engine.planner.limit_error(plan) is None:
                    found[name].append(ratio(plan))
        for name, ratios in found.items():
            low, middle, high = quantiles(ratios, n=4)
            near = sum(0.5 <= each <= 2 for each in ratios) / len(ratios)
            wrong += not 0.5 <= middle <= 2
            cells = [op.name, name, str(len(ratios))]
            table.add_row(*cells, *(f"{x:.2f}" for x in (low, middle, high)), f"{near:.0%}")
    console = Console(width=110)
    console.print(machine())
    console.print(table)
    console.print(f"{wrong} medians outside 0.5 to 2")
    console.print(f"overhead inside compute_ms: {overhead_us(engine):.2f} us a call")
    return 0


if __name__ == "__main__":
    sys.exit(main())
