"""Options of an operation: the fields of its request, parsed as those of an HTTP request.

`--name value` sets a field. The value is parsed as JSON if it is valid JSON, else it is text. A
required field, such as einsum's equation, may follow the operation's name without an option.
"""

import argparse
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, Final

from service.cli.parser import Parser, command_line, examples, format_list
from service.errors import InvalidFieldError, did_you_mean, quote
from service.operations import REGISTRY
from service.registry import Op, Param, Registry

HELP: Final = ("-h", "--help")
SHAPES: Final = "--shapes 5x784 784x10 gives the shape of each operand"
_SIZES: Final = re.compile(r"[0-9]{1,18}(x[0-9]{1,18})+")


def find_op(command: str, arguments: Sequence[str], registry: Registry = REGISTRY) -> Op[Any]:
    """Return the operation that the first argument names; `--help` prints all of them and exits."""
    if arguments and arguments[0] in HELP:
        found = format_list({op.name: op.summary for op in registry.values()})
        parser = Parser(
            f"{command} OPERATION",
            f"operations:\n{found}",
            epilog=examples(*(_example(command, op) for op in registry.values())),
        )
        parser.usage = "%(prog)s ...; each operation has a --help of its own"
        parser.parse_args(["--help"])
    name = arguments[0] if arguments else ""
    if name in registry:
        return registry[name]
    raise InvalidFieldError(
        f"{command} needs an operation first, one of {', '.join(registry)}"
        + (f"; there was {quote(name)}" if arguments else ""),
        hint=did_you_mean(name, registry) or f"such as: {command_line(f'{command} matmul --help')}",
    )


def op_parser(command: str, op: Op[Any], more: Iterable[Param] = ()) -> Parser:
    """Return a parser of the fields of `op` and of `more`."""
    parser = Parser(f"{command} {op.name}", op.summary, epilog=examples(_example(command, op)))
    needed = "".join(f" {param.name.upper()}" for param in op.params if param.required)
    parser.usage = f"%(prog)s{needed} --shapes SHAPE ... [options]"
    for param in op.params:
        if param.required:
            parser.add_argument(param.name, nargs="?", help=_help(param))
    for param in (*op.params, *more):
        _add(parser, param)
    parser.add_argument("--shapes", nargs="+", help="the shape of each operand, such as 5x784")
    return parser


def _example(command: str, op: Op[Any]) -> str:
    """Return a valid command line, made from the operation's first sample."""
    sample = op.samples[0]
    words = [str(sample.params[param.name]) for param in op.params if param.required]
    for param in op.params:
        if not param.required and param.name in sample.params:
            words += [f"--{param.name}", json.dumps(sample.params[param.name]).strip('"')]
    shapes = ["x".join(map(str, shape)) for shape in sample.shapes]
    return shlex.join([command, op.name, *words, "--shapes", *shapes])


def request_fields(options: argparse.Namespace, params: Iterable[Param]) -> dict[str, object]:
    """Return the fields among `options`, unchecked, as a request has them."""
    fields = {}
    for param in params:
        given = getattr(options, _dest(param))
        if given is None and param.required:
            given = getattr(options, param.name)
        if given is not None:
            fields[param.name] = given if _is_text(param) else parse_value(given)
    return fields


def parse_value(given: object) -> object:
    """Return an argument's value: sizes such as 2x3 as a list, JSON as its value, else the text."""
    if not isinstance(given, str):
        return given
    if _SIZES.fullmatch(given):
        return [int(size) for size in given.split("x")]
    try:
        return json.loads(given)
    except ValueError:
        return given


def _add(parser: Parser, param: Param) -> None:
    kind = param.schema.get("type")
    nargs = {"array": "+", "boolean": "?"}.get(str(kind))
    parser.add_argument(
        f"--{param.name.replace('_', '-')}",
        dest=_dest(param),
        nargs=nargs,
        const=True if nargs == "?" else None,
        metavar=param.name.upper(),
        help=_help(param),
    )


def _help(param: Param) -> str:
    default = "" if param.default is None else f" Default: {json.dumps(param.default)}."
    return (param.summary + default).replace("%", "%%")


def _dest(param: Param) -> str:
    return f"field_{param.name}"


def _is_text(param: Param) -> bool:
    return param.schema.get("type") == "string"
