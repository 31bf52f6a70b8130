"""A server for event streams over real connections, and a reader of them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from tests.rigs.waiting import until

STREAM: Final = {"Accept": "text/event-stream"}


@dataclass
class Sse:
    """An event of a stream, as the HTML standard reads it."""

    event: str = "message"
    data: Any = None
    comments: list[str] = field(default_factory=list)


def read_stream(text: str) -> Iterator[Sse]:
    """Yield the events of a stream with their comments."""
    assert text.endswith("\n\n")
    for block in text.removesuffix("\n\n").split("\n\n"):
        found, data = Sse(), []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                found.event = value
            elif name == "data":
                data.append(value)
            else:
                assert not name, line
                found.comments.append(value)
        found.data = json.loads("\n".join(data)) if data else None
        yield found


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Serve `app`, which runs already, on a socket of loopback, and yield its base URL."""
    config = uvicorn.Config(app, lifespan="off", log_level="warning", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
