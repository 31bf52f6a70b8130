"""A folder in which the processes of one server leave their figures for each other."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SUFFIX: Final = ".json"


class CountersFolder:
    """One file for each process, replaced as a whole; that of a process which has ended stays."""

    def __init__(self, path: Path):
        """Use a folder that exists."""
        self._path = path
        # A number alone may come again when its process has ended.
        self._own = path / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"

    def put(self, text: bytes) -> None:
        """Leave this process' figures."""
        new = self._own.with_suffix(".new")
        new.write_bytes(text)
        new.replace(self._own)

    def others(self) -> Iterator[tuple[bytes, bool]]:
        """What each other process has left, and whether it still lives."""
        for path in sorted(self._path.glob(f"*{SUFFIX}")):
            if path != self._own:
                yield path.read_bytes(), _lives(int(path.name.partition("-")[0]))


def _lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists()
