"""Count the calls of the service's own functions for one request on a kept connection.

    python -m tests.bench.call_path
    python -m tests.bench.call_path --trace --only "matmul 2 x 2"

Each call of a function under service/ counts, lambdas included, in any thread. The frames of
comprehensions and generator expressions are counted apart: they are no calls in the source, and
depend on the version of Python. A switch is two consecutive calls in different files, or in
different folders. Fewer calls and switches mean a shorter path to read and less time for a small
request.

The server runs in this process, with the configuration of `python -m service serve` but without
busy polling, and is ready before the first count. Each request is sent several times beforehand, so
that caches are filled. The periodic check of connections is left out. Other timers can only add
calls, so the shortest of several counts is the one of the request alone.
"""

import argparse
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx

import service
from service.api.app import create_app
from service.server import run
from service.server.connection import ConnectionMonitor
from service.server.server import Server
from service.settings import Settings
from tests.rigs.servers import free_port

FOLDER: Final = Path(service.__file__).parent
COMPREHENSIONS: Final = frozenset({"<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>"})
TIMER: Final = ConnectionMonitor._tick.__code__
WARM_UPS: Final = 20
COUNTS: Final = 5
# Longer than the server works on after the last byte of a response.
SETTLE_S: Final = 0.05
READY_S: Final = 120


@dataclass(frozen=True, slots=True)
class Request:
    """A POST of JSON, and the status that it gets."""

    name: str
    path: str
    body: bytes
    status: int

    def __bytes__(self) -> bytes:
        """Return the request as it is sent."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


REQUESTS: Final = (
    Request(
        "matmul 2 x 2",
        "/matmul",
        b'{"a":[[1.5,2],[3,4]],"b":[[5,6],[7,8.25]],"dtype":"float64"}',
        200,
    ),
    Request("shape mismatch", "/matmul", b'{"a":[[1,2,3],[3,4,5]],"b":[[5,6],[7,8]]}', 422),
    Request("plan", "/matmul/plan", b'{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}', 200),
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function: its file, relative to the package, and its qualified name."""

    file: str
    function: str

    @property
    def folder(self) -> str:
        """The folder of the file."""
        return str(Path(self.file).parent)


@dataclass(frozen=True, slots=True)
class CallPath:
    """The calls of one request, in order, and the number of frames of comprehensions."""

    calls: tuple[Call, ...]
    comprehensions: int

    @property
    def files(self) -> int:
        """The number of distinct files."""
        return len({call.file for call in self.calls})

    @property
    def file_switches(self) -> int:
        """The number of consecutive calls in different files."""
        return sum(one.file != other.file for one, other in pairwise(self.calls))

    @property
    def folder_switches(self) -> int:
        """The number of consecutive calls in different folders."""
        return sum(one.folder != other.folder for one, other in pairwise(self.calls))

    def counts(self) -> dict[str, int]:
        """Return all counts by name."""
        return {
            "calls": len(self.calls),
            "files": self.files,
            "file_switches": self.file_switches,
            "folder_switches": self.folder_switches,
            "comprehensions": self.comprehensions,
        }


class Recorder:
    """A profile function that records calls in the service while it is on."""

    def __init__(self) -> None:
        """Record nothing yet."""
        self._prefix = f"{FOLDER}{os.sep}"
        self._calls: list[Call] | None = None
        self._comprehensions = 0

    def profile(self, frame: FrameType, event: str, argument: object) -> None:
        """Record a call; the signature is that of `sys.setprofile`."""
        if self._calls is None or event != "call":
            return
        code = frame.f_code
        if not code.co_filename.startswith(self._prefix) or is_of_timer(frame):
            return
        if code.co_name in COMPREHENSIONS:
            self._comprehensions += 1
        else:
            file = code.co_filename.removeprefix(self._prefix)
            self._calls.append(Call(file, code.co_qualname))

    def start(self) -> None:
        """Begin a record."""
        self._calls, self._comprehensions = [], 0

    def stop(self) -> CallPath:
        """End the record, and return it."""
        calls, self._calls = self._calls or [], None
        return CallPath(tuple(calls), self._comprehensions)


def is_of_timer(frame: FrameType) -> bool:
    """Return whether a call is the periodic check of connections, or is made by it."""
    each: FrameType | None = frame
    while each is not None and each.f_code is not TIMER:
        each = each.f_back
    return each is not None


def serve(recorder: Recorder) -> int:
    """Start a server on a thread of this process, wait until it is ready, and return its port."""
    port = free_port()
    # A server that polls makes as many calls as it has time for.
    settings = Settings(port=port, busy_poll_us=0)
    config = run._config(settings)
    config.app, config.factory = create_app(settings), False

    def target() -> None:
        sys.setprofile(recorder.profile)
        Server(config, settings).run()

    threading.setprofile(recorder.profile)  # for threads that the server starts
    threading.Thread(target=target, daemon=True).start()
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                return port
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready after {READY_S} s")


def exchange(connection: socket.socket, request: Request) -> int:
    """Send a request, read its response, and return the status."""
    connection.sendall(bytes(request))
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").lower().split("\r\n")
    length = int(dict(line.split(": ", 1) for line in lines)["content-length"])
    while len(body) < length:
        body += received(connection)
    return int(first.split()[1])


def received(connection: socket.socket) -> bytes:
    """Return the next bytes of a connection; ConnectionError at its end."""
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def call_path(connection: socket.socket, request: Request, recorder: Recorder) -> CallPath:
    """Return the calls that one request makes."""
    for _ in range(WARM_UPS):
        if (status := exchange(connection, request)) != request.status:
            raise RuntimeError(f"{request.name}: status {status}, not {request.status}")
    found = []
    for _ in range(COUNTS):
        time.sleep(SETTLE_S)
        recorder.start()
        exchange(connection, request)
        time.sleep(SETTLE_S)
        found.append(recorder.stop())
    return min(found, key=lambda path: len(path.calls))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser("python -m tests.bench.call_path", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [request.name for request in REQUESTS]
    parser.add_argument("--only", choices=names, help="count this request alone")
    parser.add_argument("--trace", action="store_true", help="print the calls in order")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the counts of each request."""
    options = parsed(arguments)
    recorder = Recorder()
    port = serve(recorder)
    found: dict[str, dict[str, Any]] = {}
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for request in REQUESTS:
            if options.only not in (None, request.name):
                continue
            path = call_path(connection, request, recorder)
            found[request.name] = path.counts()
            if not options.json:
                counts = ", ".join(f"{value} {name}" for name, value in path.counts().items())
                print(f"{request.name}: {counts.replace('_', ' ')}")
            if options.trace:
                print(*(f"    {call.file}  {call.function}" for call in path.calls), sep="\n")
    if options.json:
        print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # the server's thread has no end of its own


if __name__ == "__main__":
    main()
