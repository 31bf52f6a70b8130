"""Checked fields and operands to a Call, independent of the format that they came in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, Protocol, TypeGuard

import torch

from service.codecs.base import DecodeContext
from service.codecs.json.numbers import PART_DTYPES, convert
from service.codecs.json_pointer import name_of
from service.codecs.output_field import parse_output
from service.core.arithmetic import Arithmetic, parse_arithmetic
from service.core.call import AUTO, COMMON, OUTPUTS, Call, Output, Shape, Spec, Stored, Tensor
from service.core.dtypes import INTEGERS, Dtype, describe, parse_dtype, promote
from service.core.validators import integer, text
from service.errors import (
    InvalidFieldError,
    LimitExceededError,
    MissingFieldError,
    Place,
    UnknownDtypeError,
    UnknownFieldError,
    did_you_mean,
    escape,
    quote,
)
from service.registry import Op, Param, parse_params

MAX_OPERANDS: Final = 64
LONGEST_NAME: Final = 64


class Operand(Protocol):
    """A tensor of a request that has not been read yet."""

    @property
    def pointer(self) -> str:
        """The JSON pointer of its data in the request."""
        ...

    @property
    def dtype(self) -> Dtype | None:
        """The dtype stated beside its data, or None."""
        ...

    def read(self, dtype: Dtype) -> tuple[Tensor, str | None]:
        """Return the tensor, and a warning if a whole number lost digits.

        An operand by reference stays Stored: its elements are not read.
        """
        ...

    def element_pointer(self, index: int) -> str:
        """Return the pointer of an element by its position, or that of the data if they are one."""
        ...


class WholeOperand:
    """Base of operands whose elements have no pointers of their own, such as bytes."""

    __slots__ = ()

    pointer: str

    def element_pointer(self, _: int) -> str:
        """Return the pointer of the data."""
        return self.pointer


@dataclass(frozen=True, slots=True)
class ShapeOperand(WholeOperand):
    """An operand of a plan given by its shape alone."""

    pointer: str
    shape: Shape
    dtype: Dtype | None

    def read(self, dtype: Dtype) -> NoReturn:
        """Raise MissingFieldError: there are no data."""
        raise MissingFieldError(
            f"{name_of(self.pointer)} has no data", places=[Place(self.pointer, "a shape alone")]
        )


_STRATEGY: Final = text("strategy", longest=LONGEST_NAME)
_DEVICE: Final = text("device", longest=LONGEST_NAME)


def build_call(
    op: Op[Any],
    fields: Mapping[str, object],
    operands: Mapping[str, Operand],
    context: DecodeContext,
) -> Call:
    """Return the call of these fields and operands, or raise a RequestError.

    `operands` are in order; those of an operation that takes a list are named `0`, `1`, ...
    Their data are read last, after all other fields are checked.
    """
    checked = check_fields(op, fields, operands, context)
    return complete_call(op, checked, operands.values(), context)


def check_fields(
    op: Op[Any], fields: Mapping[str, object], operands: Collection[str], context: DecodeContext
) -> "Fields":
    """Return the checked fields beside operands of these names."""
    _refuse_unknown(op, fields, operands, context.params)
    _refuse_missing(op, fields, operands)
    checked = parse_fields(op, fields, context)
    if not op.optional:
        return checked
    positions = {name: position for position, name in enumerate(operands) if name in op.optional}
    return replace(checked, params={**checked.params, **positions})


def complete_call(
    op: Op[Any], checked: "Fields", operands: Collection[Operand], context: DecodeContext
) -> Call:
    """Return the call of checked fields on the operands, which are read here."""
    if context.shapes:
        return checked.call(op, operand_specs=_read_specs(operands, checked.dtype, context))
    tensors, warnings = _read_all(operands, checked.dtype, context)
    return checked.call(op, tensors, warnings)


@dataclass(frozen=True, slots=True)
class Fields:
    """Checked fields of a request beside its operands. `dtype` is that of operands without one."""

    strategy: str
    device: str
    output: Output
    deadline_ms: int | None
    dtype: Dtype | None
    params: Mapping[str, object]
    options: Mapping[str, object]
    arithmetic: Arithmetic | None

    def call(
        self,
        op: Op[Any],
        operands: tuple[Tensor, ...] = (),
        warnings: tuple[str, ...] = (),
        operand_specs: tuple[Spec, ...] = (),
    ) -> Call:
        """Return the call of these fields on `operands`."""
        return Call(
            op.name,
            operands,
            self.params,
            self.strategy,
            self.device,
            self.output,
            self.deadline_ms,
            warnings,
            operand_specs,
            self.options,
            arithmetic=self.arithmetic,
        )


def parse_fields(op: Op[Any], fields: Mapping[str, object], context: DecodeContext) -> Fields:
    """Return all fields but the operands, checked; RequestError for the first wrong one.

    A field that is null is not given.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    strategy = AUTO
    if "strategy" in given:
        strategy = _STRATEGY(given["strategy"])
        op.resolve(strategy)
    deadline_ms = None
    if "deadline_ms" in given:
        parse = integer("deadline_ms", least=1, most=context.max_deadline_ms)
        deadline_ms = parse(given["deadline_ms"])
    return Fields(
        strategy=strategy,
        device=_DEVICE(given["device"]) if "device" in given else AUTO,
        output=parse_output(given["output"], context) if "output" in given else OUTPUTS[0],
        deadline_ms=deadline_ms,
        dtype=parse_dtype_at(given["dtype"], "/dtype") if "dtype" in given else None,
        params=parse_params(op.params, fields),
        options=parse_params(context.params, fields),
        arithmetic=parse_arithmetic(given),
    )


def parse_dtype_at(name: object, pointer: str) -> Dtype:
    """Return the dtype of that name; UnknownDtypeError with this pointer if there is none."""
    try:
        return parse_dtype(name)
    except UnknownDtypeError as error:
        place = Place(pointer, "no such dtype")
        raise UnknownDtypeError(error.detail, hint=error.hint, places=[place]) from None


def _read_all(
    operands: Collection[Operand], requested: Dtype | None, context: DecodeContext
) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """Return all tensors in their common dtype, and warnings about lost digits."""
    plain = _plain_dtype(operands, requested, context)
    read = [operand.read(operand.dtype or plain) for operand in operands]
    losses = [(operand, lost) for operand, (_, lost) in zip(operands, read, strict=True) if lost]
    tensors = [tensor for tensor, _ in read]
    if casts_booleans(requested):
        tensors = [_numbers_of(tensor, requested) for tensor in tensors]
    if any(tensor.dtype != tensors[0].dtype for tensor in tensors):
        target = promote(tensor.dtype for tensor in tensors)
        for index, operand in enumerate(operands):
            if tensors[index].dtype != target:
                tensors[index], lost = _promote(tensors[index], target, operand)
                if lost:
                    losses.append((operand, lost))
    warnings = tuple(f"{name_of(operand.pointer)}: {lost}" for operand, lost in losses)
    return tuple(tensors), warnings


def casts_booleans(requested: Dtype | None) -> TypeGuard[Dtype]:
    """Return whether the dtype of a request makes numbers of booleans in other formats or dtypes.

    A comparison gives booleans, which state their dtype: the request is about arithmetic with them.
    """
    return requested is not None and requested.kind in {"float", "integer"}


def _numbers_of(tensor: Tensor, dtype: Dtype) -> Tensor:
    """Return booleans as 1 and 0; a stored array and a tensor of numbers as they are."""
    is_cast = tensor.dtype == torch.bool and not isinstance(tensor, Stored)
    return tensor.to(dtype.torch) if is_cast else tensor


def _plain_dtype(
    operands: Collection[Operand], requested: Dtype | None, context: DecodeContext
) -> Dtype:
    """Return the dtype of operands that state none: as requested, or that of the others."""
    stated = [operand.dtype.torch for operand in operands if operand.dtype]
    if requested or not stated:
        return requested or context.dtype
    return describe(stated[0] if len(set(stated)) == 1 else promote(stated))


def _read_specs(
    operands: Collection[Operand], requested: Dtype | None, context: DecodeContext
) -> tuple[Spec, ...]:
    """Return shape and dtype of each operand, with data or without."""
    plain = _plain_dtype(operands, requested, context)
    specs = []
    for operand in operands:
        dtype = operand.dtype or plain
        if isinstance(operand, ShapeOperand):
            if dtype.kind == "bool" and casts_booleans(requested):
                dtype = requested
            specs.append(Spec(operand.shape, dtype.torch))
        else:
            tensor, _ = operand.read(dtype)
            if casts_booleans(requested):
                tensor = _numbers_of(tensor, requested)
            specs.append(Spec(tuple(tensor.shape), tensor.dtype))
    target = promote(spec.dtype for spec in specs)
    return tuple(Spec(spec.shape, target) for spec in specs)


def _promote(tensor: Tensor, target: torch.dtype, operand: Operand) -> tuple[Tensor, str | None]:
    """Return the tensor in the promoted dtype, and a warning if an integer lost digits."""
    if isinstance(tensor, Stored):
        pointer = operand.pointer
        found, wanted = describe(tensor.dtype).name, describe(target).name
        raise InvalidFieldError(
            f"{name_of(pointer)} is stored as {found}, and beside the other operands it would "
            f"have to become {wanted}: stored arrays are not converted",
            hint=f'send the other operands with "dtype": "{found}"',
            places=[Place(pointer, f"{found}, expected {wanted}")],
        )
    if tensor.dtype not in INTEGERS or target in INTEGERS:
        return tensor.to(target), None
    dtype = describe(target)
    items = tensor.to(torch.int64).numpy().reshape(-1)
    flat, lost = convert(items, PART_DTYPES.get(dtype.name, dtype), operand.element_pointer)
    return flat.to(target).reshape(tensor.shape), lost


def _refuse_unknown(
    op: Op[Any],
    fields: Mapping[str, object],
    operands: Collection[str],
    route_params: Sequence[Param],
) -> None:
    params = [param.name for param in (*op.params, *route_params)]
    unknown = [name for name in fields if name not in COMMON and name not in params]
    if op.operands is not None:
        unknown += [name for name in operands if name not in op.operands]
    if unknown:
        known = [*op.tensor_fields, *params, *COMMON]
        raise UnknownFieldError(
            f"{op.name} has no field {quote(unknown[0])}; it has {', '.join(known)}",
            hint=did_you_mean(unknown[0], known),
            places=(Place(f"/{escape(name)}", "unknown field") for name in unknown),
        )


def _refuse_missing(op: Op[Any], fields: Mapping[str, object], operands: Collection[str]) -> None:
    given = operands
    if op.optional:
        given = [name for name in operands if name not in op.optional]
    is_listed = given or not op.needs_operands
    names = op.operands if op.operands is not None else () if is_listed else ("operands",)
    missing = [name for name in names if name not in operands and name not in op.optional]
    missing += [param.name for param in op.params if param.required and param.name not in fields]
    if missing:
        raise MissingFieldError(
            f"{op.name} needs {' and '.join(missing)}",
            places=[Place(f"/{name}", "missing") for name in missing],
        )
    if len(given) > MAX_OPERANDS:
        raise LimitExceededError(
            f"{op.name} has {len(given)} operands; the limit is {MAX_OPERANDS}",
            places=[Place("/operands", f"{len(given)} operands, at most {MAX_OPERANDS}")],
        )
