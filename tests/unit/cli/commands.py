"""Commands run in this process, with their output."""

import shlex

import pytest

from service.__main__ import main

SMALL = "--shapes 2x3 3x4 --budget-ms 1"
Output = pytest.CaptureFixture[str]


def run(capsys: Output, line: str) -> str:
    """Return the standard output of a command that succeeds."""
    assert main(shlex.split(line)) == 0
    return capsys.readouterr().out


def refused(capsys: Output, line: str) -> str:
    """Return the standard error of a command that fails with status 2 and prints nothing else."""
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err
