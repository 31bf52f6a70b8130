"""Dask clusters of real processes on this host: a scheduler and workers with little memory."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.rigs.paths import ROOT
from tests.rigs.servers import free_port, unmeasured

MEMORY: Final = 250_000_000  # of which a worker takes 60 MB for itself


@dataclass(slots=True)
class Local:
    """A scheduler and its workers, which tests may kill.

    A task that `failures` workers died of is given up.
    """

    port: int
    folder: Path
    failures: int = 3
    memory: int = MEMORY
    variables: Mapping[str, str] = field(default_factory=dict)
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        return f"tcp://127.0.0.1:{self.port}"

    def start(self, workers: int) -> None:
        """Start the scheduler, unless it runs, and more workers."""
        if self.scheduler is None:
            options = ("--host", "127.0.0.1", "--port", str(self.port))
            allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(self.failures)}
            self.scheduler = _dask("scheduler", *options, **allowed)
        for _ in range(workers):
            limit = ("--nthreads", "1", "--memory-limit", str(self.memory), "--no-nanny")
            scratch = ("--local-directory", str(self.folder))
            command = ("worker", self.address, *limit, *scratch)
            self.workers.append(_dask(*command, **self.variables))

    def end(self) -> None:
        """Kill all processes that still run."""
        for process in (*self.workers, *([self.scheduler] if self.scheduler else [])):
            process.kill()
            process.wait()


def _dask(kind: str, *options: str, **variables: str) -> subprocess.Popen[bytes]:
    """A process of Dask's own command line, which finds the service's package as well."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options, "--no-dashboard"]
    return subprocess.Popen(
        command,
        env=unmeasured() | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def local_cluster(
    folder: Path,
    workers: int,
    failures: int = 3,
    memory: int = MEMORY,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Local]:
    """Run a cluster on a free port until the end of the block.

    Each worker has `memory` bytes, and `variables` in its environment. A task that more than
    `failures` workers died with is given up.
    """
    cluster = Local(free_port(), folder, failures, memory, variables or {})
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.end()
