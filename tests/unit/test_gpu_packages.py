"""`python -m tests.gpu` where packages are missing."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Final

import pytest

from tests.gpu import packages
from tests.gpu.__main__ import INSTALL
from tests.gpu.groups import GROUPS
from tests.gpu.packages import SERVICE, missing
from tests.rigs.paths import ROOT

FILES: Final = ("tests/gpu/proof.py", "tests/bench/gpu.py", *(each[0] for each in GROUPS.values()))
# An interpreter that finds this project alone.
BARE: Final = (sys.executable, "-S", "-P", "-c")
RUN: Final = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT)!r})
runpy.run_module("tests.gpu", run_name="__main__")
"""


def test_nothing_is_missing_here() -> None:
    """All modules of the tests are followed to the packages that they import."""
    assert missing(FILES) == []


def test_packages_are_named_in_one_line() -> None:
    """Not by a traceback of the first import; the line has the command that installs them."""
    done = subprocess.run(
        [*BARE, RUN],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = done.stdout.splitlines()
    named = re.match("These packages are missing: (.*?)\\. Install them: ", line)
    assert named is not None
    # The service itself is found where its metadata are beside its code.
    assert {"torch", "pytest", "httpx", "orjson"} <= {*named[1].split(", ")}
    assert line.endswith(INSTALL)


def test_the_command_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what is no dependency of the service; the page about GPUs has the same command."""
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*INSTALL.split()[5:], *project["dependencies"], "opentelemetry", "starlette"]
    installed = {re.split("[^a-z0-9_]", each.strip("'").replace("-", "_"))[0] for each in named}
    needed = {*missing(FILES)} - {*sys.stdlib_module_names}
    assert "httpx" in needed
    assert needed <= installed
    assert INSTALL in (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")


def test_a_pytest_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would not read the options of the project. The service has to be installed, too."""
    monkeypatch.setattr(packages, "version", {SERVICE: "1.0", "pytest": "8.4.2"}.__getitem__)
    assert missing(()) == ["pytest>=9"]

    def version(distribution: str) -> str:
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(packages, "version", version)
    assert missing(()) == [SERVICE]


def test_packages_that_modules_can_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what a module imports when it is imported is needed, and only by modules in use."""
    (tmp_path / "used.py").write_text("import absent_a.part\nfrom absent_b import c", "utf-8")
    (tmp_path / "unused.py").write_text("import absent_c", "utf-8")
    text = """
import json
import used
try:
    import absent_d
except ImportError:
    absent_d = None
def late():
    import absent_e
"""
    (tmp_path / "first.py").write_text(text, "utf-8")
    (tmp_path / "conftest.py").write_text("from absent_f import *", "utf-8")
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    monkeypatch.setattr(packages, "FOLDERS", (tmp_path,))
    assert missing(["first.py"]) == ["absent_a", "absent_b", "absent_f"]
