"""Handlers for worker processes in tests: the head of each request names what to do."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Final

import numpy as np

from service.executors import (
    UNMAP,
    Bytes,
    Channel,
    ExhaustedError,
    FatalError,
    Handler,
    MappedBuffer,
    SharedBuffer,
    WorkerResponse,
)


class Reader:
    """Base of handlers that read bodies as worker processes do."""

    def read_body(self, buffer: SharedBuffer, size: int, at: int) -> Bytes:
        """Return a copy."""
        return buffer.read(size, at)


class Echo(Reader):
    """Handler that returns the head and the body of each request, and a suffix."""

    def __init__(self, suffix: str):
        """Count the calls of `trim_memory` in `trims`."""
        self.suffix = suffix.encode()
        self.trims = 0

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Return the request and the suffix."""
        return WorkerResponse(head, (body, self.suffix))

    def trim_memory(self) -> None:
        """Count the call."""
        self.trims += 1


class Obedient(Reader):
    """Handler that does what the head says."""

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Apply the first word of the head to the rest of it, and return the body."""
        word, _, argument = head.decode().partition(" ")
        if word == "deadline":
            channel.set_deadline(int(argument))
            sleep(60)
        if word == "ask":
            return WorkerResponse(bytes(channel.ask(argument.encode())), (body,))
        if word == "emit":
            return emit(argument, body, channel)
        return WorkerResponse(ACTS[word](argument).encode(), (body,))

    def trim_memory(self) -> None:
        """Do nothing."""


class Mapping(Obedient):
    """Handler that reads bodies in the buffer itself, until they are unmapped."""

    def __init__(self) -> None:
        """Map nothing yet."""
        self.mapped: dict[SharedBuffer, MappedBuffer] = {}

    def read_body(self, buffer: SharedBuffer, size: int, at: int) -> Bytes:
        """Return a view of the buffer."""
        mapped = self.mapped.setdefault(buffer, MappedBuffer(buffer, lambda _: bytes))
        return mapped.view(size, at)

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Unmap the buffers, or do what the head says."""
        if head != UNMAP:
            return super().answer(head, body, channel)
        sizes = [mapped.size for mapped in self.mapped.values()]
        for mapped in self.mapped.values():
            mapped.release()
        return WorkerResponse(repr(sizes).encode())


class Unwell(Reader):
    """Handler that fails fatally."""

    def answer(self, head: bytes, body: Bytes, channel: Channel) -> WorkerResponse:
        """Raise a FatalError."""
        raise FatalError("it has no driver")

    def trim_memory(self) -> None:
        """Do nothing."""


def echo(suffix: str) -> Handler:
    """Return a handler that sends requests back."""
    return Echo(suffix)


def obey() -> Handler:
    """Return a handler that does what the head says."""
    return Obedient()


def map_buffers() -> Handler:
    """Return a handler that reads bodies in the buffer."""
    return Mapping()


def unwell() -> Handler:
    """Return a handler that fails on every request."""
    return Unwell()


def broken() -> Handler:
    """End the process instead of making a handler."""
    raise SystemExit(3)


def pid(argument: str) -> str:
    """Return the process id of the worker."""
    return str(os.getpid())


def niceness(argument: str) -> str:
    """Return the niceness of the worker."""
    return str(os.getpriority(os.PRIO_PROCESS, 0))


def oom_score(argument: str) -> str:
    """Return the worker's adjustment of its OOM score."""
    return Path("/proc/self/oom_score_adj").read_text(encoding="ascii").strip()


def spin(argument: str) -> str:
    """Write the process id of the worker to a file, and loop for ever."""
    Path(argument).write_text(str(os.getpid()), encoding="ascii")
    while True:
        pass


def rest(argument: str) -> str:
    """Sleep for a number of seconds."""
    sleep(float(argument))
    return pid(argument)


def die(argument: str) -> str:
    """Send the signal of a number to the worker itself."""
    os.kill(os.getpid(), int(argument))
    return pid(argument)


def die_once(argument: str) -> str:
    """Kill the worker, unless a file from an earlier call exists."""
    try:
        Path(argument).touch(exist_ok=False)
    except FileExistsError:
        return pid(argument)
    return die(str(int(signal.SIGKILL)))


def fail(argument: str) -> str:
    """Raise a ValueError with a message."""
    raise ValueError(argument)


def fill(argument: str) -> str:
    """Allocate a number of bytes."""
    np.ones(int(argument), np.uint8)
    return pid(argument)


def exhaust(argument: str) -> str:
    """Raise an ExhaustedError with a message."""
    raise ExhaustedError(argument)


def end(argument: str) -> str:
    """Raise a FatalError with a message."""
    raise FatalError(argument)


def emit(argument: str, body: Bytes, channel: Channel) -> WorkerResponse:
    """Emit the body a number of times, and then do what the rest of the argument says."""
    count, _, last = argument.partition(" ")
    for index in range(int(count)):
        channel.emit(b"%d:" % index + body)
    word, _, argument = last.partition(" ")
    return WorkerResponse(ACTS[word](argument).encode(), (body,))


ACTS: Final[dict[str, Callable[[str], str]]] = {
    "": pid,  # HANDSHAKE
    "echo": pid,
    "probe": pid,
    "end": end,
    "pid": pid,
    "nice": niceness,
    "oom": oom_score,
    "spin": spin,
    "sleep": rest,
    "die": die,
    "once": die_once,
    "fail": fail,
    "fill": fill,
    "exhaust": exhaust,
}
