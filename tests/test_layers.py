"""Who imports whom."""

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
        ("errors", "timing", "limits", "__main__"),
    ),
    "torch, numpy and the server": ({"torch", "numpy", *WEB} - {"httpx"}, ("client",)),
    "torch and the web": ({"torch", *WEB}, ("examples",)),
    "the web": (WEB, ("dtypes", "registry", "strategies", "wire", "plan", "engine")),
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


def test_no_file_unpickles() -> None:
    """Loading a pickle runs what its sender wrote."""
    for path in (ROOT / "service").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "torch.load(", "allow_pickle=True", "eval(", "exec("):
            assert word not in text, path
