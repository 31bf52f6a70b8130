"""Fields of a chain: its steps, and the names of those whose results are sent back.

A step has the fields of its operation, of which an operand may be a reference. The name of its
operation is in `operation`: broadcast has a field `op` of its own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from service.core.call import AUTO, COMMON
from service.core.validators import as_integer, choice, refuse, text
from service.errors import (
    InvalidFieldError,
    LimitExceededError,
    MissingFieldError,
    Place,
    UnknownFieldError,
    UnknownStrategyError,
    did_you_mean,
    escape,
    quote,
    quote_names,
)
from service.planning.chain_steps import (
    ChainStep,
    InferredChain,
    Source,
    at_step,
    infer_chain,
    no_operand,
)
from service.registry import Op, Param, Registry, Strategy, parse_params

_STRATEGY: Final = text("strategy", longest=64)
CHAIN: Final = "chain"
MAX_STEPS: Final = 64
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# In a safetensors file, which has results by name, it is the key of other things.
RESERVED_NAME: Final = "__metadata__"
STEP_FIELDS: Final = ("name", "operation", "strategy")
REFERENCES: Final = ("step", "operand")
FORMS: Final = '{"step": name} of an earlier step, or {"operand": number} of the request'


class InlineOperand(int):
    """The position of an operand that stood in a step, and was joined to those of the request."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ChainOp(Op[InferredChain]):
    """The fields of a chain as those of an operation. Its steps have the strategies."""

    registry: Registry = field(default_factory=Registry)

    @property
    def strategy_names(self) -> list[str]:
        """The strategies of all operations."""
        ways = (way for op in self.registry.values() for way in op.strategies)
        return [*dict.fromkeys(ways)]

    def resolve(self, name: str) -> tuple[Strategy[InferredChain], ...]:
        """Return nothing; UnknownStrategyError unless some operation has a strategy `name`."""
        known = [AUTO, *self.strategy_names]
        if name not in known:
            raise UnknownStrategyError(
                f"no operation has a strategy {quote(name)}; choose one of {', '.join(known)}",
                hint=did_you_mean(name, known),
            )
        return ()

    def take_inline(self, fields: Mapping[str, object], count: int) -> list[tuple[str, object]]:
        """Take the operands that stand in steps, whose positions follow `count` others.

        What is not as it should be stays, and is refused as the steps are parsed.
        """
        taken: list[tuple[str, object]] = []
        steps = fields.get("steps")
        for number, raw in enumerate(steps if isinstance(steps, list) else ()):
            name = raw.get("operation") if isinstance(raw, dict) else None
            if not isinstance(name, str) or name not in self.registry:
                continue
            op = self.registry[name]
            holder, keys = _places(op, raw)
            for key in keys:
                value = holder[key]
                where = f"/{key}" if holder is raw else f"/operands/{key}"
                if not is_reference(value):
                    taken.append((f"/steps/{number}{where}", value))
                    holder[key] = InlineOperand(count + len(taken) - 1)
                    continue
                position = as_integer(value.get("operand"))
                if position is not None and position >= count:
                    # It would be taken for one of those that are joined here.
                    with at_step(number, str(raw.get("name"))):
                        raise no_operand(position, count, where)
        return taken


def _places(op: Op[Any], raw: dict[str, Any]) -> tuple[Any, Iterable[Any]]:
    """Return what holds the operands of a step, and their keys there."""
    if op.operands is not None:
        return raw, [name for name in op.operands if name in raw]
    quote_names = raw.get("operands")
    return quote_names, range(len(quote_names)) if isinstance(quote_names, list) else ()


def chain_op(registry: Registry) -> ChainOp:
    """Return the fields of chains of the operations in a registry."""
    return ChainOp(
        name=CHAIN,
        summary="Several operations in one request: a step takes results of earlier ones.",
        operands=None,
        params=(
            Param(
                "steps",
                "The steps in order: `name`, `operation` and the fields of that operation, where "
                'an operand may be `{"step": name}` or `{"operand": number}`.',
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_STEPS,
                    "items": {"$ref": "#/components/schemas/Step"},
                },
                partial(_parse_steps, registry),
                required=True,
            ),
            Param(
                "results",
                "The names of the steps whose results are sent back; the last one by default.",
                {
                    "anyOf": [
                        {"type": "array", "items": {"type": "string"}, "minItems": 1},
                        {"type": "null"},
                    ]
                },
                _parse_results,
            ),
        ),
        infer=infer_chain,
        check_overflow=lambda *_: None,  # steps check their own as they run
        auto=(),
        samples=(),
        error_samples=(),
        calibration_samples=(),
        needs_operands=False,
        registry=registry,
    )


def _parse_results(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        refuse("results", value, "a list of names of steps")
    if len({*names}) < len(names):
        refuse("results", value, "a list of different names")
    return tuple(names)


def _parse_steps(registry: Registry, value: object) -> tuple[ChainStep, ...]:
    if not isinstance(value, list) or not value:
        refuse("steps", value, "a list of one step or more")
    if len(value) > MAX_STEPS:
        raise LimitExceededError(
            f"a chain has {len(value)} steps; the limit is {MAX_STEPS}",
            places=[Place("/steps", f"{len(value)} steps, at most {MAX_STEPS}")],
        )
    names = [_name(number, raw) for number, raw in enumerate(value)]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InvalidFieldError(
                f"two steps have the name {quote(name)}",
                places=[Place(f"/steps/{number}/name", "taken by an earlier step")],
            )
    steps = []
    for number, (name, raw) in enumerate(zip(names, value, strict=True)):
        with at_step(number, name):
            steps.append(_parse_step(registry, raw, names, number))
    return tuple(steps)


def _name(number: int, raw: object) -> str:
    """Return the name of a step."""
    if not isinstance(raw, dict):
        raise InvalidFieldError(
            f"a step is an object with name, operation and the fields of that; "
            f"step {number} was {quote(raw)}",
            places=[Place(f"/steps/{number}", "expected an object")],
        )
    name = raw.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        found = quote(name) if "name" in raw else "missing"
        raise InvalidFieldError(
            f"the name of a step is 1 to 64 letters, digits, dots, dashes and underscores; "
            f"that of step {number} was {found}",
            places=[Place(f"/steps/{number}/name", "expected a name")],
        )
    if name == RESERVED_NAME:
        raise InvalidFieldError(
            f"no step has the name {quote(name)}, which safetensors files keep for themselves",
            places=[Place(f"/steps/{number}/name", "expected another name")],
        )
    return name


def step_operation(registry: Registry, raw: Mapping[str, object]) -> Op[Any]:
    """Return the operation of a step."""
    if "operation" not in raw:
        raise MissingFieldError(
            f"operation is missing; it is one of {', '.join(registry)}",
            places=[Place("/operation", "missing")],
        )
    return registry[choice("operation", registry)(raw["operation"])]


def _parse_step(
    registry: Registry, raw: Mapping[str, object], names: Sequence[str], number: int
) -> ChainStep:
    op = step_operation(registry, raw)
    operands = op.operands if op.operands is not None else ("operands",)
    known = [*STEP_FIELDS, *operands, *(param.name for param in op.params)]
    if unknown := [key for key in raw if key not in known]:
        raise UnknownFieldError(
            f"{op.name} has no field {quote(unknown[0])}; in a step it has {', '.join(known)}",
            hint=f"{unknown[0]} is for all steps: it stands beside 'steps'"
            if unknown[0] in COMMON
            else did_you_mean(unknown[0], known),
            places=(Place(f"/{escape(key)}", "unknown field") for key in unknown),
        )
    required = [*operands, *(param.name for param in op.params if param.required)]
    if missing := [key for key in required if key not in raw]:
        raise MissingFieldError(
            f"{op.name} needs {' and '.join(missing)}",
            places=[Place(f"/{key}", "missing") for key in missing],
        )
    strategy = None
    if raw.get("strategy") is not None:
        strategy = _STRATEGY(raw["strategy"])
        try:
            op.resolve(strategy)
        except UnknownStrategyError as error:
            error.places = (Place("/strategy", "no such strategy"),)
            raise
    sources = [_source(value, pointer, names, number) for pointer, value in step_operands(op, raw)]
    return ChainStep(
        names[number],
        op,
        tuple(sources),
        parse_params(op.params, raw),
        strategy,
    )


def step_operands(op: Op[Any], raw: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return the operands of a step with their pointers within it."""
    if op.operands is not None:
        return [(f"/{name}", raw[name]) for name in op.operands if name in raw]
    quote_names = raw.get("operands")
    if not isinstance(quote_names, list) or not quote_names:
        refuse("operands", quote_names, "a list of one tensor or more")
    return [(f"/operands/{number}", value) for number, value in enumerate(quote_names)]


def is_reference(value: object) -> bool:
    """Return whether an operand of a step is a reference."""
    return isinstance(value, dict) and any(key in value for key in REFERENCES)


def _source(value: object, pointer: str, names: Sequence[str], number: int) -> Source:
    """Return the source of an operand: an operand of the request, or an earlier step."""
    if isinstance(value, InlineOperand):
        return int(value)
    if not isinstance(value, dict) or len(value) != 1 or not is_reference(value):
        raise InvalidFieldError(
            f"a reference is {FORMS}; it was {quote(value)}",
            places=[Place(pointer, "expected a reference")],
        )
    if "operand" in value:
        position = as_integer(value["operand"])
        if position is None or position < 0:
            raise InvalidFieldError(
                f"an operand of the request has a number from 0; it was {quote(value['operand'])}",
                places=[Place(f"{pointer}/operand", "expected a number from 0")],
            )
        return position
    name = value["step"]
    earlier = names[:number]
    if not isinstance(name, str) or name not in earlier:
        raise InvalidFieldError(
            f"{quote(name)} is {_why_not(name, names, number)}; "
            + (f"earlier steps are {quote_names(earlier)}" if earlier else "no step is earlier"),
            hint=did_you_mean(name, earlier) if isinstance(name, str) else None,
            places=[Place(f"{pointer}/step", "expected an earlier step")],
        )
    return name


def _why_not(name: object, names: Sequence[str], number: int) -> str:
    """Return why a name is not that of an earlier step."""
    if name == names[number]:
        return "this step itself"
    return "a later step" if name in names else "no step"
