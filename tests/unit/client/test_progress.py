"""Tests of the display of a race that is under way."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tensor_service_client.progress import Progress, shown
from tensor_service_client.races import Row
from tests.unit.client.documents import LOOPS, SKIPPED, TF32, TORCH

ROWS = [Row(LOOPS), Row(SKIPPED), Row(TORCH)]


def show(progress: Progress) -> None:
    """Show a race of three rows."""
    with shown("race of matmul", progress) as row:
        for each in ROWS:
            row(each)


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook has displayed, each time as text."""
    found: list[str] = []
    handle = SimpleNamespace(update=lambda value: found.append(repr(value)))

    def display(value: object, *, display_id: bool) -> Any:
        found.append(repr(value))
        return handle

    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=1)
    module: Any = ModuleType("IPython.display")
    module.display, module.HTML = display, lambda text: f"HTML {text}"
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return found


@pytest.mark.parametrize("progress", [None, True])
def test_a_notebook(displayed: list[str], progress: Progress) -> None:
    """One display grows by each row, and is empty at the end."""
    show(progress)
    assert [each.splitlines()[0] for each in displayed] == [
        *(f"race of matmul: {count} strategies finished" for count in range(4)),
        "'HTML '",
    ]
    assert "torch" in displayed[3]
    assert "skipped cuda: needs a GPU" in displayed[3]


def test_rows_stay_after_an_error(displayed: list[str]) -> None:
    """They are all that is left of the race."""
    with pytest.raises(KeyboardInterrupt), shown("race", None) as row:  # noqa: PT012
        row(ROWS[0])
        raise KeyboardInterrupt
    assert displayed[-1].startswith("race: 1 strategies finished")


def test_a_notebook_that_is_told_not_to(displayed: list[str]) -> None:
    """Nothing is displayed."""
    show(progress=False)
    assert displayed == []


def test_a_terminal_of_ipython(
    displayed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It has no kernel, and is a terminal."""
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", object)
    show(None)
    show(progress=True)
    assert displayed == []
    assert len(capsys.readouterr().err.splitlines()) == len(ROWS)


def test_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing unless it is asked for; then a line for each row, apart from the output."""
    show(None)
    assert capsys.readouterr() == ("", "")
    show(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "loops on cpu: 910 ms",
        "cuda on cpu: skipped: needs a GPU",
        "torch on cpu: 5.64 us",
    ]


def test_a_precision(capsys: pytest.CaptureFixture[str]) -> None:
    """The line of a row has it."""
    with shown("race", progress=True) as row:
        row(Row(TF32))
    assert capsys.readouterr().err == "torch on cuda:0 in tf32: 5.64 us\n"


def test_a_function() -> None:
    """It gets each row."""
    found: list[Row] = []
    show(found.append)
    assert found == ROWS
