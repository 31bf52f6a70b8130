"""A server process to hurt, and what may be asked of it from outside."""

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
from typing import Final

import httpx

ROOT: Final = Path(__file__).parents[2]
# Longer by this variable, as `make chaos` sets it.
SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "4"))
IS_LONG: Final = SECONDS > 10
GRACE_S: Final = 30


@dataclass(frozen=True)
class Server:
    """A process that serves at `address`."""

    process: "subprocess.Popen[bytes]"
    address: tuple[str, int]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def connect(self, timeout_s: float = 10) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(self.address, timeout=timeout_s)

    def is_healthy(self) -> bool:
        """Whether it lives, is ready, and multiplies right."""
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
        """Memory that the process holds."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Open files and sockets of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        """Threads of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


@contextmanager
def server(**variables: str) -> Iterator[Server]:
    """A server that is ready; it must log no error of its own while it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: tuple[str, int] = probe.getsockname()
    command = [sys.executable, "-m", "service", "serve", "--port", str(address[1])]
    environment = os.environ | variables
    with TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        try:
            running = Server(process, address)
            _await_ready(running)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(GRACE_S + 10)
            finally:
                process.kill()
                process.wait()
        log.seek(0)
        text = log.read().decode()
        assert "Traceback" not in text, text[-4000:]


def _await_ready(running: Server) -> None:
    for _ in range(600):
        with suppress(httpx.TransportError):
            if httpx.get(f"{running.url}/health/ready").status_code == 200:
                return
        assert running.process.poll() is None, "the server has ended"
        sleep(0.1)
    raise AssertionError("the server was not ready after a minute")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def received(connection: socket.socket) -> bytes:
    """All bytes until the server closes; TimeoutError if it does not."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def answers(data: bytes) -> list[Answer]:
    """The answers that these bytes are; AssertionError if one is not whole."""
    found: list[Answer] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert end, f"half a head: {head!r}"
        assert first.startswith("HTTP/1.1 "), first
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        length = int(headers["content-length"])
        assert len(data) >= length, f"{len(data)} of {length} bytes"
        found.append(Answer(int(first.split()[1]), headers, data[:length]))
        data = data[length:]
    return found
