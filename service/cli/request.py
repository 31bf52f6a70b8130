"""What a command asks for: a call of its fields and shapes, read as the service reads a request."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from service.bootstrap import Core
from service.cli.arguments import fields_of
from service.cli.operands import random_operands, shape_operands
from service.codecs.request import build_call
from service.core.call import Call, Shape
from service.core.dtypes import describe
from service.core.units import shape_text
from service.core.validators import integer
from service.registry import Op, Param

UNLIMITED: Final = 2**1100
_parse_seed: Final = integer("seed", least=0, most=2**63 - 1)


def plain(name: str, summary: str, kind: str = "string") -> Param:
    """A field that every request has; it is checked where the call is built."""
    return Param(name, summary, {"type": kind}, lambda value: value)


DTYPE: Final = plain("dtype", "dtype of the operands; SERVICE_DTYPE, float32.")
DEADLINE: Final = plain(
    "deadline_ms", "The most time for all of it, in milliseconds; SERVICE_DEADLINE_MS.", "integer"
)
STRATEGY: Final = plain("strategy", "The strategy that would run; auto.")
DEVICE: Final = plain("device", "The device that it would run on; auto.")
SEED: Final = Param(
    "seed",
    "Seed of the random operands, which are uniform from 0 to 1; integers from 0 to 9.",
    {"type": "integer"},
    _parse_seed,
    default=0,
)


def random_call(
    core: Core,
    op: Op[Any],
    shapes: Sequence[Shape],
    options: argparse.Namespace,
    params: Sequence[Param],
) -> Call:
    """A call on random operands; `params` are those of the command beside the operation's."""
    seed = _parse_seed(fields_of(options, [SEED]).get(SEED.name, SEED.default))
    reading = replace(core.reading, params=tuple(params))
    fields = fields_of(options, [*op.params, *params, DTYPE, DEADLINE])
    operands = random_operands(op, shapes, reading, seed)
    return build_call(op, fields, operands, reading)


def sketched_call(
    core: Core, op: Op[Any], shapes: Sequence[Shape], options: argparse.Namespace
) -> Call:
    """A call on shapes alone, for a plan: it says itself that a size is over its limit."""
    reading = replace(core.reading, shapes=True, max_elements=UNLIMITED)
    fields = fields_of(options, [*op.params, DTYPE, DEADLINE, STRATEGY, DEVICE])
    return build_call(op, fields, shape_operands(op, shapes), reading)


def subject(op: Op[Any], call: Call, shapes: Sequence[str] = ()) -> str:
    """A line that says what is computed: operation, parameters, shapes and dtype.

    `shapes` stand for those of the operands, where these vary.
    """
    shown = [
        str(value) if param.required else f"{param.name}={value}"
        for param in op.params
        if (value := call.params[param.name]) != param.default
    ]
    texts = [text.replace("x", "×") for text in shapes] or [
        shape_text(spec.shape) for spec in call.specs
    ]
    dtype = describe(call.specs[0].dtype).name
    return f"{' '.join([op.name, *shown])} of {' and '.join(texts)}, {dtype}"
