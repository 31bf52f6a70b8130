"""`python -m service plan`: the result's shape and the cost of a call, without computing it."""

from collections.abc import Sequence
from typing import Final

from service.bootstrap import make_core
from service.cli.arguments import OPERANDS, SHAPES, find_op, op_parser
from service.cli.output import print_table
from service.cli.request import (
    ARITHMETIC,
    DEADLINE,
    DEVICE,
    DTYPE,
    STRATEGY,
    call_title,
    measure_costs,
    parse_shapes,
    shape_call,
)
from service.cli.tables import plan_table
from service.errors import MissingFieldError
from service.http.serializers import plan_answer
from service.settings import from_environment

WIDTH: Final = 100
ENDINGS: Final = ("{shapes}", "{shapes} --strategy torch --dtype float64", "{shapes} --json")


def plan(arguments: Sequence[str]) -> None:
    """Print the plan of a call on operands of the given shapes."""
    op = find_op("plan", arguments)
    groups = {OPERANDS: [DTYPE], "plan": [STRATEGY, DEVICE, *ARITHMETIC, DEADLINE]}
    parser = op_parser("plan", op, groups, ENDINGS)
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print JSON alone, as HTTP answers it")
    options = parser.parse(arguments[1:])
    if options.shapes is None:
        raise MissingFieldError(f"plan {op.name} needs --shapes", hint=SHAPES)
    core = make_core(from_environment())
    call = shape_call(core, op, parse_shapes(options.shapes), options)
    measure_costs(core, op, call)
    request = core.engine.call_spec(call)
    found = core.engine.planner.explain(request)
    if options.json:
        print(plan_answer(request, found).model_dump_json(exclude_unset=True))
    else:
        print_table(plan_table(request, found, f"plan of {call_title(op, call)}"), most=WIDTH)
