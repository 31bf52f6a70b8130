"""Example requests, which the Swagger UI offers and the tests execute.

They follow fast.ai's lesson on matrix multiplication, from three loops to PyTorch's own product,
through Frobenius norm, broadcasting, strides and Einstein summation.
"""

from service.examples.chains import chain_examples, chain_plan_examples
from service.examples.example import Example, lesson_operands
from service.examples.gradients import gradients_examples
from service.examples.plans import compare_examples, plan_examples
from service.examples.runs import examples

__all__ = [
    "Example",
    "chain_examples",
    "chain_plan_examples",
    "compare_examples",
    "examples",
    "examples_by_path",
    "gradients_examples",
    "lesson_operands",
    "plan_examples",
]


def examples_by_path() -> dict[str, list[Example]]:
    """Return the examples of each route, by its path."""
    found: dict[str, list[Example]] = {}
    for kind, shown in (
        ("", [*examples(), *chain_examples(), *gradients_examples()]),
        ("/plan", [*plan_examples(), *chain_plan_examples()]),
        ("/compare", compare_examples()),
    ):
        for example in shown:
            found.setdefault(f"/{example.op}{kind}", []).append(example)
    return found
