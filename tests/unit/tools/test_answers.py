"""Tests of the capture of answers: which differences count, and the text of the file."""

from typing import Any

import orjson
import pytest

from service.api.openapi.answers import FILE, load_answers
from tools.answers import is_same, render


@pytest.mark.parametrize(
    ("found", "captured", "expected"),
    [
        ({"a": 1, "request_id": "x"}, {"a": 1, "request_id": "y"}, True),
        ({"a": 1, "runs": 20}, {"a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {}, False),
        ([1.0, "x"], [1.0000001, "x"], True),
        ([1.0, "x"], [1.1, "x"], False),
        ([1], [1, 1], False),
        ("a", "b", False),
        (True, True, True),
        (None, None, True),
        (None, "a", False),
        ("# HELP a\na 1\n", "# HELP a\na 2\n", True),
        ("# HELP a\na 1\n", "# HELP b\na 1\n", False),
        ({"rows": [{"strategy": "a", "skipped": "no"}]}, {"rows": [{"strategy": "a"}]}, True),
        (
            {"strategies": [{"strategy": "a"}, {"strategy": "a"}]},
            {"strategies": [{"strategy": "a"}]},
            True,
        ),
        ({"strategies": [{"name": "a"}]}, {"strategies": [{"name": "b"}]}, False),
    ],
)
def test_differences(found: Any, captured: Any, expected: bool) -> None:
    """Time and host alone make no difference, a value or a missing field does."""
    assert is_same(found, captured) == expected


def test_the_file_is_as_it_is_written() -> None:
    """It has a line for each answer."""
    answers = load_answers()
    assert FILE.read_text(encoding="utf-8") == render(answers)
    assert orjson.loads(render(answers)) == answers
