"""Tests of the argument parser."""

import pytest

from tests.unit.cli.commands import Output, refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare matmul --shpes=2x2", "takes no '--shpes'\nhint: did you mean '--shapes'?"),
        ("compare matmul --zzz", "takes no '--zzz'\nhint: python -m service compare matmul --help"),
    ],
)
def test_unknown_options(capsys: Output, arguments: str, message: str) -> None:
    """An unknown option is an error that names the nearest, or the help."""
    assert message in refused(capsys, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare matmul --shapes", "expected at least one argument\nhint: python -m"),
        ("compare norm --shapes 5 --ord -inf", "hint: a value that begins with a dash"),
    ],
)
def test_missing_values(capsys: Output, arguments: str, message: str) -> None:
    """An option without its value is an error with a hint."""
    assert message in refused(capsys, arguments)
