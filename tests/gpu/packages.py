"""Packages that modules of this project need and that are not installed, without importing any."""

import ast
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = (ROOT, ROOT / "client")
# The distribution of the service, which states its version.
SERVICE: Final = "tensor-service"
# An older pytest does not read [tool.pytest] of pyproject.toml, and runs no asynchronous test.
PYTEST: Final = 9


def missing(paths: Iterable[str]) -> list[str]:
    """Return what the modules in these files need, and those that they import, sorted by name.

    A package that is imported inside a function or a `try` is one that they can do without.
    """
    waiting = [name for path in paths for name in modules_of(path)]
    seen: set[str] = set()
    needed = {"pytest"}  # by `python -m pytest`
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = file_of(name)
        if file is not None:
            waiting += imports_of(file)
        elif not any((folder / top_of(name)).is_dir() for folder in FOLDERS):
            needed.add(top_of(name))
    absent = {name for name in needed if find_spec(name) is None}
    if major_of(SERVICE) is None:
        absent.add(SERVICE)
    pytest = major_of("pytest")
    if pytest is not None and pytest < PYTEST:
        absent.add(f"pytest>={PYTEST}")
    return sorted(absent)


def modules_of(path: str) -> list[str]:
    """Return the name of the module in a file, and of each `conftest` that pytest imports first."""
    folders = Path(path).parents
    files = [
        folder / "conftest.py" for folder in folders if (ROOT / folder / "conftest.py").exists()
    ]
    return [".".join(file.with_suffix("").parts) for file in (Path(path), *files)]


def imports_of(file: Path) -> Iterator[str]:
    """Yield the names that a module imports when it is imported; some may be no modules."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def file_of(name: str) -> Path | None:
    """Return the file of a module of this project; None for a module of another."""
    for folder in FOLDERS:
        place = folder.joinpath(*name.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def top_of(name: str) -> str:
    """Return the package that a module is in."""
    return name.partition(".")[0]


def major_of(distribution: str) -> int | None:
    """Return the first number of the version that is installed; None if there is none."""
    try:
        return int(version(distribution).partition(".")[0])
    except PackageNotFoundError:
        return None
