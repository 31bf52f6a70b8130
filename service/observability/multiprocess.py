"""Exchange of counters between the processes of one server, by files in a folder."""

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import orjson

from service.observability.counters import Counters


class CountersFolder:
    """One file for each process, replaced as a whole, and one for all that have ended.

    Names of files end in the version of the service, since versions count different things. What
    processes of another version have left is deleted.
    """

    def __init__(self, path: Path, version: str):
        """Use a folder that exists."""
        self._path = path
        self._suffix = f".{version}.json"
        # A process id alone may be used again.
        self._own = path / f"{os.getpid()}-{secrets.token_hex(4)}{self._suffix}"
        self._ended = path / f"ended{self._suffix}"

    def put(self, text: bytes) -> None:
        """Write the counters of this process."""
        _replace(self._own, text)

    def others(self, gauges: Collection[str]) -> Counters:
        """Return the sum of the counters of all other processes.

        Those of processes that have ended are without `gauges`, and are moved to one file.
        """
        with self._locked():
            merged, ended = self._read_ended()
            found, left = Counters(), []
            for path in self._files():
                if path.name in merged:  # the process that has merged it was killed
                    path.unlink()
                elif _is_running(path):
                    if path != self._own and path.name.endswith(self._suffix):
                        found.merge(Counters.load(path.read_bytes()))
                elif path.name.endswith(self._suffix):
                    ended.merge(Counters.load(path.read_bytes()))
                    left.append(path)
                else:
                    path.unlink()
            for key in gauges:
                ended.readings.pop(key, None)
            if left:
                names = [path.name for path in left]
                _replace(self._ended, orjson.dumps([names, orjson.Fragment(ended.dump())]))
                for path in left:
                    path.unlink()
            found.merge(ended)
            return found

    def _files(self) -> list[Path]:
        """Return the files of processes, of whatever version."""
        return sorted(self._path.glob("[0-9]*-*.json"))

    def _read_ended(self) -> tuple[list[str], Counters]:
        """Return the names of the files that were merged last, and the sum of all."""
        if not self._ended.exists():
            return [], Counters()
        names, parts = orjson.loads(self._ended.read_bytes())
        return names, Counters.load(orjson.dumps(parts))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from merging files, which would be counted twice or not at all."""
        with (self._path / "lock").open("w") as file:
            flock(file, LOCK_EX)
            yield


def _replace(path: Path, text: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(text)
    new.replace(path)


def _is_running(path: Path) -> bool:
    return Path("/proc", path.name.partition("-")[0]).exists()
