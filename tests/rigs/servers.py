"""Real servers, each in a process of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import sleep
from typing import IO, Final

import httpx

from tests.rigs.paths import ROOT

# The server itself gives calls under way 30 s.
END_S: Final = 40


def free_port() -> int:
    """Return a port of loopback on which no socket listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True)
class Server:
    """A server process and its address."""

    process: "subprocess.Popen[bytes]"
    address: tuple[str, int]

    @property
    def url(self) -> str:
        """The base URL of the server."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def connect(self, timeout_s: float = 10) -> socket.socket:
        """Open a connection to the server."""
        return socket.create_connection(self.address, timeout=timeout_s)

    def is_healthy(self) -> bool:
        """Return whether the server is alive and ready, and computes a correct product."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            body = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
            answer = client.post("/matmul", json=body)
            return (
                self.process.poll() is None
                and client.get("/health/live").status_code == 200
                and client.get("/health/ready").status_code == 200
                and answer.status_code == 200
                and answer.json()["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
            )

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Return the number of open files and sockets of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        """Return the number of threads of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def await_ready(self) -> None:
        """Wait until the server has measured its strategies; AssertionError after a minute."""
        with httpx.Client(base_url=self.url) as client:  # to make one reads all certificates
            for _ in range(600):
                with suppress(httpx.TransportError):
                    if client.get("/health/ready").status_code == 200:
                        return
                assert self.process.poll() is None, "the server has ended"
                sleep(0.1)
        raise AssertionError("the server was not ready after a minute")


def measured() -> dict[str, str]:
    """Return the variables by which child processes of Python measure their coverage, if this does.

    Few servers need them, those of tests that alone reach some lines: a server takes a quarter
    longer to start with them.
    """
    return {name: value for name, value in os.environ.items() if name.startswith("COV")}


def unmeasured() -> dict[str, str]:
    """Return the environment without what `measured` returns."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def start(stderr: IO[bytes] | None, variables: dict[str, str]) -> Server:
    """Start a server on a free port, with more variables in its environment."""
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=unmeasured() | variables, stderr=stderr)
    return Server(process, ("127.0.0.1", port))


@contextmanager
def server(**variables: str) -> Iterator[Server]:
    """Run a server until the end of the block, and assert that it logged no traceback."""
    with TemporaryFile() as log:
        running = start(log, variables)
        try:
            running.await_ready()
            yield running
        finally:
            running.process.terminate()
            try:
                running.process.wait(END_S)
            finally:
                running.process.kill()
                running.process.wait()
        log.seek(0)
        text = log.read().decode()
        assert "Traceback" not in text, text[-4000:]


@contextmanager
def serving(stderr: IO[bytes] | None = None, /, **variables: str) -> Iterator[str]:
    """Run a server until the end of the block, and yield its base URL; it logs to `stderr`."""
    running = start(stderr, variables)
    with running.process as process:
        try:
            running.await_ready()
            yield running.url
        finally:
            process.terminate()
            process.wait(60)
