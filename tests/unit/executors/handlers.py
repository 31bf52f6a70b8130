"""Handlers that worker processes of the tests run: each request names what is to happen."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Final

import numpy as np

from service.executors import Bytes, Channel, FatalError, Handler, WorkerResponse


class Echo:
    """Gives back what it got."""

    def __init__(self, suffix: str):
        """And a suffix."""
        self.suffix = suffix.encode()
        self.rests = 0

    def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
        """The same."""
        return WorkerResponse(head, (body, self.suffix))

    def rest(self) -> None:
        """Count the rests."""
        self.rests += 1


class Obedient:
    """Does what the head says."""

    def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
        """Do what the first word of the head says to the rest, and give back the body."""
        word, _, argument = head.decode().partition(" ")
        if word == "shorten":
            line.shorten(int(argument))
            sleep(60)
        if word == "tell":
            return tell(argument, body, line)
        return WorkerResponse(ACTS[word](argument).encode(), (body,))

    def rest(self) -> None:
        """Do nothing."""


class Unwell:
    """Says why it can do nothing."""

    def answer(self, head: bytes, body: Bytes, line: Channel) -> WorkerResponse:
        """Fail."""
        raise FatalError("it has no driver")

    def rest(self) -> None:
        """Do nothing."""


def echo(suffix: str) -> Handler:
    """A handler that gives back what it got."""
    return Echo(suffix)


def obey() -> Handler:
    """A handler that does what the head says."""
    return Obedient()


def unwell() -> Handler:
    """A handler that fails whatever it is asked."""
    return Unwell()


def broken() -> Handler:
    """No handler: making it ends the process."""
    raise SystemExit(3)


def pid(argument: str) -> str:
    """The id of the worker."""
    return str(os.getpid())


def niceness(argument: str) -> str:
    """How much the worker yields."""
    return str(os.getpriority(os.PRIO_PROCESS, 0))


def oom_score(argument: str) -> str:
    """How readily the kernel ends it."""
    return Path("/proc/self/oom_score_adj").read_text(encoding="ascii").strip()


def spin(argument: str) -> str:
    """For ever, after the id of the worker is in a file."""
    Path(argument).write_text(str(os.getpid()), encoding="ascii")
    while True:
        pass


def rest(argument: str) -> str:
    """For so many seconds."""
    sleep(float(argument))
    return pid(argument)


def die(argument: str) -> str:
    """By the signal of that number."""
    os.kill(os.getpid(), int(argument))
    return pid(argument)


def die_once(argument: str) -> str:
    """The first time, which the file tells."""
    try:
        Path(argument).touch(exist_ok=False)
    except FileExistsError:
        return pid(argument)
    return die(str(int(signal.SIGKILL)))


def fail(argument: str) -> str:
    """With that message."""
    raise ValueError(argument)


def fill(argument: str) -> str:
    """So many bytes."""
    np.ones(int(argument), np.uint8)
    return pid(argument)


def end(argument: str) -> str:
    """After that message."""
    raise FatalError(argument)


def tell(argument: str, body: Bytes, line: Channel) -> WorkerResponse:
    """So many times the body, and then as the rest of the argument says."""
    count, _, last = argument.partition(" ")
    for index in range(int(count)):
        line.tell(b"%d:" % index + body)
    word, _, argument = last.partition(" ")
    return WorkerResponse(ACTS[word](argument).encode(), (body,))


ACTS: Final[dict[str, Callable[[str], str]]] = {
    "": pid,  # HELLO
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
}
