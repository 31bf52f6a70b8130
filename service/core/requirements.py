"""Requirements of strategies that the service itself does not need: a module, or a program.

They are looked up by name and not imported: a compiler takes memory in each process that has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Final

INSTALL_COMPILED: Final = "pip install 'tensor-service[compiled]'"
INSTALL_GPU: Final = "pip install 'tensor-service[gpu]'"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A module, program or file of the host by `name`, and what the user can do without it.

    `find` returns None where it is absent. It is asked once in a process.
    """

    name: str
    find: Callable[[], object]
    remedy: str

    @property
    def missing(self) -> str | None:
        """The reason why a strategy that needs it does not run here; None if it does."""
        if _is_found(self.find):
            return None
        return f"needs {self.name}, which is not installed here: {self.remedy}"


@cache
def _is_found(find: Callable[[], object]) -> bool:
    return find() is not None


def module(name: str, remedy: str = INSTALL_COMPILED) -> Requirement:
    """Return the requirement of a module of Python, and of the parents of a dotted name."""
    return Requirement(name, lambda: _find_module(name), remedy)


def _find_module(name: str) -> object:
    try:
        return find_spec(name)
    except ModuleNotFoundError:  # a parent is absent
        return None
