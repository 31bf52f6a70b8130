"""Calls made from a command's fields and shapes, checked as the service checks a request."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from service.bootstrap import Core
from service.cli.arguments import read_file, request_fields
from service.codecs import DecodeContext
from service.codecs.json.codec import take_operands
from service.codecs.json.document import read_document
from service.codecs.json.nested import check_size
from service.codecs.request import Operand, ShapeOperand, WholeOperand, build_call
from service.core.arithmetic import PRECISIONS
from service.core.call import Call, Shape, Tensor
from service.core.dtypes import BOOL, COMPLEX, INTEGERS, Dtype, describe
from service.core.units import shape_text
from service.core.validators import integer
from service.errors import InvalidFieldError, quote
from service.operations.chain import CHAIN
from service.registry import Op, Param

# Above every product of sizes: the planner itself reports a size over its limit.
MAX_ELEMENTS_OF_PLAN: Final = 2**1100
# In the shapes of a sweep, this letter is replaced by the size.
SIZE_NAME: Final = "n"
_SHAPE: Final = re.compile(r"(?:[0-9]{1,18}|n)(?:[x×](?:[0-9]{1,18}|n))*")
# Sizes as other programs write them: [5, 784], (5,), 5*784.
_SIZES: Final = re.compile(r"[(\[]?[0-9]{1,18}(?:[,;* X]+[0-9]{1,18})*,?[)\]]?")
# Integers stay small, so that products of a few hundred of them fit most dtypes.
INTEGERS_BELOW: Final = 10
CHAIN_EXAMPLE: Final = "the file has the body of a POST to /chain; docs/chain.md has an example"
_parse_seed: Final = integer("seed", least=0, most=2**63 - 1)


def _common_field(name: str, summary: str, kind: str = "string") -> Param:
    """Return a field of every request; build_call checks its value."""
    return Param(name, summary, {"type": kind}, lambda value: value)


DTYPE: Final = _common_field("dtype", "dtype of the operands; SERVICE_DTYPE, float32.")
DEADLINE: Final = _common_field(
    "deadline_ms", "The most time for all of it, in milliseconds; SERVICE_DEADLINE_MS.", "integer"
)
STRATEGY: Final = _common_field("strategy", "The strategy that would run; auto.")
DEVICE: Final = _common_field("device", "The device that it would run on; auto.")
ARITHMETIC: Final = (
    _common_field("precision", f"Of float32 products: {', '.join(PRECISIONS)}; ieee."),
    _common_field("deterministic", "The same bits each time; false.", "boolean"),
)
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
    """Return a call on random operands; `params` are the command's, beside the operation's own."""
    seed = _parse_seed(request_fields(options, [SEED]).get(SEED.name, SEED.default))
    context = replace(core.context, params=tuple(params))
    common = [*params, DTYPE, *ARITHMETIC, DEADLINE]
    if op.name == CHAIN:
        fields = chain_fields(options.file, shapes, context) | request_fields(options, common)
        operands = chain_operands(op, fields, context, seed)
    else:
        fields = request_fields(options, [*op.params, *common])
        operands = random_operands(op, shapes, context, seed)
    return build_call(op, fields, operands, context)


def shape_call(
    core: Core, op: Op[Any], shapes: Sequence[Shape], options: argparse.Namespace
) -> Call:
    """Return a call whose operands are shapes without elements, for a plan."""
    context = replace(core.context, shapes=True, max_elements=MAX_ELEMENTS_OF_PLAN)
    common = (DTYPE, STRATEGY, DEVICE, *ARITHMETIC, DEADLINE)
    fields = request_fields(options, [*op.params, *common])
    return build_call(op, fields, shape_operands(op, shapes), context)


def measure_costs(core: Core, op: Op[Any], call: Call) -> None:
    """Measure the strategies of an operation with the dtype of a call: about a second.

    What has to be compiled keeps its prior: a race compiles it, and a plan is not to wait for that.
    """
    steps: Any = call.params.get("steps", ())
    ops = [step.op for step in steps] or [op]
    for known, dtype, device in core.engine.unmeasured():
        if known in ops and dtype == call.specs[0].dtype:
            core.engine.measure(known, dtype, device)


def call_title(op: Op[Any], call: Call, shapes: Sequence[str] = ()) -> str:
    """Return a line with the operation, its fields, the shapes and the dtype.

    `shapes`, such as n×n, replace those of the operands in a sweep.
    """
    shown = [
        _field_text(param, value)
        for param in op.params
        if (value := call.params[param.name]) != param.default
    ]
    if call.arithmetic is not None:
        shown += [f"{name}={value}" for name, value in call.arithmetic.stated.items()]
    texts = [text.replace("x", "×") for text in shapes] or [
        shape_text(spec.shape) for spec in call.specs
    ]
    dtype = describe(call.specs[0].dtype).name
    return f"{' '.join([op.name, *shown])} of {' and '.join(texts)}, {dtype}"


def _field_text(param: Param, value: Any) -> str:
    """Return a field of a call; of the steps of a chain only their operations."""
    if param.name == "steps":
        return ", ".join(step.op.name for step in value)
    return str(value) if param.required else f"{param.name}={value}"


@dataclass(frozen=True, slots=True)
class RandomOperand(WholeOperand):
    """Operand of random elements: from 0 to 1, integers from 0 to 9, or true and false."""

    pointer: str
    shape: Shape
    context: DecodeContext
    generator: torch.Generator
    dtype: Dtype | None = None

    def read(self, dtype: Dtype) -> tuple[Tensor, None]:
        """Return the tensor; raise LimitExceededError before one over the limit is allocated."""
        check_size(self.shape, self.pointer, self.context)
        return random_tensor(self.shape, dtype.torch, self.generator), None


def random_tensor(shape: Shape, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Return uniform numbers of one sign, so that sums do not cancel and errors stay comparable."""
    if dtype in BOOL:
        return torch.randint(2, shape, generator=generator).to(dtype)
    if dtype in INTEGERS:
        return torch.randint(INTEGERS_BELOW, shape, generator=generator).to(dtype)
    if dtype in COMPLEX:
        parts = torch.rand((*shape, 2), generator=generator, dtype=dtype.to_real())
        return torch.view_as_complex(parts)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.rand(shape, generator=generator, dtype=wide).to(dtype)


def parse_shapes(texts: Sequence[str], size: int | None = None) -> tuple[Shape, ...]:
    """Return the shapes of texts such as 5x784, or () for a number; `size` replaces n."""
    return tuple(_parse_shape(text, size) for text in texts)


def _parse_shape(text: str, size: int | None) -> Shape:
    if text == "()":
        return ()
    found = _SHAPE.fullmatch(text)
    if found is None or (size is None and SIZE_NAME in text):
        if found is not None:
            hint = "n stands for the size in a --sweep"
        elif _SIZES.fullmatch(text):
            hint = f"did you mean {quote('x'.join(re.findall('[0-9]+', text)))}?"
        else:
            hint = "such as 5x784; a space is between two shapes"
        raise InvalidFieldError(
            "a shape is sizes of at most 18 digits joined by x, or () for a number; "
            f"there was {quote(text)}",
            hint=hint,
        )
    parts = text.replace("×", "x").replace(SIZE_NAME, str(size)).split("x")
    return tuple(map(int, parts))


def random_operands(
    op: Op[Any], shapes: Sequence[Shape], context: DecodeContext, seed: int
) -> Mapping[str, Operand]:
    """Return random operands by name; the same seed and shapes give the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: RandomOperand(f"/{name}", shape, context, generator)
        for name, shape in _named(op, shapes)
    }


def chain_fields(text: str, shapes: Sequence[Shape], context: DecodeContext) -> dict[str, object]:
    """Return the fields of the chain in a file; `shapes`, if there are any, are its operands."""
    found = read_document(read_file(Path(text), hint=CHAIN_EXAMPLE), None, context)
    if shapes:
        found["operands"] = [{"shape": [*shape]} for shape in shapes]
    return found


def chain_operands(
    op: Op[Any], fields: dict[str, object], context: DecodeContext, seed: int
) -> Mapping[str, Operand]:
    """Take the operands out of the fields of a chain; those that are shapes alone are random."""
    generator = torch.Generator().manual_seed(seed)
    operands = take_operands(fields, op, replace(context, shapes=True))
    return {
        name: RandomOperand(each.pointer, each.shape, context, generator, each.dtype)
        if isinstance(each, ShapeOperand)
        else each
        for name, each in operands.items()
    }


def shape_operands(op: Op[Any], shapes: Sequence[Shape]) -> Mapping[str, Operand]:
    """Return the operands of a plan by name, which are shapes without elements."""
    return {name: ShapeOperand(f"/{name}", shape, None) for name, shape in _named(op, shapes)}


def _named(op: Op[Any], shapes: Sequence[Shape]) -> Sequence[tuple[str, Shape]]:
    if op.operands is None:
        return [(f"operands/{number}", shape) for number, shape in enumerate(shapes)]
    if len(shapes) != len(op.operands):
        raise InvalidFieldError(
            f"{op.name} takes {len(op.operands)} operands, {' and '.join(op.operands)}; "
            f"--shapes has {len(shapes)}",
            hint="one shape for each operand, such as 5x784",
        )
    return list(zip(op.operands, shapes, strict=True))
