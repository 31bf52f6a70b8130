"""The end and the heartbeat of a server process. tests/chaos has both in a real server."""

import asyncio
import os
import signal
import socket

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config

from service.server import shutdown
from service.server.shutdown import Server


def test_the_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first begins the shutdown; the second does not wait for its end."""
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    server = Server(Config("none"))
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    assert not ends
    server.handle_exit(signal.SIGTERM, None)
    assert ends == [128 + signal.SIGTERM]


async def empty_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and end, with what a server expects in its state."""
    assert scope["type"] == "lifespan"
    scope["state"]["drain"] = lambda: None
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def test_the_event_loop_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, and through the shutdown as well."""
    monkeypatch.setattr(shutdown, "BEAT_S", 0.001)
    beats = asyncio.Semaphore(0)
    server = Server(Config(empty_app, log_config=None), beats.release)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with asyncio.timeout(10):
            serving = asyncio.create_task(server.serve([listener]))
            for _ in range(3):
                await beats.acquire()
            assert not serving.done()
            server.should_exit = True
            await serving
            await beats.acquire()
