"""Server processes of the apps, pinned to a core."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.settings import from_environment
from tests.rigs.servers import free_port, unmeasured

READY_S = 60.0
# A GPU that was not ready at first is measured after a pause, and compiles its kernels before.
MEASURED_S = 120.0
# The service of another checkout.
BEFORE = "before"
# The service with a GPU whose device process computes on the CPU.
REHEARSAL = "rehearsal"
# The hand-tuned app parses whatever it is sent.
_BODY = b'{"a":[[1.0]],"b":[[1.0]]}'
REQUEST = b"GET /health/ready HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


@dataclass(frozen=True, slots=True)
class Server:
    """A running app."""

    name: str
    port: int
    pid: int

    def memory_bytes(self, field: str = "VmRSS") -> int:
        """Memory of the process: `VmRSS` now, `VmHWM` at its peak."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024


def commands(port: int) -> dict[str, list[str]]:
    """Return the command of each app."""
    uvicorn = ["uvicorn", "--port", str(port), "--no-access-log", "--loop", "uvloop"]
    uvicorn += ["--http", "httptools", "--log-level", "warning"]
    # Their event loops stand still for seconds: connections would be closed before they are read.
    uvicorn += ["--timeout-keep-alive", "600"]
    return {
        "service": ["service", "serve", "--port", str(port)],
        BEFORE: ["service", "serve", "--port", str(port)],
        REHEARSAL: [*uvicorn, "--factory", "tests.rigs.gpus:rehearsed_app"],
        "usual": [*uvicorn, "tests.bench.apps:usual"],
        "tuned": [*uvicorn, "--lifespan", "off", "tests.bench.apps:tuned"],
    }


@contextmanager
def running(
    names: list[str], core: int | None, folders: Mapping[str, Path] | None = None
) -> Iterator[dict[str, Server]]:
    """Run the named apps, pinned to `core`, until the end of the block; in `folders` if named."""
    known = folders or {}
    with ExitStack() as stack:
        yield {name: stack.enter_context(started(name, core, known.get(name))) for name in names}


@contextmanager
def started(
    name: str, core: int | None, /, folder: Path | None = None, **variables: str
) -> Iterator[Server]:
    """Run one app in `folder`, with more variables of the environment, to the end of the block."""
    port = free_port()
    command = [sys.executable, "-m", *commands(port)[name]]
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
    environment = unmeasured() | variables
    # A session of its own: Ctrl-C ends the clients first, and the server when they are done.
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        wait_until_ready(port, process)
        measures = name in ("service", BEFORE, REHEARSAL)
        if measures and from_environment(environment).calibrate:
            wait_until_measured(port)
        yield Server(name, port, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def wait_until_measured(port: int) -> None:
    """Wait until the service has measured all dtypes, of which the last is asked for.

    RuntimeError if it has not after two minutes.
    """
    shape = {"shape": [1], "dtype": "complex128"}
    body = json.dumps({"op": "add", "operands": [shape, shape]})
    url = f"http://127.0.0.1:{port}/broadcast/plan"
    deadline = time.monotonic() + MEASURED_S
    while '"prior"' in httpx.post(url, content=body).text:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the service on port {port} has not measured {shape['dtype']}")
        time.sleep(0.5)


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the port is served; for the service, until it is ready."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(REQUEST)
                if b" 503 " not in connection.recv(64):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"no answer on port {port}")
