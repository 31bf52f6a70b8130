"""An app whose product waits or fails, and connections to it by uvicorn's protocols."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final, TypeVar

import httpx
from fastapi import FastAPI
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.app import create_app
from service.core.call import Tensor
from service.core.dtypes import NUMBERS
from service.operations.matmul import definition as matmul
from service.operations.matmul.strategies import by_batch, native
from service.planning.cost_model import CostModel
from service.registry import Op, Registry
from service.server.connection import ConnectionMonitor, limits_of
from service.server.fast_path import FastPathProtocol
from service.server.fast_request import ResponseBatch
from service.settings import Settings
from tests.rigs.apps import running
from tests.rigs.connections import PADDING, MemoryTransport, responses

DATE: Final = b"Tue, 24 Nov 2026 08:00:00 GMT"
MAX_BODY: Final = 2**21
P = TypeVar("P", bound=HttpToolsProtocol)


@dataclass
class Gate:
    """The gate of a strategy that waits until it is opened."""

    entered: Event = field(default_factory=Event)
    open: Event = field(default_factory=Event)

    def shut(self) -> None:
        """Hold the next call."""
        self.entered.clear()
        self.open.clear()

    async def wait(self) -> None:
        """Wait until a call is held."""
        assert await asyncio.to_thread(self.entered.wait, 10)


def gated(gate: Gate) -> Registry:
    """Return a registry with a product that waits, one that fails, and PyTorch's own."""
    plain = matmul.op
    op: Op[Any] = Op(
        name="matmul",
        summary=plain.summary,
        operands=plain.operands,
        params=(),
        infer=plain.infer,
        check_overflow=plain.check_overflow,
        auto=("torch",),
        samples=(),
        error_samples=(),
        calibration_samples=plain.calibration_samples[:1],
    )

    def register(name: str, compute: Callable[..., Tensor]) -> None:
        op.strategy(name, adapt=native, work=by_batch, dtypes=NUMBERS)(compute)

    def wait(a: Tensor, b: Tensor) -> Tensor:
        """Waits for products of 3 x 3 alone, so that measuring it does not."""
        if a.shape == (3, 3):
            gate.entered.set()
            gate.open.wait(10)
        return a @ b

    def fail(a: Tensor, b: Tensor) -> Tensor:
        """Fails for products of 3 x 3."""
        if a.shape == (3, 3):
            raise ZeroDivisionError("a fault")
        return a @ b

    def plain_product(a: Tensor, b: Tensor) -> Tensor:
        """PyTorch's own."""
        return a @ b

    register("wait", wait)
    register("fail", fail)
    register("torch", plain_product)
    return Registry(op)


def gated_app(gate: Gate, **settings: Any) -> FastAPI:
    """Return an app whose product waits or fails."""
    return create_app(Settings(**settings), registry=gated(gate), cost_model=CostModel())


def square(strategy: str, **fields: Any) -> bytes:
    """Return the body of a product of two 3 x 3."""
    ones = [[1.0] * 3] * 3
    return json.dumps({"a": ones, "b": ones, "strategy": strategy} | fields).encode()


# A call that is held at the gate. A thread decodes it, so that the event loop goes on.
WAITING: Final = square("wait") + PADDING


class Lab:
    """A running app, and connections to it."""

    def __init__(self, app: FastAPI, gate: Gate | None = None):
        """Prepare the state that a server gives to its connections."""
        self.app = app
        self.gate = gate or Gate()
        self.service = app.state.service
        self.config = Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
        self.config.load()
        self.server = ServerState()
        self.server.default_headers = [(b"date", DATE)]
        self.state: dict[str, Any] = {
            "application": app.state.application,
            "batch": ResponseBatch(),
            "monitor": ConnectionMonitor(limits_of(self.service.settings)),
        }

    def connect(self) -> tuple[FastPathProtocol, MemoryTransport]:
        """Return a new connection."""
        return self.connect_by(FastPathProtocol)

    def connect_by(self, kind: type[P]) -> tuple[P, MemoryTransport]:
        """Return a new connection by another protocol."""
        protocol = kind(self.config, self.server, self.state)
        transport = MemoryTransport(protocol)
        protocol.connection_made(transport)
        return protocol, transport

    async def settle(self) -> None:
        """Wait until no request is being answered."""
        async with asyncio.timeout(10):
            while self.server.tasks:
                await asyncio.wait([*self.server.tasks])

    async def exchange(
        self, *pieces: bytes, kind: type[HttpToolsProtocol] = FastPathProtocol
    ) -> tuple[MemoryTransport, list[httpx.Response]]:
        """Return a new connection after these pieces, and the responses to them."""
        _, transport = self.connect_by(kind)
        for piece in pieces:
            transport.feed(piece)
            await asyncio.sleep(0)
        await self.settle()
        return transport, responses(transport.written)


@asynccontextmanager
async def laboratory(**settings: Any) -> AsyncIterator[Lab]:
    """Run an app whose product may wait or fail."""
    gate = Gate()
    async with running(gated_app(gate, **({"max_body_bytes": MAX_BODY} | settings))) as app:
        try:
            yield Lab(app, gate)
        finally:
            gate.open.set()
