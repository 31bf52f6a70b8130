"""`python -m tests.bench.refusals`: what clients cost that go on sending after they were refused.

Each client sends a body as fast as it can, over loopback, and does not stop at the response. The
server runs in the folder `--before` instead, if that is given.
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from service.http.auth import key_hash
from tests.bench.measurements import machine
from tests.bench.servers import BEFORE, Server, started

KEY: Final = "bench"
WATCHED_S: Final = 5.0
# Memory is returned some time after a large body.
SETTLED_S: Final = 8.0
# A client that is not refused sends no more than this.
MOST_BYTES: Final = 2**38
CHUNK: Final = b"10000\r\n" + b" " * 0x10000 + b"\r\n"


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is refused before its end: path, headers, and what is sent after its head."""

    name: str
    headers: tuple[str, ...]
    part: bytes = field(repr=False)
    path: str = "/matmul"

    @property
    def head(self) -> bytes:
        """The bytes before the body."""
        first = f"POST {self.path} HTTP/1.1"
        return "\r\n".join([first, "Host: bench", *self.headers, "", ""]).encode()


def cases() -> Iterator[Refused]:
    """Yield stated and endless bodies, without a key and with one."""
    stated, chunked = f"Content-Length: {MOST_BYTES}", "Transfer-Encoding: chunked"
    with_key = f"X-API-Key: {KEY}"
    yield Refused("401, stated", (stated,), CHUNK)
    yield Refused("401, chunked", (chunked,), CHUNK)
    yield Refused("413, stated", (stated, with_key), CHUNK)
    yield Refused("413, chunked", (chunked, with_key), CHUNK)
    yield Refused("413, chunked plan", (chunked, with_key), CHUNK, "/matmul/plan")


def cpu_s(server: Server) -> float:
    """Return the processor time of the server so far."""
    text = Path(f"/proc/{server.pid}/stat").read_text(encoding="ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def row(server: Server, case: Refused) -> list[str]:
    """Return processor time, bytes and seconds from the response on, and memory at rest."""
    before = server.memory_bytes()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(case.head)
        client.setblocking(False)
        status, sent, began = b"", 0, time.monotonic()
        answered_at, answered_s, accepted, gone_at = None, 0.0, 0, None
        while time.monotonic() - (answered_at or began) < WATCHED_S:
            try:
                sent += client.send(case.part[sent % len(case.part) :])
            except BlockingIOError:
                time.sleep(0.0005)
            except OSError:
                gone_at = time.monotonic()
                break
            if answered_at is None:
                with suppress(BlockingIOError):
                    status = client.recv(65_536)
                    answered_at, answered_s, accepted = time.monotonic(), cpu_s(server), sent
    end = time.monotonic()
    answered_at = answered_at or end
    time.sleep(max(0, answered_at + WATCHED_S - end))
    used = cpu_s(server) - answered_s
    time.sleep(SETTLED_S)
    kept = server.memory_bytes() - before
    return [
        case.name,
        status[9:12].decode() or "none",
        f"{used:.2f}",
        f"{(sent - accepted) / 1e6:.1f}",
        f"{gone_at - answered_at:.2f}" if gone_at else f"> {WATCHED_S:g}",
        f"{kept / 2**20:.1f}",
        f"{server.memory_bytes() / 2**20:.0f}",
    ]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.bench.refusals", description=__doc__)
    parser.add_argument("--before", type=Path, help="folder of another checkout")
    folder = parser.parse_args().before
    found = Table(title=f"a refused client that goes on sending, for {WATCHED_S:g} s")
    columns = ("client", "status", "CPU s", "MB accepted", "gone after s", "MiB kept", "MiB RSS")
    for column in columns:
        found.add_column(column, justify="left" if column == "client" else "right")
    name = BEFORE if folder else "service"
    keys = {"SERVICE_API_KEYS": f"bench:{key_hash(KEY.encode())}"}
    with started(name, None, folder, **keys) as server:
        for case in cases():
            found.add_row(*row(server, case))
    console = Console(width=120)
    console.print(machine())
    console.print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
