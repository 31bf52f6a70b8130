"""Requirements: what is present, and what is absent."""

import os
import sys
from pathlib import Path

import pytest

from service.core import requirements
from service.core.requirements import (
    C_COMPILER,
    CPP_COMPILER,
    INSTALL_COMPILED,
    PYTHON_HEADERS,
    WRITABLE_CODE,
    Requirement,
    module,
)


def test_modules_that_are_present() -> None:
    """A module is found without being imported, and so is one inside a package."""
    unused = "xml.dom.pulldom"
    assert unused not in sys.modules
    assert module("json").missing is None
    assert module(unused).missing is None
    assert unused not in sys.modules


@pytest.mark.parametrize("name", ["no_such_module", "no_such_package.module"])
def test_modules_that_are_absent(name: str) -> None:
    """An absent module, or one of an absent package, is the reason, with the remedy."""
    found = f"needs {name}, which is not installed here: {INSTALL_COMPILED}"
    assert module(name).missing == found


@pytest.mark.parametrize(
    ("need", "what", "remedy"),
    [
        (CPP_COMPILER, "a C++ compiler", "apt-get install g++"),
        (PYTHON_HEADERS, "Python.h", "apt-get install python3-dev"),
    ],
)
def test_what_torch_compiles_with(
    need: Requirement,
    what: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A compiler is that of CXX, or g++ of the PATH; headers are those of this Python."""
    monkeypatch.setattr(requirements, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    absent = f"needs {what}, which is not installed here: {remedy}"
    assert [need.missing] == [absent]
    (tmp_path / "Python.h").touch()
    (tmp_path / "c++").touch(mode=0o700)
    assert [need.missing] == [None]
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [CPP_COMPILER.missing is None] == [False]
    (tmp_path / "g++").touch(mode=0o700)
    assert CPP_COMPILER.missing is None


def test_what_triton_compiles_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A compiler of C is that of CC, whatever that is, or gcc or clang of the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    absent = "needs a C compiler, which is not installed here: apt-get install gcc"
    assert [C_COMPILER.missing] == [absent]
    for name in ("clang", "gcc"):
        program = tmp_path / name
        program.touch(mode=0o700)
        assert [C_COMPILER.missing] == [None]
        program.unlink()
    monkeypatch.setenv("CC", "cc of another folder")
    assert [C_COMPILER.missing] == [None]


def test_a_folder_for_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is that of the setting, or one of the user; another user may not write to it."""
    lack = "which this user, and no other, can write to: set TORCHINDUCTOR_CACHE_DIR to one"
    missing = f"needs a folder for code, {lack}"
    folder = tmp_path / "code"
    monkeypatch.setenv(requirements.CODE_FOLDER, str(folder))
    assert WRITABLE_CODE.missing is None
    folder.chmod(0o777)
    assert [WRITABLE_CODE.missing] == [missing]
    folder.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert [WRITABLE_CODE.missing] == [missing]
    monkeypatch.undo()
    (tmp_path / "file").touch()
    monkeypatch.setenv(requirements.CODE_FOLDER, str(tmp_path / "file" / "code"))
    assert [WRITABLE_CODE.missing] == [missing]
    monkeypatch.delenv(requirements.CODE_FOLDER)
    monkeypatch.setattr(requirements, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(requirements, "getuser", lambda: "ann")
    assert [WRITABLE_CODE.missing] == [None]
    assert (tmp_path / "torchinductor_ann").is_dir()
