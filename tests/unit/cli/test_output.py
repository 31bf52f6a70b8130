"""Tests of the output of the commands: files, progress, and errors before a race."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from service.__main__ import main
from service.cli import output
from tests.unit.cli.commands import SMALL, Output, refused, run


def test_files_of_charts(capsys: Output, tmp_path: Path) -> None:
    """A race is written as a page and as an image."""
    page, image = tmp_path / "race.html", tmp_path / "race.png"
    run(capsys, f"compare matmul {SMALL} --html {page} --png {image}")
    assert "<h1>matmul of 2×3 and 3×4, float32</h1>" in page.read_text(encoding="utf-8")
    data = image.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    assert 1000 < width < 4000
    assert 400 < height < 2000


def test_a_page_alone(capsys: Output, tmp_path: Path) -> None:
    """Only the requested files are written, also with `--json`."""
    json.loads(run(capsys, f"compare matmul {SMALL} --json --html {tmp_path / 'race.html'}"))
    assert [path.name for path in tmp_path.iterdir()] == ["race.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare matmul --shapes 2 2 --png /no/such/x.png", "hint: there is no folder '/no/such'"),
        ("compare matmul --shapes 2 2 --html /", "hint: it is a folder"),
    ],
)
def test_unwritable_paths(capsys: Output, arguments: str, message: str) -> None:
    """A path that cannot be written is an error before the race."""
    assert message in refused(capsys, arguments)


def test_a_file_that_cannot_be_written(capsys: Output, tmp_path: Path) -> None:
    """An error of writing comes after the table, with its reason."""
    target = tmp_path / "race.html"
    target.symlink_to(tmp_path / "none" / "race.html")
    assert main(shlex.split(f"compare matmul {SMALL} --html {target}")) == 2
    assert "No such file" in capsys.readouterr().err


def test_without_the_extra(capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without its packages is an error before the race; a page needs none."""
    monkeypatch.setattr(output, "find_spec", lambda name: None)
    error = refused(capsys, f"compare matmul {SMALL} --png x.png")
    assert "altair and vl_convert" in error
    assert "'.[charts]'" in error
    run(capsys, f"compare matmul {SMALL} --html {tmp_path / 'race.html'}")
    assert (tmp_path / "race.html").exists()


def test_a_terminal_shows_progress(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal shows a progress bar with the names of strategies; a pipe shows none."""
    main(shlex.split(f"compare matmul {SMALL}"))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(shlex.split("compare norm --ord 0 --shapes 5 --budget-ms 1")) == 0
    out, err = capsys.readouterr()
    assert "torch on cpu: " in err
    assert "scaled on cpu: skipped" in err
    assert "torch on cpu: " not in out


def test_the_server_imports_no_packages_of_charts() -> None:
    """The server imports neither rich nor altair."""
    code = (
        "import sys; import service.api.app; "
        "sys.exit(bool({'rich', 'altair', 'vl_convert'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
