"""Tests of the build: which compiler, without a warning, and what is in a wheel."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest
from setuptools import build_meta

from service.__main__ import main
from service.cli.parser import SCRIPT
from service.codecs.number_text import NO_EXTENSIONS
from service.codecs.number_text.powers import powers_of_ten
from service.guide.site import Site
from tests.rigs.paths import ROOT
from tests.rigs.requirements import needs
from tools import build_backend
from tools.build_backend import (
    OWN_HEADERS,
    PAGES,
    PAGES_FOLDER,
    SHARED,
    ZIG,
    host_compiler,
    include_folders,
    zig_compiler,
)

C: Final = sorted((ROOT / "service" / "codecs" / "number_text").glob("*.c"))
# setuptools declares the arguments of every function that a module has, used or not.
WARNINGS: Final = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")
# What an sdist needs beside the folders.
PARTS: Final = ("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "CONTRIBUTING.md")
HEADERS: Final = (Path(sysconfig.get_path("include")), OWN_HEADERS)


def compilers() -> list[list[str]]:
    """Return the commands of all compilers of this host."""
    names = [["gcc"], ["clang"], zig_compiler() or ["zig"]]
    return [each for each in names if shutil.which(each[0])]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for no compiler and no flags."""
    for name in (NO_EXTENSIONS, "CC", "CFLAGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(not compilers(), reason="there is no C compiler")
@pytest.mark.parametrize("headers", HEADERS, ids=["of-python", "own"])
@pytest.mark.parametrize("command", compilers(), ids=lambda command: command[0])
def test_c_compiles_without_a_warning(command: list[str], headers: Path, tmp_path: Path) -> None:
    """With the headers of Python and with our own, by each compiler; the module then works."""
    if not (headers / "Python.h").is_file():
        pytest.skip(f"{headers} has no Python.h")
    module = tmp_path / "_compiled.abi3.so"
    flags = ["-std=c11", "-O3", "-DPy_LIMITED_API=0x030b0000", "-fvisibility=hidden", *WARNINGS]
    call = [*command, *SHARED, *flags, f"-I{headers}", *map(str, C), "-o", str(module)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location("_compiled", module)
    assert spec is not None
    assert spec.loader is not None
    compiled = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compiled)
    compiled.set_powers(powers_of_ten())
    with pytest.raises(ValueError, match="another size"):
        compiled.set_powers(b"")


def layout(headers: Path, folder: Path) -> str:
    """Return the constants and the layout of structures that our header has, by either header."""
    ours = (OWN_HEADERS / "Python.h").read_text(encoding="utf-8")
    constants = re.findall(r"^#define (P[Yy]\w+|METH_\w+) (?:\d|\([\dP])", ours, re.MULTILINE)
    bodies = re.findall(r"^typedef struct (\w+) {\n(.*?)^}", ours, re.MULTILINE | re.DOTALL)
    fields = [
        f"offsetof({name}, {field})"
        for name, body in bodies
        for field in re.findall(r"(\w+)(?:\)\(\w*\))?;", body)
    ]
    values = [*constants, *fields, *(f"sizeof({name})" for name, _ in bodies)]
    assert len(constants) > 20
    assert len(fields) > 35
    lines = "\n".join(f'    printf("{each} %zu\\n", (size_t)({each}));' for each in values)
    source = folder / "layout.c"
    source.write_text(
        f"#include <Python.h>\n#include <stddef.h>\nint main(void) {{\n{lines}\n}}\n",
        encoding="utf-8",
    )
    call = ["gcc", "-DPy_LIMITED_API=0x030b0000", f"-I{headers}", str(source)]
    subprocess.run([*call, "-o", str(folder / "layout")], check=True, timeout=60)
    return subprocess.check_output([folder / "layout"], text=True, timeout=60)


@needs("gcc")
def test_our_header_agrees_with_that_of_python(tmp_path: Path) -> None:
    """Its numbers, and the offset of each field of a structure."""
    theirs, ours = HEADERS
    if not (theirs / "Python.h").is_file():
        pytest.skip(f"{theirs} has no Python.h")
    assert layout(ours, tmp_path).splitlines() == layout(theirs, tmp_path).splitlines()


def imports(headers: Path, folder: Path) -> set[str]:
    """Return the functions and objects of Python that the module takes by these headers."""
    flags = ["-std=c11", "-O3", "-DPy_LIMITED_API=0x030b0000", f"-I{headers}"]
    module = folder / "module.so"
    call = ["gcc", *SHARED, *flags, *map(str, C), "-o", str(module)]
    subprocess.run(call, check=True, timeout=120)
    names = subprocess.check_output(
        ["nm", "--dynamic", "--undefined-only", str(module)], text=True, timeout=60
    )
    return {name for name in names.split() if name.lstrip("_").startswith("Py")}


@needs("gcc")
def test_our_header_names_the_same_functions(tmp_path: Path) -> None:
    """Macros of Python's header choose between some; it counts references without calls."""
    theirs, ours = HEADERS
    if not (theirs / "Python.h").is_file():
        pytest.skip(f"{theirs} has no Python.h")
    found = imports(ours, tmp_path)
    assert "PyModuleDef_Init" in found
    assert found - imports(theirs, tmp_path) <= {"Py_IncRef", "Py_DecRef", "Py_NewRef"}


@pytest.mark.parametrize("target", ["wheel", "editable"])
def test_a_compiler_is_required_where_there_is_none(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it could compile, and is not unwanted."""
    name = f"get_requires_for_build_{target}"
    monkeypatch.setattr(build_meta, name, lambda settings: ["theirs"])
    requires: Callable[[], list[str]] = getattr(build_backend, name)
    monkeypatch.setattr(build_backend, "host_compiler", lambda: ["gcc"])
    assert requires() == ["theirs"]
    monkeypatch.setattr(build_backend, "host_compiler", lambda: None)
    assert requires() == ["theirs", ZIG]
    with monkeypatch.context() as patch:
        patch.setattr(build_backend, "include_folders", lambda: None)
        assert requires() == ["theirs"]
    monkeypatch.setenv(NO_EXTENSIONS, "1")
    assert requires() == ["theirs"]


@needs("gcc")
def test_a_compiler_that_fails_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """CC first, then the others; none without any on PATH."""
    monkeypatch.setenv("CC", "gcc -DX")
    assert host_compiler() == ["gcc", "-DX"]
    for command in ("false", "no-such-compiler", "gcc -no-such-flag"):
        monkeypatch.setenv("CC", command)
        found = host_compiler()
        assert found is not None
        assert found != command.split()
    monkeypatch.setenv("PATH", "/nothing")
    assert host_compiler() is None


def test_headers_that_are_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours take their place, but not without the stable ABI."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert include_folders() == [str(OWN_HEADERS)]
    monkeypatch.setattr(build_backend, "HAS_STABLE_ABI", False)
    assert include_folders() is None
    (tmp_path / "Python.h").touch()
    assert include_folders() == []


def test_zig_compiles_for_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not just for the one it runs on; without the package there is no such compiler."""
    monkeypatch.setattr(build_backend, "find_spec", lambda name: None)
    assert zig_compiler() is None
    monkeypatch.setattr(build_backend, "find_spec", lambda name: name)
    command = zig_compiler()
    assert command is not None
    assert command[:4] == [sys.executable, "-m", "ziglang", "cc"]
    assert "-mcpu=baseline" in command


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of what is built."""
    for name in ("docs", "service", "tools"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    for name in (*PARTS, "Makefile", "constraints.txt"):
        shutil.copy2(ROOT / name, tmp_path)
    return tmp_path


def build(tree: Path, what: str, **variables: str) -> tuple[Path, str]:
    """Build a wheel or an sdist by the backend; return it and what was printed."""
    code = f"from tools.build_backend import build_{what} as b; print(b('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    (built,) = (tree / "dist").iterdir()
    return built, done.stdout


def number_text_in(wheel: Path) -> set[str]:
    """Return the names of the files in service.codecs.number_text that are not Python's."""
    paths = [Path(name) for name in ZipFile(wheel).namelist()]
    own = {".py", ".pyi"}
    return {
        path.name for path in paths if path.parent.name == "number_text" and path.suffix not in own
    }


GUIDE: Final = """
from service.guide.site import SOURCES, Site
site = Site()
site.check()
print(SOURCES, *(address for address, make in site.contents.items() if make()))
"""


@needs("gcc")
def test_a_wheel_has_the_module_and_not_its_sources(tree: Path) -> None:
    """One wheel for Python 3.11 and later; the module in it can be imported from there.

    So can the guide, with all its pages and none of an earlier build.
    """
    stale = libraries(tree) / PAGES_FOLDER / "docs" / "notes" / "stale.md"
    stale.parent.mkdir(parents=True)
    stale.touch()
    wheel, _ = build(tree, "wheel")
    assert number_text_in(wheel) == {"_compiled.abi3.so"}
    assert "-cp311-abi3-" in wheel.name
    installed = tree / "installed"
    ZipFile(wheel).extractall(installed)
    code = "from service.codecs.number_text import compiled, reason; print(compiled, reason)"
    told = run_installed(installed, code)
    assert f"from '{installed}/service/codecs/number_text/_compiled.abi3.so'" in told
    assert told.endswith(" None\n")
    pages, *addresses = run_installed(installed, GUIDE).split()
    assert pages == str(installed / PAGES_FOLDER)
    assert addresses == [*Site(ROOT).contents]
    (distribution,) = importlib.metadata.distributions(path=[str(installed)])
    (script,) = distribution.entry_points.select(group="console_scripts")
    assert (script.name, script.load()) == (SCRIPT, main)


def run_installed(folder: Path, code: str) -> str:
    """Run code with the package in `folder`, and return what it prints."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=folder.parent,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def libraries(tree: Path) -> Path:
    """Return the folder in which a build collects what a wheel has."""
    version = "".join(map(str, sys.version_info[:2]))
    return tree / "build" / f"lib.{sysconfig.get_platform()}-cpython-{version}"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"CFLAGS": "-include no-such-header.h"}, "no-such-header.h"),
        ({NO_EXTENSIONS: "1"}, f"nothing is compiled: {NO_EXTENSIONS} is set"),
        ({"PATH": "/nothing"}, "nothing is compiled: there is no C compiler"),
    ],
    ids=["fails", "unwanted", "no-compiler"],
)
def test_a_wheel_without_the_module(tree: Path, variables: dict[str, str], reason: str) -> None:
    """Building goes on, says why, and takes no module of an earlier build."""
    stale = libraries(tree) / "service" / "codecs" / "number_text"
    stale.mkdir(parents=True)
    (stale / "_compiled.abi3.so").write_bytes(b"an earlier build")
    wheel, told = build(tree, "wheel", **variables)
    assert number_text_in(wheel) == set()
    assert reason in told
    assert "no extension module: the service reads and writes numbers slower" in told


def test_an_sdist_has_all_that_a_wheel_is_built_of(tree: Path) -> None:
    """The sources in C, our headers, the backend itself, and the pages of the guide."""
    sdist, _ = build(tree, "sdist", **{NO_EXTENSIONS: "1"})
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folder = ROOT / "service" / "codecs" / "number_text"
    sources = {*folder.glob("*.[ch]"), *OWN_HEADERS.iterdir(), Path(build_backend.__file__)}
    pages = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    assert len(pages) > 50
    assert {str(path.relative_to(ROOT)) for path in sources | pages} | {"setup.py"} <= names


@needs("make")
@pytest.mark.parametrize(
    "name",
    ["service/codecs/number_text/module.c", "service/codecs/number_text/powers.h", "setup.py"],
)
def test_make_installs_again_when_a_source_changes(tree: Path, name: str) -> None:
    """And not otherwise."""
    python = tree / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tree / ".venv" / ".runtime-installed").touch()
    dry = ["make", "--dry-run", "run", "PYTHON=python3", "VENV=.venv"]
    assert "pip" not in subprocess.check_output(dry, cwd=tree, text=True, timeout=60)
    later = python.stat().st_mtime + 10
    os.utime(tree / name, (later, later))
    assert "install --no-compile -c constraints.txt -e ." in subprocess.check_output(
        dry, cwd=tree, text=True, timeout=60
    )


def test_the_image_is_built_by_what_the_build_allows() -> None:
    """Its Zig is the one of constraints.txt, within the range that other builds take."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (pin,) = [each for each in pins if each.startswith("ziglang==")]
    assert pin.rpartition(".")[0] + ".*" == ZIG.partition(";")[0]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    needed = {
        "!setup.py",
        "!tools/build_backend.py",
        "!tools/stable_abi",
        "!docs",
        "!CONTRIBUTING.md",
    }
    assert needed <= set(ignored)
