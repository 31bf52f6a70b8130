"""Tests of the fields of a call in its report."""

from typing import Any

import pytest

from service.compare.fields import call_fields
from service.operations import REGISTRY
from service.operations.chain import chain_op
from service.registry import parse_params

STEPS = [
    {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}},
    {
        "name": "y",
        "operation": "broadcast",
        "operands": [{"step": "h"}, {"operand": 2}],
        "op": "add",
        "strategy": "torch",
    },
    {"name": "z", "operation": "norm", "x": {"step": "y"}, "ord": "inf", "dim": [0, 1]},
]


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("matmul", {}, {}),
        ("einsum", {"equation": "ij->ji"}, {"equation": "ij->ji"}),
        (
            "einsum",
            {"equation": "i,i,i", "optimize": [[0, 1], [0, 1]]},
            {"equation": "i,i,i", "optimize": [[0, 1], [0, 1]]},
        ),
        ("norm", {"ord": None, "keepdim": False, "kind": "auto"}, {}),
        ("norm", {"ord": "-inf", "keepdim": True}, {"ord": "-inf", "keepdim": True}),
        ("norm", {"ord": "fro"}, {"ord": "fro"}),
        ("broadcast", {"op": "add", "to": [2, 3]}, {"op": "add", "to": [2, 3]}),
        ("chain", {"steps": STEPS, "results": ["h"]}, {"steps": STEPS, "results": ["h"]}),
    ],
)
def test_fields_as_a_request_has_them(
    name: str, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Those that differ from their defaults; the steps of a chain with references to operands."""
    op = chain_op(REGISTRY) if name == "chain" else REGISTRY[name]
    found = call_fields(op, parse_params(op.params, fields))
    assert found == expected
    assert parse_params(op.params, found) == parse_params(op.params, fields)
