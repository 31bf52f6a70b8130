"""Fields of a call besides its operands, as a request has them."""

import math
from collections.abc import Mapping
from typing import Any

from service.planning.chain_steps import ChainStep
from service.registry import Op


def call_fields(op: Op[Any], params: Mapping[str, object]) -> dict[str, Any]:
    """Return the parameters of a call in JSON, without those that have their default."""
    return {
        param.name: _json(params[param.name])
        for param in op.params
        if params[param.name] != param.default
    }


def _json(value: Any) -> Any:
    if isinstance(value, ChainStep):
        return _step(value)
    if isinstance(value, tuple | list):
        return [_json(each) for each in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _step(step: ChainStep) -> dict[str, Any]:
    """Return a step of a chain; its operands are references."""
    operands = [
        {"step": source} if isinstance(source, str) else {"operand": source}
        for source in step.sources
    ]
    named = (
        {"operands": operands}
        if step.op.operands is None
        else dict(zip(step.op.operands, operands, strict=False))
    )
    strategy = {} if step.strategy is None else {"strategy": step.strategy}
    fields = call_fields(step.op, step.params)
    return {"name": step.name, "operation": step.op.name, **named, **fields, **strategy}
