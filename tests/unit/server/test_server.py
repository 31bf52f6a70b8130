"""A server process: its signals, its heartbeat and its shutdown."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvloop
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn import Config

from service.http.auth import Authenticator
from service.observability.counters import Counters
from service.observability.inference_stats import InferenceStatistics
from service.observability.record import Recorder
from service.pipeline.application import Application
from service.pipeline.service import DRAINING
from service.server import server as server_module
from service.server.fast_path import FastPathProtocol
from service.server.server import Server
from service.settings import Settings
from tests.rigs.connections import post, product, responses
from tests.rigs.laboratory import WAITING, Gate, gated_app
from tests.rigs.waiting import until


def test_the_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first signal begins the shutdown, and the second one does not wait for its end."""
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    server = Server(Config("none"), Settings())
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    assert not ends
    server.handle_exit(signal.SIGTERM, None)
    assert ends == [128 + signal.SIGTERM]


async def empty_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and end, with the application that a server expects in its state."""
    assert scope["type"] == "lifespan"
    recorder = Recorder(Counters(), InferenceStatistics({}))
    application = Application({}, Authenticator(Settings()), recorder, drain=lambda: None)
    scope["state"]["application"] = application
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def test_the_event_loop_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat goes on during the shutdown."""
    monkeypatch.setattr(server_module, "BEAT_S", 0.001)
    beats = asyncio.Semaphore(0)
    server = Server(Config(empty_app, log_config=None), Settings(), beats.release)
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


async def next_response(reader: asyncio.StreamReader) -> httpx.Response:
    """Return the next response on a connection."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = int(responses(head)[0].headers["content-length"])
    (answer,) = responses(head + await reader.readexactly(length))
    return answer


@asynccontextmanager
async def serving(gate: Gate) -> AsyncIterator[tuple[Server, FastAPI]]:
    """Run a server on a free port, ready to compute."""
    app = gated_app(gate)
    config = Config(
        app,
        "127.0.0.1",
        0,
        http=FastPathProtocol,
        log_config=None,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=20,
    )
    server = Server(config, Settings())
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        await app.state.service.warmed_up()
        yield server, app
    finally:
        gate.open.set()
        server.should_exit = True
        await asyncio.wait_for(task, 20)


async def use(gate: Gate) -> None:
    """Send calls that wait and large bodies, leave, and shut the server down."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: failures.append(found))
    async with serving(gate) as (server, app):
        address = server.servers[0].sockets[0].getsockname()
        threads, connections = app.state.service.threads, server.server_state.connections
        reader, writer = await asyncio.open_connection(*address)

        writer.write(post(WAITING) + post() * 4)
        await gate.wait()
        gate.open.set()
        found = [await next_response(reader) for _ in range(5)]
        assert [product(each)[0][0] for each in found] == [3.0, 19.0, 19.0, 19.0, 19.0]

        size = 400
        ones = [[1.0] * size] * size
        writer.write(post(json.dumps({"a": ones, "b": ones}).encode()))
        assert product(await next_response(reader)) == [[float(size)] * size] * size

        # After a pipelined request nothing is read: the server notices later that the client left.
        for behind in (b"", post()):
            gate.shut()
            _, leaving = await asyncio.open_connection(*address)
            leaving.write(post(WAITING) + behind)
            await gate.wait()
            leaving.transport.abort()
            if not behind:
                await until(lambda: len(connections) == 1)
            gate.open.set()
            await until(lambda: len(connections) == 1 and not threads.active_calls)

        gate.shut()
        writer.write(post(WAITING))
        await gate.wait()
        server.should_exit = True
        await until(lambda: app.state.service.state == DRAINING)
        gate.open.set()
        last = await next_response(reader)
        assert product(last) == [[3.0] * 3] * 3
        assert last.headers["connection"] == "close"
        assert await reader.read() == b""
        writer.close()
    assert not failures


def test_a_server_serves_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """It runs on uvloop, over real connections, and logs no error."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(use(Gate()), 60))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
