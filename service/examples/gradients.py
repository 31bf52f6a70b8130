"""Examples of gradients, of which the first is the backward pass of a linear layer."""

from collections.abc import Mapping

from service.examples.example import DIGITS, C, Example


def _gradients(
    op: str, name: str, summary: str, data: Mapping[str, object], **body: object
) -> Example:
    """Return an example whose gradients have these data by the names of the operands."""
    found = {operand: {"result": {"data": each}} for operand, each in data.items()}
    return Example(f"{op}/gradients", name, summary, body, {"gradients": found})


def gradients_examples() -> list[Example]:
    """Return the examples of gradients."""
    return [
        _gradients(
            "matmul",
            "linear-layer",
            "A product backwards: the upstream times b transposed, and a transposed times it",
            {"a": [[5, 7], [6, 8]], "b": [[1, 3], [2, 4]]},
            a=[[1, 2], [3, 4]],
            b=[[5, 6], [7, 8]],
            upstream=[[1, 0], [0, 1]],
        ),
        Example(
            "matmul/gradients",
            "integers",
            "Integers have no gradients, and the hint says which dtype has",
            {"a": [[1, 2]], "b": [[3], [4]], "dtype": "int64"},
            {"code": "dtype-unsupported", "hint": 'send the operands with "dtype": "float32"'},
        ),
        _gradients(
            "einsum",
            "inner-product",
            "Each operand of an inner product is the gradient of the other",
            {"0": [1, 2, 3], "1": C},
            equation="i,i->",
            operands=[C, [1, 2, 3]],
        ),
        _gradients(
            "einsum",
            "trace",
            "A trace reads the diagonal alone: its gradient is the identity",
            {"0": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
            equation="ii",
            operands=[DIGITS],
        ),
        _gradients(
            "einsum",
            "stretched",
            "Where an operand was stretched, its gradient is a sum",
            {"0": [[6], [6]], "1": [[3, 3, 3]]},
            equation="...,...->...",
            operands=[[[1], [2]], [[1, 2, 3]]],
        ),
    ]
