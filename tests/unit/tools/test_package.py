"""Tests that the generators stay outside the package `service`."""

import ast
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def imported(source: str) -> set[str]:
    """Return the top-level packages that a file imports, at any place in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def test_the_distribution_has_no_generators() -> None:
    """The patterns of the packages in pyproject.toml include `service` and leave out `tools`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["packages"]["find"]["include"]
    assert any(fnmatch("service.cli", pattern) for pattern in patterns)
    assert not any(fnmatch(name, pattern) for name in ("tools", "tools.x") for pattern in patterns)


def test_the_service_imports_no_generator() -> None:
    """No file of `service` imports `tools`, not even inside a function."""
    files = sorted((ROOT / "service").rglob("*.py"))
    assert len(files) > 60
    sources = {path: path.read_text(encoding="utf-8") for path in files}
    assert [path for path, source in sources.items() if "tools" in imported(source)] == []


@pytest.mark.parametrize(
    "source",
    ["import tools.reference", "from tools import reference", "def f():\n    import os, tools"],
)
def test_an_import_would_be_found(source: str) -> None:
    """An import is found in each form and at any depth."""
    assert "tools" in imported(source)
