"""`python -m service compare`: the strategies of an operation, raced on random operands."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from service.bootstrap import make_core
from service.cli.arguments import SHAPES, find_op, parser_of
from service.cli.output import add_results, asked_results, progress_bar
from service.cli.request import DEADLINE, DTYPE, SEED, parse_shapes, random_call, subject
from service.cli.sweep import LIMIT, compare_sizes
from service.cli.tables import race_table
from service.compare import PARAMS, CompareOptions, Race, Report, prepare_race
from service.errors import MissingFieldError
from service.http.serializers import report_answer
from service.settings import from_environment

if TYPE_CHECKING:
    from service.cli.charts import Chart


def compare(arguments: Sequence[str]) -> None:
    """Race the strategies on operands of the given shapes, or at one size after another."""
    op = find_op("compare", arguments)
    parser = parser_of("compare", op, [*PARAMS, DTYPE, DEADLINE, SEED, LIMIT])
    parser.add_argument(
        "--sweep",
        metavar="FIRST:LAST",
        help="sizes by powers of two, such as 2:1024; n stands for the size in --shapes",
    )
    add_results(parser)
    options = parser.parse(arguments[1:])
    results = asked_results(options)
    if options.sweep is not None:
        compare_sizes(op, options, results)
        return
    if options.shapes is None:
        raise MissingFieldError(f"compare {op.name} needs --shapes or --sweep", hint=SHAPES)
    core = make_core(from_environment())
    call = random_call(core, op, parse_shapes(options.shapes), options, PARAMS)
    race_options = CompareOptions.of(call.options)
    report = watched(prepare_race(core.engine, call, race_options))
    title = subject(op, call)
    results.show(
        title,
        race_table(report, title, race_options),
        lambda: report_answer(report).model_dump_json(exclude_unset=True),
        partial(_draw, report, title),
    )


def watched(race: Race) -> Report:
    """The report of a race, after a progress bar that names each rung as it finishes."""
    with progress_bar(len(race.entries)) as bar:
        rows = []
        for row in race.run():
            rows.append(row)
            bar.show(row, done=len(rows))
    return race.report(rows)


def _draw(report: Report, title: str) -> "Chart":
    from service.cli.charts import race_chart

    return race_chart(report, title)
