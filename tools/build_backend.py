"""Build backend: setuptools, with a C compiler from PyPI on a host that has none.

pyproject.toml names this module, and setup.py builds the extension module by it. A build that
cannot compile leaves the extension module out: the service then runs without it, only slower.
A wheel has the files of docs/, which the service shows at /guide.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ConfigSettings: TypeAlias = dict[str, str | list[str] | None] | None

NO_EXTENSIONS: Final = "TENSOR_SERVICE_NO_EXTENSIONS"
# Zig has a C compiler, libc's headers and a linker in one wheel. The condition is where it and
# torch have wheels; elsewhere pip would fail for the lack of one.
ZIG: Final = "ziglang==0.17.*; sys_platform == 'linux' and platform_machine in 'x86_64 aarch64'"
# Without `-mcpu` Zig compiles for the processor of this host alone, and an image of a container
# may run on another. Without `-fno-sanitize` it may add checks.
ZIG_FLAGS: Final = ("-mcpu=baseline", "-fno-sanitize=undefined")
SHARED: Final = ("-shared", "-fPIC", "-pthread", "-Wl,-s")  # without symbols: 57 KB, not 914
PROBE: Final = "#include <stdint.h>\n#include <string.h>\nint probe(void) { return 0; }\n"
# Declarations of the stable ABI, for an interpreter that was installed without its headers.
OWN_HEADERS: Final = Path(__file__).parent / "stable_abi"
# The sources of the guide, and the folder in the package that they are copied to.
PAGES: Final = ("CONTRIBUTING.md", "docs/*.md", "docs/*/*.md", "docs/images/*.*")
PAGES_FOLDER: Final = Path("service", "guide", "pages")
# A build of Python without the GIL has no stable ABI.
HAS_STABLE_ABI: Final = not sysconfig.get_config_var("Py_GIL_DISABLED")


def get_requires_for_build_wheel(config_settings: ConfigSettings = None) -> list[str]:
    """Return what building a wheel needs, a compiler included if there is none."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_compiler_requirement()]


def get_requires_for_build_editable(config_settings: ConfigSettings = None) -> list[str]:
    """Return what an editable installation needs, a compiler included if there is none."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_compiler_requirement()]


def _compiler_requirement() -> list[str]:
    return [ZIG] if obstacle() is None and host_compiler() is None else []


def obstacle() -> str | None:
    """Return why no compiler could compile the extension module, or None."""
    if os.environ.get(NO_EXTENSIONS):
        return f"{NO_EXTENSIONS} is set"
    if include_folders() is None:
        return f"{sys.executable} has no Python.h and no stable ABI"
    return None


def include_folders() -> list[str] | None:
    """Return where Python.h is, beyond the places that setuptools names; None if nowhere."""
    if Path(sysconfig.get_path("include"), "Python.h").is_file():
        return []
    return [str(OWN_HEADERS)] if HAS_STABLE_ABI else None


def host_compiler() -> list[str] | None:
    """Return the command of a C compiler on this host that works, or None."""
    return next((each for each in _candidates() if _works(each)), None)


def _candidates() -> Iterator[list[str]]:
    """Yield commands: that of the environment, that which compiled Python, the usual ones."""
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        if command:
            yield shlex.split(command)


def _works(command: list[str]) -> bool:
    """Return whether a compiler makes a shared library: it may lack libc's headers or a linker."""
    if shutil.which(command[0]) is None:
        return False
    with TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(PROBE, encoding="utf-8")
        call = [*command, *SHARED, str(source), "-o", str(Path(folder, "probe.so"))]
        done = subprocess.run(call, capture_output=True, check=False)  # noqa: S603 - CC, or a name
        return done.returncode == 0


def zig_compiler() -> list[str] | None:
    """Return the command of Zig's C compiler, or None if it is not installed."""
    if find_spec("ziglang") is None:
        return None
    return [sys.executable, "-m", "ziglang", "cc", *ZIG_FLAGS]


class BuildExtension(build_ext):
    """The command that compiles: by the same flags for every compiler and build of Python."""

    def run(self) -> None:
        """Compile, or say that the extension module is left out."""
        mapping = self.get_output_mapping()
        outputs = {Path(each) for each in (*self.get_outputs(), *mapping, *mapping.values())}
        for output in outputs:
            output.unlink(missing_ok=True)  # an older one must not pass for this one
        super().run()
        if not all(each.exists() for each in outputs):
            self.warn("no extension module: the service reads and writes numbers slower without")

    def build_extensions(self) -> None:
        """Compile by the compiler of this host, or else by Zig's."""
        command = host_compiler() or zig_compiler()
        if command is None or obstacle() is not None:
            self.warn(f"nothing is compiled: {obstacle() or 'there is no C compiler, nor ziglang'}")
            return
        flags = shlex.split(os.environ.get("CFLAGS", ""))
        self.compiler.set_executables(
            compiler_so=[*command, "-fPIC", *flags], linker_so=[*command, *SHARED]
        )
        with TemporaryDirectory() as folder:
            os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", folder)  # 50 MB, not left at home
            super().build_extensions()


class BuildPackages(build_py):
    """The command that collects the packages, and the pages of the guide with them."""

    def run(self) -> None:
        """Copy all; an editable installation reads the pages where they are."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib) / PAGES_FOLDER
        shutil.rmtree(folder, ignore_errors=True)  # a page of an earlier build may be gone
        for source in (each for pattern in PAGES for each in Path().glob(pattern)):
            target = folder / source
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
