"""The steps of CONTRIBUTING.md, followed to the letter in a copy of the repository."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import Block, blocks
from tests.rigs.paths import ROOT
from tests.rigs.servers import unmeasured

STEPS: Final = ROOT / "CONTRIBUTING.md"
# Where a block goes in a file that is there: before the line that this matches.
PLACES: Final = {
    "def by_column": r"^def by_batch",
    '@op.strategy("outer"': r'^@op\.strategy\(\s*"einsum"',
    '    "trace": lambda': r'^    "broadcast": broadcast,$',
}
FOLDERS: Final = ("service", "client", "tests", "tools", "docs", "openapi")
COPIED: Final = (*FOLDERS, "README.md", "pyproject.toml")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository, to change."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(source, tmp_path)
    return tmp_path


def section(title: str) -> list[Block]:
    """The blocks between a heading of the page that begins so and the next."""
    text = STEPS.read_text(encoding="utf-8")
    part = next(
        each for each in re.split(r"^## ", text, flags=re.MULTILINE) if each.startswith(title)
    )
    return [block for block in reversed(list(blocks(STEPS))) if block.code.strip() in part]


def apply(block: Block, folder: Path) -> None:
    """Put a block where the page says."""
    assert block.title is not None
    path = folder / block.title
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.code, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    place = next((where for start, where in PLACES.items() if block.code.startswith(start)), None)
    if block.title.endswith("operations/__init__.py"):
        imported, _, registry = block.code.partition("\n\n")
        text = text[: text.index("\nREGISTRY")].rstrip() + f"\n{imported}\n\n{registry}"
    else:
        assert place is not None, block.code
        found = re.search(place, text, re.MULTILINE)
        assert found is not None, place
        text = f"{text[: found.start()]}{block.code}\n\n{text[found.start() :]}"
    path.write_text(text, encoding="utf-8")


def run(line: str, folder: Path) -> str:
    """Run a command line of the page, assert that it succeeds, and return its output."""
    program, *rest = shlex.split(line)
    module = ["-m", "pytest", "-p", "no:cacheprovider", "-q"] if program == "pytest" else []
    done = subprocess.run(
        [sys.executable, *module, *rest],
        cwd=folder,
        env=unmeasured() | {"PYTHONPATH": str(folder)},  # the lines of a copy do not count
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("title", "name", "files"),
    [
        pytest.param("Add a strategy", "outer", 2, id="strategy"),
        pytest.param("Add an operation", "trace", 5, id="operation"),
    ],
)
def test_the_steps(title: str, name: str, files: int, copy: Path) -> None:
    """Blocks put in, commands run: what was added is in the pages and the document."""
    found = section(title)
    sources = [block for block in found if block.title is not None]
    assert len(sources) == files
    for block in sources:
        apply(block, copy)
    printed = ""
    for block in found:
        if block.language == "console":
            for line in block.code.splitlines():
                printed += run(line.removeprefix("$ "), copy)
    assert " passed" in printed
    assert name in (copy / "docs" / "operations.md").read_text(encoding="utf-8")
    assert name in (copy / "openapi" / "openapi.json").read_text(encoding="utf-8")
