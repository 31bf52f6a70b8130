"""`python -m service compare`: a race of an operation's strategies on random operands."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from service.bootstrap import make_core
from service.cli.against import KeptReport, read_report
from service.cli.arguments import OPERANDS, SHAPES, add_field, find_op, op_parser
from service.cli.output import add_output_options, parse_output_options, progress_bar
from service.cli.report_page import race_page
from service.cli.request import (
    ARITHMETIC,
    DEADLINE,
    DTYPE,
    SEED,
    call_title,
    measure_costs,
    parse_shapes,
    random_call,
)
from service.cli.sweep import LIMIT, race_sizes
from service.cli.tables import overlay_table, race_table
from service.compare import PARAMS, CompareOptions, Race, Report, prepare_race
from service.errors import MissingFieldError
from service.http.serializers import report_answer
from service.operations import REGISTRY
from service.operations.chain import CHAIN, chain_op
from service.settings import from_environment

if TYPE_CHECKING:
    from service.cli.charts import Chart

ENDINGS: Final = (
    "{shapes}",
    "{shapes} --strategies loops torch --md race.md",
    "--sweep 2:256 --csv sweep.csv",
)

CHAIN_ENDINGS: Final = (
    "",
    "--strategies loops torch --md race.md",
    "--shapes nx64 64xn --sweep 2:256 --csv sweep.csv",
)


def compare(arguments: Sequence[str]) -> None:
    """Race the strategies on operands of the given shapes, or at each size of a sweep."""
    op = find_op("compare", arguments, {**REGISTRY, CHAIN: chain_op(REGISTRY)})
    groups = {OPERANDS: [DTYPE, SEED], "race": [*PARAMS, *ARITHMETIC, DEADLINE]}
    is_chain = op.name == CHAIN
    parser = op_parser("compare", op, groups, CHAIN_ENDINGS if is_chain else ENDINGS)
    sweep = parser.add_argument_group("sweep over sizes")
    sweep.add_argument(
        "--sweep",
        metavar="FIRST:LAST",
        help="sizes by powers of two, such as 2:1024; n stands for the size in --shapes",
    )
    add_field(sweep, LIMIT)
    add_output_options(parser).add_argument(
        "--against",
        metavar="FILE",
        help="lay the race beside a report that --json or the page wrote, a sweep beside a sweep",
    )
    options = parser.parse(arguments[1:])
    output = parse_output_options(options)
    if options.sweep is not None:
        race_sizes(op, options, output)
        return
    if options.shapes is None and not is_chain:
        raise MissingFieldError(f"compare {op.name} needs --shapes or --sweep", hint=SHAPES)
    kept = None if options.against is None else read_report(options.against)
    core = make_core(from_environment())
    call = random_call(core, op, parse_shapes(options.shapes or ()), options, PARAMS)
    race_options = CompareOptions.of(call.options)
    if kept is not None:
        kept.check(op, call)
    measure_costs(core, op, call)
    report = run_with_progress(prepare_race(core.engine, call, race_options))
    title = call_title(op, call)
    table = race_table(report, title, race_options)
    output.show(
        table if kept is None else overlay_table(report, kept, table),
        [report],
        lambda: report_answer(report).model_dump_json(exclude_unset=True),
        lambda text: race_page(report, title, text, race_options, kept),
        partial(_draw, report, title, kept),
    )


def run_with_progress(race: Race) -> Report:
    """Run a race and return its report; a progress bar names each strategy as it finishes."""
    with progress_bar(len(race.entries)) as bar:
        rows = []
        for row in race.run():
            rows.append(row)
            bar.show(row, done=len(rows))
    return race.report(rows)


def _draw(report: Report, title: str, kept: KeptReport | None) -> "Chart":
    from service.cli.charts import overlay_chart, race_chart

    return race_chart(report, title) if kept is None else overlay_chart(report, kept, title)
