"""Argument parser of the commands: errors have a hint, and help ends with examples.

It imports neither torch nor the registry, so that `python -m service --help` starts at once.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from service.errors import InvalidFieldError, did_you_mean, quote

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

MODULE: Final = "python -m service"
SCRIPT: Final = "tensor-service"  # of [project.scripts] in pyproject.toml
_NEEDS_A_VALUE: Final = re.compile(r"argument (--\S+): expected (?:at least )?one argument")
_SHAPE: Final = re.compile(r"[0-9]+(?:[x×][0-9]+)*")


class Parser(argparse.ArgumentParser):
    """Argument parser that raises InvalidFieldError with a hint where argparse exits."""

    def __init__(self, command: str, description: str, *, epilog: str | None = None):
        """Parse arguments of `command`, with options in full; `epilog` ends the help."""
        super().__init__(
            command_line(command),
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._arguments: list[str] = []

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print the help; an output that fails is an error, which argparse would ignore."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Raise InvalidFieldError with the message of argparse and a hint."""
        raise InvalidFieldError(message, hint=self._hint(message))

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options; an unknown one is an error that names the nearest."""
        self._arguments = list(arguments)
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            detail = f"{self.prog} takes no {quote(unknown[0].partition('=')[0])}"
            raise InvalidFieldError(detail, hint=self._hint_for_unknown(unknown))
        return options

    def _hint(self, message: str) -> str:
        found = _NEEDS_A_VALUE.match(message)
        if found is None:
            return f"{self.prog} --help lists the options"
        option = found[1]
        follower = next(iter(self._arguments[self._arguments.index(option) + 1 :]), "")
        if follower.startswith("-") and follower not in self._option_string_actions:
            return f"a value that begins with a dash is joined by =: {option}={follower}"
        return f"a value follows {option}; {self.prog} --help describes it"

    def _hint_for_unknown(self, unknown: Sequence[str]) -> str:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        name = unknown[0].partition("=")[0]
        if name.startswith("-"):
            return did_you_mean(name, known) or f"{self.prog} --help lists the options"
        if "--shapes" in known and _SHAPE.fullmatch(name):
            return f"shapes follow their option: --shapes {' '.join(unknown)}"
        return f"a value follows its option; {self.prog} --help lists the options"


def command_line(rest: str = "") -> str:
    """Return a command line: the program as it was called, and the rest."""
    name = Path(sys.argv[0]).name
    return f"{name if name == SCRIPT else MODULE} {rest}".rstrip()


def examples(*lines: str) -> str:
    """Return an epilog of command lines, each after the program's name."""
    return "\n".join(["examples:", *(f"  {command_line(line)}" for line in lines)])


def format_list(members: dict[str, str]) -> str:
    """Return names and their summaries, a line for each."""
    return "\n".join(f"  {name:12} {summary}" for name, summary in members.items())
