"""The examples of the lesson, as a table; the contract tests run them."""

import json

import numpy as np
import pytest

from service.examples import Example, compare_examples, examples, lesson_operands, plan_examples
from service.operations import REGISTRY

TABLES = {"run": examples(), "plan": plan_examples(), "compare": compare_examples()}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_names(table: list[Example]) -> None:
    """Each example has a name of its own among those of its operation, and says what it shows."""
    names = [(example.op, example.name) for example in table]
    assert len(set(names)) == len(names)
    assert {op for op, _ in names} - {"chain"} == set(REGISTRY)
    assert all(example.summary and example.expected for example in table)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_bodies_are_json(table: list[Example]) -> None:
    """Bodies and expectations can be sent and shown as they are."""
    for example in table:
        assert json.loads(json.dumps(example.body)) == example.body
        assert json.loads(json.dumps(example.expected)) == example.expected


def test_lesson_operands() -> None:
    """The lesson's operands are (5, 784) and (784, 10), and the same on every run."""
    images, weights = lesson_operands()
    again = lesson_operands()
    assert (images.shape, weights.shape) == ((5, 784), (784, 10))
    assert (images.dtype, weights.dtype) == (np.float32, np.int8)
    assert np.array_equal(images, again[0])
    assert np.array_equal(weights, again[1])


def test_products() -> None:
    """The examples of the lesson's product are in the order of strategies, with one result."""
    products = [example for example in TABLES["run"] if example.name.startswith("lesson-")]
    named = [example.body["strategy"] for example in products]
    assert named == [name for name in REGISTRY["matmul"].strategies if name in named]
    images, weights = lesson_operands()
    product = images.astype(np.float64) @ weights
    for example in products:
        assert example.expected["result"] == {"data": product.tolist()}
