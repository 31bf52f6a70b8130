"""Examples of runs in the order of the lesson, from products to Einstein summation."""

import numpy as np

from service.examples.example import DIGITS, TENS, C, Example, base64, lesson_operands


def _result(data: object, **more: object) -> dict[str, object]:
    """Return the expected parts of a response with this result."""
    return {"result": {"data": data}, **more}


def _products() -> list[Example]:
    """Return the lesson's product by each of its five strategies, slowest first."""
    images, weights = lesson_operands()
    product = images.astype(np.float64) @ weights
    return [
        Example(
            "matmul",
            f"lesson-{strategy}",
            f"(5, 784) @ (784, 10) by {strategy}: {words}",
            {"a": base64(images), "b": base64(weights), "strategy": strategy},
            _result(product.tolist(), strategy=strategy),
        )
        for strategy, words in (
            ("loops", "three loops"),
            ("elementwise", "a row times a column"),
            ("broadcast", "a row against the whole matrix"),
            ("einsum", "axes by name"),
            ("torch", "PyTorch's own"),
        )
    ]


def _einsum(
    name: str, summary: str, equation: str, operands: list[object], data: object
) -> Example:
    """Return an example of einsum."""
    body = {"equation": equation, "operands": operands}
    return Example("einsum", name, summary, body, _result(data))


def _broadcast(name: str, summary: str, data: object, **body: object) -> Example:
    """Return an example of broadcast."""
    return Example("broadcast", name, summary, body, _result(data))


def examples() -> list[Example]:
    """Return every example of a run, in the order of the lesson."""
    return [
        Example(
            "matmul",
            "two-matrices",
            "Two matrices",
            {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]},
            _result([[19, 22], [43, 50]]),
        ),
        *_products(),
        Example(
            "matmul",
            "near-not-equal",
            "Near, not equal: in float32, 0.1 * 0.1 + 0.2 * 0.2 is not exactly 0.05",
            {"a": [[0.1, 0.2]], "b": [[0.1], [0.2]], "strategy": "loops"},
            _result([[0.05]]),
        ),
        Example(
            "matmul",
            "does-not-fit",
            "What does not fit, and why: the inner sizes differ",
            {"a": [[1, 2, 3], [4, 5, 6]], "b": [[1, 2, 3], [4, 5, 6]]},
            {"code": "shape-mismatch", "hint": "b transposed has shape (3, 2) and fits"},
        ),
        Example(
            "norm",
            "frobenius",
            "Frobenius norm: (m * m).sum().sqrt()",
            {"x": DIGITS, "strategy": "elementwise"},
            _result(16.881943016134134),
        ),
        Example(
            "norm",
            "overflow",
            "Squares overflow: [1e20, 1e20] in float32 is infinite",
            {"x": [1e20, 1e20], "strategy": "elementwise"},
            _result("Infinity"),
        ),
        Example(
            "norm",
            "scaled",
            "Scaled first, they do not",
            {"x": [1e20, 1e20], "strategy": "scaled"},
            _result(1.4142136e20),
        ),
        _broadcast(
            "matrix-and-row",
            "A matrix and a row",
            [[11, 12, 13], [21, 22, 23], [31, 32, 33]],
            op="add",
            operands=[TENS, [1, 2, 3]],
        ),
        _broadcast(
            "matrix-and-column",
            "A matrix and a column",
            [[11, 11, 11], [22, 22, 22], [33, 33, 33]],
            op="add",
            operands=[TENS, [[1], [2], [3]]],
        ),
        _broadcast(
            "outer-product",
            "c * c[:, None]: None adds an axis",
            [[100, 200, 300], [200, 400, 600], [300, 600, 900]],
            op="mul",
            operands=[C, C],
            views=[None, ":,None"],
        ),
        _broadcast(
            "a-row-of-one",
            "c == c[None]: trailing `:` may be left out, and a row equals the vector",
            [[True, True, True]],
            op="eq",
            operands=[C, C],
            views=[None, "None"],
        ),
        _broadcast(
            "row-against-column",
            "[1, 3] against [3, 1] is [3, 3]: which is greater",
            [[False, True, True], [False, False, True], [False, False, False]],
            op="gt",
            operands=[[C], [[10], [20], [30]]],
        ),
        Example(
            "broadcast",
            "an-image-and-a-colour",
            "256 x 256 x 3 against 3 fits: three numbers stretch, with stride 0",
            {"operands": [[0.5, 1, 2]], "to": [256, 256, 3], "output": "summary"},
            {
                "result": {"shape": [256, 256, 3]},
                "broadcast": {
                    "operands": [
                        {
                            "shape": [3],
                            "strides": [1],
                            "expanded_strides": [0, 0, 1],
                            "stored_bytes": 12,
                            "apparent_bytes": 786432,
                        }
                    ]
                },
            },
        ),
        Example(
            "broadcast",
            "two-images",
            "256 x 1 x 3 against 128 x 1 x 3 does not fit: axis -3 has sizes 256 and 128",
            {
                "op": "add",
                "operands": [
                    base64(np.zeros((256, 1, 3), np.uint8)),
                    base64(np.zeros((128, 1, 3), np.uint8)),
                ],
            },
            {
                "code": "shape-mismatch",
                "errors": [{"pointer": "/operands/1", "detail": "axis -3 has size 128, not 256"}],
            },
        ),
        Example(
            "broadcast",
            "strides",
            "A (2, 5) matrix has strides (5, 1)",
            {"operands": [[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]], "to": [2, 5]},
            {"broadcast": {"operands": [{"strides": [5, 1], "expanded_strides": [5, 1]}]}},
        ),
        Example(
            "broadcast",
            "expand-a-row",
            "An expanded row has stride 0, and stores three numbers",
            {"operands": [C], "to": [3, 3]},
            _result(
                [C, C, C],
                broadcast={
                    "operands": [
                        {"expanded_strides": [0, 1], "stored_bytes": 12, "apparent_bytes": 36}
                    ]
                },
            ),
        ),
        Example(
            "broadcast",
            "expand-a-column",
            "Unsqueezed by `...,None` and expanded, a column repeats along the rows",
            {"operands": [C], "views": ["...,None"], "to": [3, 3]},
            _result(TENS, broadcast={"operands": [{"shape": [3, 1], "expanded_strides": [1, 0]}]}),
        ),
        _einsum(
            "matrix-product",
            "Matrix product",
            "ik,kj->ij",
            [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
            [[19, 22], [43, 50]],
        ),
        _einsum("transpose", "Transpose", "ij->ji", [[[1, 2, 3]]], [[1], [2], [3]]),
        _einsum("diagonal", "Diagonal", "ii->i", [DIGITS], [1, 5, 9]),
        _einsum("trace", "Trace", "ii", [DIGITS], 15),
        _einsum(
            "batch-product",
            "Batch of matrix products",
            "bij,bjk->bik",
            [[[[1, 2]], [[3, 4]]], [[[1], [1]], [[1], [1]]]],
            [[[3]], [[7]]],
        ),
        _einsum("inner-product", "Inner product", "i,i", [C, [1, 2, 3]], 140),
        Example(
            "einsum",
            "share-of-true",
            "The lesson's (a < b).float().mean(): a comparison sent back, times 1/3, summed",
            {
                "equation": "i,->",
                "operands": [{"dtype": "bool", "data": [False, True, True]}, 0.3333333],
                "dtype": "float32",
            },
            _result(0.6666667),
        ),
        Example(
            "einsum",
            "a-wrong-arrow",
            "A slip in the equation, and what was meant",
            {"equation": "ik,kj>ij", "operands": [[[1, 2]], [[3], [4]]]},
            {
                "code": "invalid-equation",
                "hint": "did you mean `->`? 'ik,kj->ij' can be read",
            },
        ),
    ]
