"""Options of an operation: the fields of its request, parsed as those of an HTTP request.

`--name value` sets a field. The value is parsed as JSON if it is valid JSON, else it is text. A
required field, such as einsum's equation, may follow the operation's name without an option.
"""

import argparse
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from service.cli.parser import Parser, command_line, examples, format_list
from service.errors import InvalidFieldError, did_you_mean, quote
from service.operations import REGISTRY
from service.operations.chain import CHAIN
from service.registry import Op, Param

HELP: Final = ("-h", "--help")
OPERANDS: Final = "operands"
SHAPES: Final = "--shapes 5x784 784x10 gives the shape of each operand"
CHAIN_HELP: Final = (
    "The body of a POST to /chain, in JSON. An operand may be its shape alone, such as "
    '{"shape": [5, 784]}, and is random.'
)
_SIZES: Final = re.compile(r"[0-9]{1,18}(x[0-9]{1,18})+")


def find_op(
    command: str, arguments: Sequence[str], registry: Mapping[str, Op[Any]] = REGISTRY
) -> Op[Any]:
    """Return the operation that the first argument names; `--help` prints all of them and exits."""
    if arguments and arguments[0] in HELP:
        found = format_list({op.name: op.summary for op in registry.values()})
        parser = Parser(
            f"{command} OPERATION",
            f"operations:\n{found}",
            epilog=examples(*(f"{command} {' '.join(_example(op))}" for op in registry.values())),
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


def op_parser(
    command: str, op: Op[Any], groups: Mapping[str, Iterable[Param]], endings: Sequence[str]
) -> Parser:
    """Return a parser of the fields of `op` and of `groups`.

    `--shapes` is in the group of the operands. Each example is the operation with its fields, and
    then one of `endings`, in which `{shapes}` stands for the option and its shapes. A chain has its
    fields in a file.
    """
    fields, shapes = _example(op)
    lines = (f"{command} {fields} {ending.format(shapes=shapes)}" for ending in endings)
    parser = Parser(f"{command} {op.name}", op.summary, epilog=examples(*lines))
    own = () if op.name == CHAIN else op.params
    needed = "".join(f" {param.name.upper()}" for param in own if param.required)
    parser.usage = f"%(prog)s{needed} --shapes SHAPE ... [options]"
    if op.name == CHAIN:
        parser.usage = "%(prog)s FILE [options]"
        parser.add_argument("file", metavar="FILE", help=CHAIN_HELP)
    for param in own:
        if param.required:
            parser.add_argument(param.name, nargs="?", help=_help(param))
    for title, params in {**({f"fields of {op.name}": own} if own else {}), **groups}.items():
        group = parser.add_argument_group(title)
        if title == OPERANDS:
            group.add_argument(
                "--shapes", nargs="+", metavar="SHAPE", help="of each operand, such as 5x784 784x10"
            )
        for param in params:
            add_field(group, param)
    return parser


def _example(op: Op[Any]) -> tuple[str, str]:
    """Return the operation with its fields, and the shapes, of its first sample."""
    if op.name == CHAIN:
        return f"{CHAIN} chain.json", ""
    sample = op.samples[0]
    words = [str(sample.params[param.name]) for param in op.params if param.required]
    for param in op.params:
        if not param.required and param.name in sample.params:
            words += [f"--{param.name}", json.dumps(sample.params[param.name]).strip('"')]
    shapes = ["x".join(map(str, shape)) for shape in sample.shapes]
    return shlex.join([op.name, *words]), shlex.join(["--shapes", *shapes])


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


def read_file(path: Path, *, hint: str) -> bytes:
    """Return the bytes of a file; raise InvalidFieldError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        detail = f"{quote(str(path))} cannot be read: {reason}"
        raise InvalidFieldError(detail, hint=hint) from error


def parse_value(given: object) -> object:
    """Return an argument's value: sizes such as 2x3 as a list, JSON as its value, else the text."""
    if isinstance(given, list):
        return parse_list(given)
    if not isinstance(given, str):
        return given
    if _SIZES.fullmatch(given):
        return [int(size) for size in given.split("x")]
    try:
        return json.loads(given)
    except ValueError:
        return given


def parse_list(given: Sequence[str]) -> object:
    """Return the members of a list such as `loops torch` or `loops,torch`, or of one in JSON."""
    if len(given) == 1 and given[0].startswith("["):
        return parse_value(given[0])
    return [name for text in given for name in text.split(",") if name]


def add_field(group: argparse._ArgumentGroup, param: Param) -> None:
    """Add the option of a field."""
    kind = param.schema.get("type")
    nargs = {"array": "+", "boolean": "?"}.get(str(kind))
    group.add_argument(
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
