"""Requirements of strategies that the service itself does not need: a module, program or folder.

They are looked up by name and not imported: a compiler takes memory in each process that has it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from getpass import getuser
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from stat import S_IWOTH
from sysconfig import get_path
from tempfile import TemporaryFile, gettempdir
from typing import Final

INSTALL_COMPILED: Final = "pip install 'tensor-service[compiled]'"
INSTALL_GPU: Final = "pip install 'tensor-service[gpu]'"
CODE_FOLDER: Final = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A module, program or file of the host by `name`, and how to install it.

    `find` returns None if it is absent. `lack` completes the sentence "needs NAME, ...".
    """

    name: str
    find: Callable[[], object]
    remedy: str
    lack: str = "which is not installed here"

    @property
    def missing(self) -> str | None:
        """The reason why a strategy that needs it does not run here; None if it does."""
        if self.find() is not None:
            return None
        return f"needs {self.name}, {self.lack}: {self.remedy}"


def module(name: str, remedy: str = INSTALL_COMPILED) -> Requirement:
    """Return the requirement of a module of Python, and of the parents of a dotted name."""
    return Requirement(name, lambda: _find_module(name), remedy)


def _find_module(name: str) -> object:
    try:
        return find_spec(name)
    except ModuleNotFoundError:  # a parent is absent
        return None


def _find_c_compiler() -> object:
    return os.environ.get("CC") or which("gcc") or which("clang")


def _find_compiler() -> object:
    return which(os.environ.get("CXX", "g++"))


def _find_headers() -> object:
    header = Path(get_path("include"), "Python.h")
    return header if header.exists() else None


def _find_code_folder() -> object:
    """Return the folder of torch.compile, made if it is absent; None unless it is safe and works.

    What is in it is executed, so that no other user may own it or write to it.
    """
    try:
        named = os.environ.get(CODE_FOLDER)
        folder = Path(named or Path(gettempdir(), f"torchinductor_{getuser()}"))
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            found = folder.stat()
    except (KeyError, OSError):  # KeyError: the user has no name
        return None
    is_mine = found.st_uid == os.geteuid() and not found.st_mode & S_IWOTH
    return folder if is_mine else None


# What Triton builds the code with that launches a kernel.
C_COMPILER: Final = Requirement("a C compiler", _find_c_compiler, "apt-get install gcc")
# What torch.compile builds its code with on a CPU.
CPP_COMPILER: Final = Requirement("a C++ compiler", _find_compiler, "apt-get install g++")
PYTHON_HEADERS: Final = Requirement("Python.h", _find_headers, "apt-get install python3-dev")
WRITABLE_CODE: Final = Requirement(
    "a folder for code",
    _find_code_folder,
    f"set {CODE_FOLDER} to one",
    "which this user, and no other, can write to",
)
