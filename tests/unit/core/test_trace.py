"""Traces of exceptions: frames and types, no texts."""

import pytest

from service.core.trace import trace_text


def fail() -> None:
    """Raise an error that has a cause."""
    try:
        dict[str, str]()["a secret"]
    except KeyError as cause:
        raise ValueError("a value") from cause


def test_an_error_and_its_cause() -> None:
    """Each has its frames, and then its type."""
    with pytest.raises(ValueError, match="a value") as failed:
        fail()
    found = trace_text(failed.value)
    assert found.index("in fail") < found.index("\nValueError\n") < found.index("\nKeyError")
    assert found.endswith("\nKeyError")
    assert "a secret'" not in found


def test_an_error_that_is_its_own_cause() -> None:
    """The chain of causes is not followed for ever."""
    error = ValueError()
    error.__cause__ = error
    assert trace_text(error) == "ValueError"
