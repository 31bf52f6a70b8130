"""`python -m service compare --sweep`: time against size, for each strategy up to its limit."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from service.bootstrap import Core, make_core
from service.cli.against import KeptReport, read_sweep
from service.cli.arguments import request_fields
from service.cli.output import OutputOptions, progress_bar
from service.cli.report_page import sweep_answer, sweep_page
from service.cli.request import SIZE_NAME, call_title, measure_costs, parse_shapes, random_call
from service.cli.tables import overlay_sweep_table, sweep_table
from service.compare import PARAMS, CompareOptions, Row
from service.compare.sweep import Sweep, sizes_between, sweep
from service.core.call import Call
from service.core.timing import NS_PER_MS
from service.core.validators import integer
from service.errors import InvalidFieldError, MissingFieldError, quote
from service.operations.chain import CHAIN
from service.registry import Op, Param
from service.settings import from_environment

if TYPE_CHECKING:
    from service.cli.charts import Chart

_parse_limit: Final = integer("limit_ms", least=1, most=600_000)
LIMIT: Final = Param(
    "limit_ms",
    "In a sweep, the most time of one run, in milliseconds: a strategy stops before it.",
    {"type": "integer"},
    _parse_limit,
    default=1000,
)
# A sweep has many races: each has this time for all runs after the first of each strategy.
SWEEP_BUDGET_MS: Final = 300
_RANGE: Final = re.compile(r"([1-9][0-9]{0,8}):([1-9][0-9]{0,8})")
# Shapes of a sweep without --shapes; those of einsum follow from its equation.
_SHAPES: Final[Mapping[str, tuple[str, ...]]] = {
    "matmul": ("n×n", "n×n"),
    "norm": ("n",),
    "broadcast": ("n×n", "n"),
}


def race_sizes(op: Op[Any], options: argparse.Namespace, output: OutputOptions) -> None:
    """Race the strategies at one size after another, and show the size at which each stops."""
    sizes = parse_range(options.sweep)
    shapes = options.shapes or sweep_shapes(op, options)
    limit_ms = _parse_limit(request_fields(options, [LIMIT]).get(LIMIT.name, LIMIT.default))
    limit_ns = NS_PER_MS * limit_ms
    if options.field_budget_ms is None:
        options.field_budget_ms = str(SWEEP_BUDGET_MS)
    core = make_core(from_environment())

    def call_at(size: int) -> Call:
        return random_call(core, op, parse_shapes(shapes, size), options, PARAMS)

    kept = {} if options.against is None else _kept_at(sizes, options.against, op, call_at)
    first = call_at(sizes[0])
    measure_costs(core, op, first)
    title, race_options = call_title(op, first, shapes), CompareOptions.of(first.options)
    found = _run_with_progress(core, sizes, call_at, limit_ns)
    table = sweep_table(found, title)
    output.show(
        overlay_sweep_table(found, kept, table) if kept else table,
        [point.report for point in found.points],
        lambda: orjson.dumps(sweep_answer(found)).decode(),
        lambda text: sweep_page(found, title, text, race_options, limit_ns=limit_ns, kept=kept),
        partial(_draw, found, title, limit_ns),
    )


def _kept_at(
    sizes: Sequence[int], text: str, op: Op[Any], call_at: Callable[[int], Call]
) -> dict[int, KeptReport]:
    """Return the reports of a kept sweep at these sizes; the first has to be of the same call."""
    kept = read_sweep(text)
    shared = [size for size in sizes if size in kept]
    if not shared:
        raise InvalidFieldError(
            f"{quote(text)} has none of the sizes of this sweep",
            hint=f"it has {', '.join(map(str, kept)) or 'none'}",
        )
    kept[shared[0]].check(op, call_at(shared[0]))
    return {size: kept[size] for size in shared}


def parse_range(text: str) -> tuple[int, ...]:
    """Return the sizes of a range such as 2:1024: the first and its doubles, up to the last."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise InvalidFieldError(
            f"a sweep is FIRST:LAST, two sizes from 1 in rising order; there was {quote(text)}",
            hint="--sweep 2:1024 takes 2, 4, 8 and so on",
        )
    return sizes_between(int(found[1]), int(found[2]))


def sweep_shapes(op: Op[Any], options: argparse.Namespace) -> Sequence[str]:
    """Return shapes of `n`: squares, vectors, or an axis for each letter of an equation."""
    if op.name == CHAIN:
        raise MissingFieldError(
            "a sweep of a chain needs --shapes", hint="n stands for the size: --shapes nx64 64xn"
        )
    fields = request_fields(options, op.params)
    if "equation" in fields:
        left = str(fields["equation"]).partition("->")[0].replace(" ", "").replace(".", "")
        return ["×".join(SIZE_NAME * len(term)) or "()" for term in left.split(",")]
    return _SHAPES.get(op.name, ("n",))


def _run_with_progress(
    core: Core, sizes: Sequence[int], call_at: Callable[[int], Call], limit_ns: int
) -> Sweep:
    with progress_bar(len(sizes)) as bar:

        def show(size: int, row: Row) -> None:
            bar.show(row, done=sizes.index(size), at=f"{SIZE_NAME} = {size}, ")

        return sweep(core.engine, sizes, call_at, limit_ns, show)


def _draw(found: Sweep, title: str, limit_ns: int) -> "Chart":
    from service.cli.charts import sweep_chart

    return sweep_chart(found, title, limit_ns)
