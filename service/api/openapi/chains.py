"""Schemas of chains: a step of each operation, and what its operands may be."""

from typing import Any, Final

from service.api.openapi.components import Described, ref
from service.registry import Op, Registry

STEP_NAME: Final = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_.-]{1,64}$",
    "description": "What later steps and `results` refer to.",
}
REFERENCES: Final[dict[str, Any]] = {
    "StepResult": {
        "type": "object",
        "properties": {"step": {"type": "string"}},
        "required": ["step"],
        "additionalProperties": False,
        "description": "The result of an earlier step, by its name.",
    },
    "RequestOperand": {
        "type": "object",
        "properties": {"operand": {"type": "integer", "minimum": 0}},
        "required": ["operand"],
        "additionalProperties": False,
        "description": "A tensor of the field `operands`, counted from 0.",
    },
}


def chain_schemas(registry: Registry, tensor_model: str, kind: str = "") -> dict[str, Any]:
    """Return the schemas of steps whose operands may be tensors of `tensor_model`."""
    operand, step = f"{kind}StepOperand", f"{kind}Step"
    models = {op.name: f"{op.name.capitalize()}{step}" for op in registry.values()}
    return {
        operand: {
            "description": "A reference, or a tensor; large ones are read faster in `operands`.",
            "anyOf": [*map(ref, REFERENCES), ref(tensor_model)],
        },
        **{models[op.name]: _step_schema(op, ref(operand)) for op in registry.values()},
        step: {
            "oneOf": [ref(model) for model in models.values()],
            "discriminator": {
                "propertyName": "operation",
                "mapping": {name: ref(model)["$ref"] for name, model in models.items()},
            },
        },
    }


def _step_schema(op: Op[Any], operand: Described) -> Described:
    """Return the schema of a step: the fields of its operation, and its name."""
    listed = {"type": "array", "items": operand, "minItems": 1, "maxItems": 64}
    operands = {"operands": listed} if op.operands is None else dict.fromkeys(op.operands, operand)
    return {
        "type": "object",
        "properties": {
            "name": STEP_NAME,
            "operation": {"const": op.name},
            **operands,
            **{each.name: {**each.schema, "description": each.summary} for each in op.params},
            "strategy": {
                "enum": ["auto", *op.strategies],
                "description": "That of the chain, unless it is given.",
            },
        },
        "required": [
            *("name", "operation", *operands),
            *(each.name for each in op.params if each.required),
        ],
        "additionalProperties": False,
    }
