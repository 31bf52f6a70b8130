"""How command lines are parsed: what is refused gets a hint, and help ends with examples.

Knows neither torch nor the registry, so that `--help` takes no time.
"""

import argparse
from collections.abc import Sequence
from typing import Final, NoReturn

from service.errors import InvalidFieldError, did_you_mean, quote

PROGRAM: Final = "python -m service"


class Parser(argparse.ArgumentParser):
    """A parser that raises what it refuses as an InvalidFieldError, with a hint."""

    def __init__(self, program: str, description: str, *, epilog: str | None = None):
        """Parse the arguments of `program`; options are spelt in full, `epilog` ends the help."""
        super().__init__(
            program,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        hint = f"{self.prog} --help lists the options"
        if "expected one argument" in message:
            hint = "a value that begins with a dash is joined by =, such as --ord=-inf"
        raise InvalidFieldError(message, hint=hint)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options; an unknown one is refused with the nearest that exists."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            name = unknown[0].partition("=")[0]
            near = did_you_mean(name, known)
            hint = near or f"{self.prog} --help lists the options"
            raise InvalidFieldError(f"{self.prog} takes no {quote(name)}", hint=hint)
        return options


def examples(*lines: str) -> str:
    """An epilog of command lines, each behind the program's name."""
    return "\n".join(["examples:", *(f"  {PROGRAM} {line}" for line in lines)])


def listed(members: dict[str, str]) -> str:
    """Names and what they stand for, a line each."""
    return "\n".join(f"  {name:12} {summary}" for name, summary in members.items())
