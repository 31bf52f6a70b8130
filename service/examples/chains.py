"""Examples of chains: several operations in one request."""

from typing import Any, Final

import numpy as np

from service.examples.example import Example, base64, lesson_operands

# Linear, ReLU, linear.
MODEL: Final = [
    {"name": "hidden", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}},
    {
        "name": "positive",
        "operation": "broadcast",
        "op": "relu",
        "operands": [{"step": "hidden"}],
    },
    {"name": "classes", "operation": "matmul", "a": {"step": "positive"}, "b": {"operand": 2}},
]


def chain_examples() -> list[Example]:
    """Return the examples of chains."""
    return [
        Example(
            "chain",
            "product-and-row",
            "A product, and a row added to it",
            {
                "steps": [
                    {
                        "name": "product",
                        "operation": "matmul",
                        "a": [[1, 2], [3, 4]],
                        "b": [[5, 6], [7, 8]],
                    },
                    {
                        "name": "shifted",
                        "operation": "broadcast",
                        "op": "add",
                        "operands": [{"step": "product"}, [10, 20]],
                    },
                ]
            },
            {"results": {"shifted": {"data": [[29, 42], [53, 70]]}}},
        ),
        Example(
            "chain",
            "lesson-model",
            "The lesson's model: linear, ReLU, linear, from 784 pixels through 50 to 10",
            lesson_model(),
            {"results": {"classes": {"shape": [5, 10]}}},
        ),
        Example(
            "chain",
            "no-such-step",
            "A step that takes the result of a later one is refused",
            {
                "operands": [[1, 2]],
                "steps": [
                    {"name": "x", "operation": "norm", "x": {"step": "y"}},
                    {"name": "y", "operation": "norm", "x": {"operand": 0}},
                ],
            },
            {"code": "invalid-field", "errors": [{"pointer": "/steps/0/x/step"}]},
        ),
    ]


def lesson_model() -> dict[str, Any]:
    """Return the lesson's model as a chain: linear, ReLU, linear, on five images."""
    images, _ = lesson_operands()
    operands = [base64(images), base64(_weights(784, 50)), base64(_weights(50, 10))]
    return {"operands": operands, "steps": MODEL}


def chain_plan_examples() -> list[Example]:
    """Return the examples of plans of chains. Operands are shapes, and may be of any size."""
    shapes = [10_000, 784], [784, 50], [50, 10]
    return [
        Example(
            "chain",
            "lesson-model",
            "What the lesson's model costs for 10,000 images, in all and by step",
            {"operands": [{"shape": shape} for shape in shapes], "steps": MODEL},
            {"accepted": True, "results": {"classes": {"shape": [10_000, 10]}}},
        ),
        Example(
            "chain",
            "too-much",
            "A step whose result is beyond the limit of elements",
            {
                "steps": [
                    {
                        "name": "sum",
                        "operation": "broadcast",
                        "op": "add",
                        "operands": [{"shape": [100_000, 1]}, {"shape": [1000]}],
                    }
                ]
            },
            {"accepted": False, "device": None, "work": {"peak_bytes": None}},
        ),
    ]


def _weights(rows: int, columns: int) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    """Return small whole numbers, the same on every run."""
    numbers = np.arange(rows * columns) * 29 % 13 - 6
    return numbers.astype(np.int8).reshape(rows, columns)
