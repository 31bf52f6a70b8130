"""Examples of plans and races."""

from service.examples.chains import lesson_model
from service.examples.example import C, Example, base64, lesson_operands


def plan_examples() -> list[Example]:
    """Return the examples of plans. Operands are shapes, and may be of any size."""
    return [
        Example(
            "matmul",
            "lesson",
            "What (5, 784) @ (784, 10) costs, by each strategy",
            {"a": {"shape": [5, 784]}, "b": {"shape": [784, 10]}},
            {"accepted": True, "work": {"multiply_adds": 39200}},
        ),
        Example(
            "matmul",
            "too-slow",
            "Three loops over 1000 x 1000 x 1000 would take hours",
            {"a": {"shape": [1000, 1000]}, "b": {"shape": [1000, 1000]}, "strategy": "loops"},
            {"accepted": False},
        ),
        Example(
            "einsum",
            "chain",
            "Three matrices: the path decides what it costs",
            {
                "equation": "ij,jk,kl->il",
                "operands": [{"shape": [10, 1000]}, {"shape": [1000, 10]}, {"shape": [10, 500]}],
            },
            {"accepted": True, "path": [{"equation": "ij,jk->ik"}]},
        ),
        Example(
            "norm",
            "rows",
            "The norms of a thousand rows",
            {"x": {"shape": [1000, 1000]}, "dim": 1},
            {"result": {"shape": [1000]}},
        ),
        Example(
            "broadcast",
            "image-and-colour",
            "256 x 256 x 3 against 3 fits",
            {"op": "mul", "operands": [{"shape": [256, 256, 3]}, {"shape": [3]}]},
            {"result": {"shape": [256, 256, 3]}},
        ),
        Example(
            "broadcast",
            "two-images",
            "256 x 256 x 3 against 128 x 256 x 3 does not: axis -3 has sizes 256 and 128",
            {"op": "mul", "operands": [{"shape": [256, 256, 3]}, {"shape": [128, 256, 3]}]},
            {"code": "shape-mismatch"},
        ),
    ]


def compare_examples() -> list[Example]:
    """Return the examples of races."""
    images, weights = lesson_operands()
    return [
        Example(
            "matmul",
            "lesson",
            "The lesson's race: (5, 784) @ (784, 10), from three loops to PyTorch's own",
            {"a": base64(images), "b": base64(weights)},
            {"baseline": "loops"},
        ),
        Example(
            "einsum",
            "batch-product",
            "A batch of matrix products, in every way",
            {
                "equation": "bij,bjk->bik",
                "operands": [[[[1, 2]], [[3, 4]]], [[[1], [1]], [[1], [1]]]],
            },
            {"baseline": "loops"},
        ),
        Example(
            "norm",
            "overflow",
            "Which norms overflow: [1e20, 1e20] in float32",
            {"x": [1e20, 1e20], "baseline": "torch"},
            {"baseline": "torch"},
        ),
        Example(
            "broadcast",
            "outer-product",
            "An outer product by loops, by views and by torch",
            {"op": "mul", "operands": [C, C], "views": [None, ":,None"]},
            {"baseline": "loops"},
        ),
        Example(
            "chain",
            "lesson-model",
            "The lesson's model, all steps by loops, by lists, by torch, by numpy",
            {**lesson_model(), "strategies": ["loops", "python", "torch", "numpy"]},
            {"baseline": "loops", "shapes": [[5, 784], [784, 50], [50, 10]]},
        ),
    ]
