"""A cheap client: prepared requests on raw sockets, responses read by their length."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
from time import perf_counter_ns

CHUNK = 1 << 18


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    """A keep-alive connection with one request at a time."""

    def __init__(self, port: int):
        """Connect to a server on loopback."""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(CHUNK)
        self._head = bytearray()
        self._left = -1
        self.answer_bytes = 0

    def send(self, message: bytes) -> None:
        """Send a request."""
        self._head.clear()
        self._left = -1
        self.socket.sendall(message)

    def receive(self) -> bool:
        """Read available bytes; return whether the response is complete. Other than 200 raises."""
        count = self.socket.recv_into(self._buffer)
        if not count:
            raise ConnectionError("the server closed the connection")
        if self._left >= 0:
            self._left -= count
            return self._left == 0
        self._head += memoryview(self._buffer)[:count]
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._head[:end]).lower()
        if not head.startswith(b"http/1.1 200"):
            raise ConnectionError(bytes(self._head[:600]).decode(errors="replace"))
        start = head.index(b"content-length:") + 15
        length = int(head[start : (head + b"\r\n").index(b"\r\n", start)])
        self.answer_bytes = end + 4 + length
        self._left = self.answer_bytes - len(self._head)
        return self._left == 0

    def exchange(self, message: bytes) -> int:
        """Nanoseconds from the first byte sent to the last byte received."""
        started = perf_counter_ns()
        self.send(message)
        while not self.receive():
            pass
        return perf_counter_ns() - started

    def phases_us(self) -> dict[str, float]:
        """Return the phases in the Server-Timing header of the last response."""
        found = re.search(rb"server-timing: (.*)\r\n", bytes(self._head))
        if found is None:
            raise ConnectionError("the answer has no Server-Timing")
        pairs = (each.split(";dur=") for each in found[1].decode().split(", "))
        return {name: float(milliseconds) * 1e3 for name, milliseconds in pairs}


@contextmanager
def connections(port: int, count: int) -> Iterator[list[Connection]]:
    """Connections that are closed at the end."""
    opened = [Connection(port) for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.socket.close()


@dataclass(frozen=True, slots=True)
class Load:
    """Duration of a load, and the latency and arrival of each response."""

    elapsed_ns: int
    latencies_ns: list[int]
    answered_ns: list[int]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_ns) / self.elapsed_ns * 1e9

    def steady_rate(self, until_ns: int) -> float:
        """Return responses a second from the first on until `until_ns`.

        With fewer than two until then, return the rate of the whole load.
        """
        times = [each for each in self.answered_ns if each <= until_ns]
        if len(times) < 2:
            return self.rate
        return (len(times) - 1) / (times[-1] - times[0]) * 1e9


def load(opened: list[Connection], message: bytes, more: Callable[[int], bool]) -> Load:
    """Keep one request under way on each connection while `more(sent)` is true."""
    latencies: list[int] = []
    answered: list[int] = []
    with DefaultSelector() as selector:
        for connection in opened:
            selector.register(connection.socket, EVENT_READ, connection)
        started = perf_counter_ns()
        since = dict.fromkeys(opened, started)
        for connection in opened:
            connection.send(message)
        sent = len(opened)
        while len(latencies) < sent:
            for key, _ in selector.select():
                if key.data.receive():
                    now = perf_counter_ns()
                    latencies.append(now - since[key.data])
                    answered.append(now - started)
                    if more(sent):
                        since[key.data] = now
                        key.data.send(message)
                        sent += 1
        return Load(perf_counter_ns() - started, latencies, answered)


def rate(opened: list[Connection], message: bytes, count: int) -> float:
    """Requests a second, of `count` in all, with one under way on each connection."""
    return load(opened, message, lambda sent: sent < count).rate
