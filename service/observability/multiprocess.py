"""Exchange of counters between the processes of one server, by files in a folder."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SUFFIX: Final = ".json"


class CountersFolder:
    """One file for each process, replaced as a whole; that of an ended process stays."""

    def __init__(self, path: Path):
        """Use a folder that exists."""
        self._path = path
        # A process id alone may be used again.
        self._own = path / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"

    def put(self, text: bytes) -> None:
        """Write the counters of this process."""
        new = self._own.with_suffix(".new")
        new.write_bytes(text)
        new.replace(self._own)

    def others(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the counters of each other process, and whether it is still running."""
        for path in sorted(self._path.glob(f"*{SUFFIX}")):
            if path != self._own:
                yield path.read_bytes(), _is_running(int(path.name.partition("-")[0]))


def _is_running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()
