"""Checked fields and operands to a Call. What every format shares: it knows none of them."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

import torch

from service.call import AUTO, OUTPUTS, Call, Tensor
from service.dtypes import INTEGERS, Dtype, describe, parse_dtype, promote
from service.errors import (
    LimitExceededError,
    MissingFieldError,
    Place,
    UnknownDtypeError,
    UnknownFieldError,
    did_you_mean,
    quote,
)
from service.fields import choice, integer, text
from service.registry import Op
from service.wire.codec import Reading
from service.wire.conversion import PARTS, convert
from service.wire.pointers import escape, name_of

COMMON: Final = ("strategy", "device", "dtype", "output", "deadline_ms")
MAX_OPERANDS: Final = 64
LONGEST_NAME: Final = 64


class Operand(Protocol):
    """A tensor of a request that has not been read yet."""

    @property
    def pointer(self) -> str:
        """Where it stands in the request."""
        ...

    @property
    def dtype(self) -> Dtype | None:
        """The dtype that it states itself, if it does."""
        ...

    def read(self, dtype: Dtype) -> tuple[Tensor, str | None]:
        """The tensor, and a sentence on a whole number that lost digits, if any did."""
        ...


_STRATEGY: Final = text("strategy", longest=LONGEST_NAME)
_DEVICE: Final = text("device", longest=LONGEST_NAME)
_OUTPUT: Final = choice("output", OUTPUTS)


def build_call(
    op: Op[Any], fields: Mapping[str, object], operands: Mapping[str, Operand], reading: Reading
) -> Call:
    """The call of checked fields and operands; a RequestError says what is wrong with them.

    `operands` are in order; those of an operation that takes a list are called `0`, `1`, ...
    Their data are read last, when the other fields are known to be right.
    """
    _refuse_unknown(op, fields, operands)
    _refuse_missing(op, fields, operands)
    strategy = _STRATEGY(fields["strategy"]) if "strategy" in fields else AUTO
    op.resolve(strategy)
    deadline_ms = None
    if "deadline_ms" in fields:
        parse = integer("deadline_ms", least=1, most=reading.max_deadline_ms)
        deadline_ms = parse(fields["deadline_ms"])
    device = _DEVICE(fields["device"]) if "device" in fields else AUTO
    output = _OUTPUT(fields["output"]) if "output" in fields else OUTPUTS[0]
    asked = parse_dtype_at(fields["dtype"], "/dtype") if "dtype" in fields else None
    params = {
        param.name: param.parse(fields[param.name]) if param.name in fields else param.default
        for param in op.params
    }
    tensors, warnings = _read_all(operands.values(), asked, reading)
    return Call(op.name, tensors, params, strategy, device, output, deadline_ms, warnings)


def parse_dtype_at(name: object, pointer: str) -> Dtype:
    """The dtype of that name; the error points at the field it came from."""
    try:
        return parse_dtype(name)
    except UnknownDtypeError as error:
        place = Place(pointer, "no such dtype")
        raise UnknownDtypeError(error.detail, hint=error.hint, places=[place]) from None


def _read_all(
    operands: Collection[Operand], asked: Dtype | None, reading: Reading
) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """All tensors in the one dtype that holds them, and what lost digits on the way."""
    stated = [operand.dtype.torch for operand in operands if operand.dtype]
    plain = asked or (describe(promote(stated)) if stated else reading.dtype)
    read = [operand.read(operand.dtype or plain) for operand in operands]
    target = promote(tensor.dtype for tensor, _ in read)
    losses = [(operand, lost) for operand, (_, lost) in zip(operands, read, strict=True)]
    tensors = []
    for operand, (tensor, _) in zip(operands, read, strict=True):
        promoted, lost = _promote(tensor, target, operand.pointer)
        tensors.append(promoted)
        losses.append((operand, lost))
    warnings = (f"{name_of(operand.pointer)}: {lost}" for operand, lost in losses if lost)
    return tuple(tensors), tuple(warnings)


def _promote(tensor: Tensor, target: torch.dtype, pointer: str) -> tuple[Tensor, str | None]:
    """The tensor in a dtype that promotion gave, and a sentence on an integer that lost digits."""
    if tensor.dtype not in INTEGERS or target in INTEGERS:
        return tensor.to(target), None
    dtype = describe(target)
    items = tensor.to(torch.int64).numpy().reshape(-1)
    flat, lost = convert(items, PARTS.get(dtype.name, dtype), lambda _: pointer)
    return flat.to(target).reshape(tensor.shape), lost


def _refuse_unknown(
    op: Op[Any], fields: Mapping[str, object], operands: Mapping[str, Operand]
) -> None:
    known = [*(op.operands or ["operands"]), *(param.name for param in op.params), *COMMON]
    unknown = [name for name in fields if name not in known]
    if op.operands is not None:
        unknown += (name for name in operands if name not in known)
    if unknown:
        raise UnknownFieldError(
            f"{op.name} has no field {quote(unknown[0])}; it has {', '.join(known)}",
            hint=did_you_mean(unknown[0], known),
            places=[Place(f"/{escape(name)}", "unknown field") for name in unknown],
        )


def _refuse_missing(
    op: Op[Any], fields: Mapping[str, object], operands: Mapping[str, Operand]
) -> None:
    names = op.operands if op.operands is not None else () if operands else ("operands",)
    missing = [name for name in names if name not in operands]
    missing += [param.name for param in op.params if param.required and param.name not in fields]
    if missing:
        raise MissingFieldError(
            f"{op.name} needs {' and '.join(missing)}",
            places=[Place(f"/{name}", "missing") for name in missing],
        )
    if len(operands) > MAX_OPERANDS:
        raise LimitExceededError(
            f"{op.name} has {len(operands)} operands; the limit is {MAX_OPERANDS}",
            places=[Place("/operands", f"{len(operands)} operands, at most {MAX_OPERANDS}")],
        )
