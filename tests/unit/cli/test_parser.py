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
        ("compare matmul --shapes", "one argument\nhint: a value follows --shapes; python -m"),
        ("serve --port", "expected one argument\nhint: a value follows --port; python -m service"),
        ("serve --port --workers 2", "hint: a value follows --port;"),
        ("compare norm --shapes 5 --ord -inf", "begins with a dash is joined by =: --ord=-inf"),
        ("openapi --check=x", "ignored explicit argument 'x'\nhint: python -m service openapi"),
    ],
)
def test_missing_values(capsys: Output, arguments: str, message: str) -> None:
    """An option without its value is an error with a hint."""
    assert message in refused(capsys, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "plan matmul 2x3 3x4",
            "takes no '2x3'\nhint: shapes follow their option: --shapes 2x3 3x4",
        ),
        (
            "serve 9000",
            "takes no '9000'\nhint: a value follows its option; python -m service serve",
        ),
        ("compare norm --shapes 3 --json x.json", "hint: a value follows its option; python -m"),
    ],
)
def test_values_without_options(capsys: Output, arguments: str, message: str) -> None:
    """A value without its option is an error, whose hint names no option like it."""
    assert message in refused(capsys, arguments)
