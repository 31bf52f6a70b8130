"""Who imports whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WEB = {"fastapi", "starlette", "uvicorn", "pydantic", "httpx"}
# Packages that must stay out, and the modules that do without them.
LIGHT = {
    "torch, numpy and the web": (
        {"torch", "numpy", *WEB},
        ("errors", "planning.limits", "__main__"),
    ),
    "torch, numpy and the server": ({"torch", "numpy", *WEB} - {"httpx"}, ("client",)),
    "torch and the web": ({"torch", *WEB}, ("examples",)),
    "the web": (
        WEB,
        ("core.dtypes", "registry", "operations", "codecs", "planning.planner", "engine"),
    ),
}


def run(*command: str) -> str:
    """The output of a command that succeeds, started in the root of the project."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_imports_keep_to_the_layers() -> None:
    """The contracts of pyproject.toml are kept."""
    call = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    assert "0 broken" in run("-c", call, "--no-cache")


@pytest.mark.parametrize(("packages", "modules"), LIGHT.values(), ids=LIGHT)
def test_modules_do_without(packages: set[str], modules: tuple[str, ...]) -> None:
    """In a process of its own, importing them loads none of the packages."""
    names = ", ".join(f"service.{module}" for module in modules)
    loaded = run("-c", f"import sys, {names}; print(*sys.modules)").split()
    assert packages.isdisjoint(name.partition(".")[0] for name in loaded)


# What reads objects that name the code to run, and what does so unless it is told not to.
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
LOADERS = {"load", "loads", "save"}
LOADING = {"numpy", "np", "torch", "pickle", "marshal"}


def sources() -> list[Path]:
    """Every Python file of the service."""
    return sorted((ROOT / "service").rglob("*.py"))


def unsafe(source: str) -> set[str]:
    """What a file imports or calls that would run what the sender of some bytes wrote."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {each.name for each in names if each.name.split(".")[0] in UNPICKLERS}
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in UNPICKLERS:
                    found.add(module)
                if module.split(".")[0] in LOADING:
                    found |= {f"{module}.{each.name}" for each in names if each.name in LOADERS}
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                if module in LOADING and name in LOADERS:
                    found.add(f"{module}.{name}")
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                found.add("allow_pickle=True")
            case ast.Call(func=ast.Name(id="eval" | "exec" | "__import__" as name)):
                found.add(name)
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_unpickles(path: Path) -> None:
    """Loading a pickle runs what its sender wrote."""
    assert unsafe(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", "pickle"),
        ("import os, cloudpickle.x", "cloudpickle.x"),
        ("from shelve import open", "shelve"),
        ("import torch\ntorch.load(f, weights_only=True)", "torch.load"),
        ("import numpy as np\nread = np.load", "np.load"),
        ("from numpy import load as l", "numpy.load"),
        ("x(f, allow_pickle=True)", "allow_pickle=True"),
        ("eval(x)", "eval"),
    ],
)
def test_unpickling_would_be_found(source: str, found: str) -> None:
    """By import, by attribute, by another name."""
    assert unsafe(source) == {found}


def test_a_request_loads_no_unpickler() -> None:
    """No module of the service asks for one; what libraries import for themselves is theirs."""
    check = """
import ast, pathlib, sys
import service.api.app
for name, module in [*sys.modules.items()]:
    if name.partition(".")[0] == "service":
        print(name, *(key for key, value in vars(module).items()
                      if getattr(value, "__name__", "") in {unpicklers}))
"""
    lines = run("-c", check.replace("{unpicklers}", repr(UNPICKLERS))).splitlines()
    assert len(lines) > 60
    assert [line for line in lines if len(line.split()) > 1] == []
