"""Plugin of pytest that writes what became of each test to a file, as a line of JSON, at once.

`--outcomes` names the file. What is in it does not depend on how the run ends.
"""

import json
from pathlib import Path
from typing import Final

import pytest

BEGUN, PASSED, SKIPPED, FAILED = "begun", "passed", "skipped", "failed"
OPTION: Final = "--outcomes"
# Of the text of a failed test, the end is kept, which has the error.
FAILURE_CHARACTERS: Final = 10_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(OPTION, type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Record what this process learns; processes of pytest-xdist report to it."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config.getoption(OPTION)))


class Recorder:
    """Writes a line when a test begins, and one for each outcome, of which the last one counts."""

    def __init__(self, file: Path):
        """Begin with an empty file."""
        self._lines = file.open("w", encoding="utf-8", buffering=1)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Write that a test has begun."""
        self._write(nodeid, BEGUN)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the outcome of a test, or the failure of its setup or teardown."""
        if report.when == "call" or not report.passed:
            self._write(report.nodeid, report.outcome, text_of(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write that a file could not be imported, or is skipped."""
        if not report.passed:
            self._write(report.nodeid, report.outcome, text_of(report))

    def _write(self, test: str, outcome: str, text: str = "") -> None:
        self._lines.write(json.dumps([test, outcome, text]) + "\n")


def text_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason to skip a test, or the end of the text of its failure."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext[-FAILURE_CHARACTERS:]
