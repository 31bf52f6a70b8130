"""The notebook of the lesson runs from top to bottom, and is kept without outputs."""

from pathlib import Path
from typing import Any, Final

import nbformat
import pytest
from nbclient import NotebookClient

from tests.rigs.paths import ROOT
from tests.rigs.servers import unmeasured

LESSON: Final = ROOT / "examples" / "lesson.ipynb"


def outputs(notebook: Any, start: str) -> list[Any]:
    """Return the outputs of the cell whose source has a line that starts so."""
    (cell,) = [each for each in notebook.cells if f"\n{start}" in f"\n{each.source}"]
    found: list[Any] = cell.outputs
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
def test_the_lesson_runs(base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell, with tables, a display of the race and the problem."""
    notebook: Any = nbformat.read(LESSON, as_version=4)
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    environment = unmeasured() | {"SERVICE_URL": base_url}
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(env=environment)
    live, report = outputs(notebook, "report = client.compare")
    assert live.data["text/html"] == ""
    assert "fastest" in report.data["text/html"]
    assert "speed-up" in report.data["text/plain"]
    (chart,) = outputs(notebook, "report.plot()")
    assert "vega" in str(chart.data)
    (source,) = outputs(notebook, "products =")
    assert "def broadcast" in source.text
    (difference,) = outputs(notebook, "expected =")
    assert float(difference.data["text/plain"]) < 1e-3
    (problem,) = outputs(notebook, "try:")
    assert problem.text.startswith("ShapeMismatchError\n422 shape-mismatch: ")
    assert "\nat /b: " in problem.text


def test_it_has_no_outputs() -> None:
    """Times are those of a host, and change in each run."""
    notebook: Any = nbformat.read(LESSON, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)
