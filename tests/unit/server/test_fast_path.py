"""uvicorn's protocol with the shorter way: what it answers equals what the ASGI app answers."""

import asyncio
import gzip
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from threading import Event
from typing import Any, TypeVar, cast

import httpx
import numpy as np
import pytest
import uvloop
from fastapi import FastAPI
from httptools import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.app import create_app
from service.api.compute import operation_routes
from service.api.inference.routes import Infer
from service.core.call import Tensor
from service.core.dtypes import NUMBERS
from service.observability.inference_stats import Statistics
from service.operations.matmul import definition as matmul
from service.operations.matmul.strategies import by_batch, native
from service.planning.cost_model import CostModel
from service.registry import Op, Registry
from service.server.connection import ConnectionMonitor, bounds_of
from service.server.fast_path import Protocol
from service.server.fast_request import BodyReceiver, FastRequest, ResponseBatch
from service.settings import Settings
from tests.rigs.inference_bodies import as_bytes, as_json
from tests.rigs.request_bodies import JSON, NPY, RAW, SAFETENSORS, npy_of

BODY = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
NORM = b'{"x": [3, 4]}'
DATE = b"Tue, 24 Nov 2026 08:00:00 GMT"
MAX_BODY = 2**21
P = TypeVar("P", bound=HttpToolsProtocol)


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol: asyncio.BaseProtocol = protocol
        self.written = bytearray()
        self.writes = 0
        self.closed = False
        self.aborted = False
        self.paused = False

    def write(self, data: Any) -> None:
        """Keep it."""
        assert not self.closed, "nothing may be written after the end"
        self.written += data
        self.writes += 1

    def close(self) -> None:
        """End the connection soon, once."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        """End the connection, whatever was not sent."""
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def feed(self, data: bytes) -> None:
        """Bring what a client sent to the protocol that is there for it, as uvloop does."""
        rest = memoryview(data)
        while rest:
            protocol = self.protocol
            if isinstance(protocol, asyncio.BufferedProtocol):
                room = memoryview(protocol.get_buffer(-1))
                count = min(len(room), len(rest))
                room[:count] = rest[:count]
                protocol.buffer_updated(count)
            else:
                assert isinstance(protocol, asyncio.Protocol)
                count = len(rest)
                protocol.data_received(bytes(rest))
            rest = rest[count:]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol, which uvloop allows while nothing is read."""
        assert self.paused
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Remember it."""
        self.paused = True

    def resume_reading(self) -> None:
        """Remember it."""
        self.paused = False


@dataclass
class Gate:
    """A strategy that waits until it is let go."""

    entered: Event = field(default_factory=Event)
    open: Event = field(default_factory=Event)

    def shut(self) -> None:
        """Hold the next call."""
        self.entered.clear()
        self.open.clear()

    async def wait(self) -> None:
        """Until a call waits."""
        assert await asyncio.to_thread(self.entered.wait, 10)


class Lab:
    """An app, and connections to it."""

    def __init__(self, app: FastAPI, gate: Gate | None = None):
        """Know the parts of a server that a connection needs."""
        self.app = app
        self.gate = gate or Gate()
        self.config = Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
        self.config.load()
        self.server = ServerState()
        self.server.default_headers = [(b"date", DATE)]
        service = app.state.service
        routes = {route.path: route.app for route in operation_routes(service)}
        routes |= Infer(service, Statistics(service.engine.registry)).posts
        self.state = {
            "posts": {path.encode(): endpoint for path, endpoint in routes.items()},
            "turn": ResponseBatch(),
            "watch": ConnectionMonitor(bounds_of(app.state.service.settings)),
            "reception": app.state.reception,
        }

    def connect(self) -> tuple[Protocol, Wire]:
        """A new connection."""
        return self.connect_by(Protocol)

    def connect_by(self, kind: type[P]) -> tuple[P, Wire]:
        """A new connection by this protocol."""
        protocol = kind(self.config, self.server, self.state)
        wire = Wire(protocol)
        protocol.connection_made(wire)
        return protocol, wire

    async def settle(self) -> None:
        """Wait until nothing runs."""
        async with asyncio.timeout(10):
            while self.server.tasks:
                await asyncio.wait([*self.server.tasks])

    async def exchange(
        self, *pieces: bytes, kind: type[HttpToolsProtocol] = Protocol
    ) -> tuple[Wire, list[httpx.Response]]:
        """What a new connection answers to these pieces."""
        _, wire = self.connect_by(kind)
        for piece in pieces:
            wire.feed(piece)
            await asyncio.sleep(0)
        await self.settle()
        return wire, answers(bytes(wire.written))


def answers(text: bytes) -> list[httpx.Response]:
    """The answers one after the other on a connection."""
    found = []
    while text:
        head, _, rest = text.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = httpx.Headers([(k, v) for k, _, v in (line.partition(b": ") for line in lines)])
        length = int(headers.get("content-length", "0"))
        code = int(status.split()[1])
        found.append(httpx.Response(code, headers=headers, content=rest[:length]))
        text = rest[length:]
    return found


def cut(text: bytes, *sizes: int) -> Iterator[bytes]:
    """The text in pieces of these sizes, again and again."""
    start = 0
    for size in cycle(sizes):
        if start >= len(text):
            return
        yield text[start : start + size]
        start += size


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task or thread does."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not happen")


def post(
    body: bytes = BODY,
    path: str = "/matmul",
    method: str = "POST",
    version: str = "1.1",
    **headers: str,
) -> bytes:
    """The bytes of a request."""
    fields = {"host": "lab", "content-length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"{method} {path} HTTP/{version}", *(f"{k}: {v}" for k, v in fields.items() if v)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def gated(gate: Gate) -> Registry:
    """A registry whose product waits, fails, or is PyTorch's own."""
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


@asynccontextmanager
async def laboratory(**values: Any) -> AsyncIterator[Lab]:
    """A warm app whose product may wait or fail."""
    gate = Gate()
    limits = Settings(max_body_bytes=MAX_BODY, **values)
    app = create_app(limits, registry=gated(gate), rates=CostModel())
    async with app.router.lifespan_context(app):
        await app.state.service.warmed_up()
        try:
            yield Lab(app, gate)
        finally:
            gate.open.set()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A laboratory."""
    async with laboratory() as found:
        yield found


@pytest.fixture(scope="module")
def whole(app: FastAPI) -> Lab:
    """Connections to the whole service."""
    return Lab(app)


SQUARE = json.dumps({"a": [[1.0] * 3] * 3, "b": [[1.0] * 3] * 3})


def square(strategy: str, **fields: Any) -> bytes:
    """The body of a product of 3 x 3."""
    return json.dumps(json.loads(SQUARE) | {"strategy": strategy} | fields).encode()


# Long enough to be read on a slot, so that the event loop does not wait.
PADDING = b" " * 2**20
WAITING = square("wait") + PADDING


def product(response: httpx.Response) -> Any:
    """The result of an answer."""
    return response.json()["result"]["data"]


async def test_a_request_in_one_piece(lab: Lab) -> None:
    """One write, with the common headers and the server's own."""
    wire, (answer,) = await lab.exchange(post(x_request_id="mine-1"))
    assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]
    assert wire.writes == 1
    assert answer.headers["date"] == DATE.decode()
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "connection" not in answer.headers
    assert not wire.closed
    assert lab.server.total_requests == 1


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_a_request_in_pieces(lab: Lab, size: int) -> None:
    """It does not matter where the network cuts a request."""
    _, (answer,) = await lab.exchange(*cut(post(), size))
    assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]


@pytest.mark.parametrize("given", ["a b", "a" * 65, "ä", ""])
@pytest.mark.parametrize("body", [BODY, b"{"], ids=["result", "problem"])
async def test_an_id_that_is_none_is_replaced(lab: Lab, body: bytes, given: str) -> None:
    """By one that no other request has."""
    text = post(body, x_request_id=given or " ")
    _, (one, other) = await lab.exchange(text + text)
    ids = [each.headers["x-request-id"] for each in (one, other)]
    assert given not in ids
    assert len({*ids}) == 2


async def test_pipelined_requests_are_answered_in_order(lab: Lab) -> None:
    """Several in one piece, with other routes among them."""
    bodies = [b'{"a": [[%d]], "b": [[1]]}' % n for n in range(5)]
    live = post(b"", "/health/live", "GET", content_length="")
    _, found = await lab.exchange(b"".join([*map(post, bodies[:2]), live, *map(post, bodies[2:])]))
    assert [a.status_code for a in found] == [200] * 6
    assert [product(a)[0][0] for a in (*found[:2], *found[3:])] == [0.0, 1.0, 2.0, 3.0, 4.0]


async def test_requests_behind_one_that_waits(lab: Lab) -> None:
    """They are answered after it, none is lost, and the next connection does not wait."""
    protocol, wire = lab.connect()
    protocol.data_received(post(WAITING) + post() + post())
    await lab.gate.wait()
    protocol.data_received(post())
    assert not wire.written
    other, at_once = lab.connect()
    other.data_received(post())
    await asyncio.sleep(0)
    assert at_once.written.startswith(b"HTTP/1.1 200")
    lab.gate.open.set()
    await lab.settle()
    found = answers(bytes(wire.written))
    assert product(found[0]) == [[3.0] * 3] * 3
    assert [product(each)[0][0] for each in found[1:]] == [19.0] * 3
    protocol.data_received(post())
    assert len(answers(bytes(wire.written))) == 5


async def test_requests_whose_answers_are_not_read_wait(lab: Lab) -> None:
    """No more is computed than a client reads."""
    protocol, wire = lab.connect()
    protocol.data_received(post())
    protocol.pause_writing()
    protocol.data_received(post())
    await asyncio.sleep(0.01)
    protocol.data_received(post() * 3)
    assert len(answers(bytes(wire.written))) == 1
    assert wire.paused
    protocol.resume_writing()
    await lab.settle()
    assert len(answers(bytes(wire.written))) == 5
    assert not wire.paused


@pytest.mark.parametrize("behind", [b"", post()], ids=["alone", "pipelined"])
async def test_the_client_leaves_while_its_call_runs(
    lab: Lab, behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is written, nothing fails, and the slot is free again."""
    protocol, wire = lab.connect()
    protocol.data_received(post(WAITING) + behind)
    await lab.gate.wait()
    wire.close()
    await asyncio.sleep(0)
    lab.gate.open.set()
    await lab.settle()
    assert not wire.written
    assert protocol not in lab.server.connections
    assert not caplog.records
    _, (answer,) = await lab.exchange(post(WAITING))
    assert answer.status_code == 200


async def test_the_client_leaves_while_a_process_works(whole: Lab) -> None:
    """The process is killed: its core and its place are free at once."""
    workers = whole.app.state.service.workers
    side = [[1.0] * 60] * 60
    protocol, wire = whole.connect()
    protocol.data_received(post(json.dumps({"a": side, "b": side, "strategy": "loops"}).encode()))
    await until(lambda: workers.active_calls == 1)
    wire.close()
    await until(lambda: not workers.active_calls)
    assert not wire.written
    await whole.settle()


async def test_the_client_leaves_with_a_second_request_behind(whole: Lab) -> None:
    """It is the first that is under way, and whose process is killed."""
    workers = whole.app.state.service.workers
    side = [[1.0] * 60] * 60
    body = json.dumps({"a": side, "b": side, "strategy": "loops"}).encode()
    for behind in (post(), post(b"", "/health/live", "GET", content_length=""), post()[:-1]):
        protocol, wire = whole.connect()
        protocol.data_received(post(body) + behind)
        await until(lambda: workers.active_calls == 1)
        wire.close()
        await until(lambda: not workers.active_calls)
        await whole.settle()


async def test_a_body_that_no_memory_is_left_for(caplog: pytest.LogCaptureFixture) -> None:
    """It is refused as such, and holds no share of the bytes in flight."""
    huge = 2**61
    app = create_app(
        Settings(max_body_bytes=2**62, max_inflight_bytes=2**62), registry=gated(Gate())
    )
    async with app.router.lifespan_context(app):
        await app.state.service.warmed_up()
        _, (refused,) = await Lab(app).exchange(post(content_length=str(huge)))
        assert (refused.status_code, refused.json()["code"]) == (503, "out-of-memory")
        assert app.state.service.bodies.held == 0
    assert not [each for each in caplog.records if each.exc_info]


async def test_a_fault_while_a_request_is_received(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """It is ours: it is logged, and the client is told no more than an id."""

    class Faulty:
        def terms(self, headers: Mapping[bytes, bytes]) -> None:
            raise ZeroDivisionError("a secret")

    lab.state["posts"] = {b"/matmul": Faulty()}
    wire, (answer,) = await lab.exchange(post())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert wire.closed
    (record,) = (each for each in caplog.records if each.exc_info)
    assert answer.headers["x-request-id"] in record.message
    assert "a secret" in caplog.text
    assert b"a secret" not in wire.written


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_body_that_workers_read_is_dropped_at_once(whole: Lab, leaves: bool) -> None:
    """When it is answered; and when its client has left, and the process has been killed."""
    service = whole.app.state.service
    strategy = "loops" if leaves else "torch"
    fields = json.dumps({"a": [[1.0] * 60] * 60, "b": [[1.0] * 60] * 60, "strategy": strategy})
    protocol, wire = whole.connect()
    protocol.data_received(post(fields.encode() + PADDING))
    size = service.settings.max_inflight_bytes
    assert service.pool.take(size) is None
    await until(lambda: service.workers.active_calls == 1)
    if leaves:
        wire.close()
    await until(lambda: not service.workers.active_calls)
    await whole.settle()
    block = service.pool.take(size)
    assert block is not None
    block.release()


async def test_without_addresses_bodies_are_copied_to_workers() -> None:
    """A budget of more bytes than there are addresses has no pool, and serves all the same."""
    app = create_app(Settings(max_inflight_bytes=2**60))
    async with app.router.lifespan_context(app):
        await app.state.service.warmed_up()
        assert app.state.service.pool is None
        _, (answer,) = await Lab(app).exchange(post(BODY + PADDING))
    assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]
    assert answer.json()["timing"]["lane"] == "process"


async def test_bodies_behind_a_known_head_are_counted() -> None:
    """As the first one was."""
    async with laboratory() as lab:
        bodies = lab.app.state.service.bodies
        protocol, _ = lab.connect()
        for _ in range(2):
            lab.gate.shut()
            protocol.data_received(post(WAITING))
            await lab.gate.wait()
            assert bodies.held == len(WAITING)
            lab.gate.open.set()
            await lab.settle()
            assert bodies.held == 0


async def test_bodies_in_flight_are_counted_here_too() -> None:
    """From their announcement to their answer, or until the client leaves."""
    async with laboratory(max_inflight_bytes=2_500_000) as lab:
        bodies = lab.app.state.service.bodies
        size = len(WAITING)
        protocol, _ = lab.connect()
        protocol.data_received(post(WAITING)[:-1])
        assert bodies.held == size
        _, wire = lab.connect()
        wire.feed(post(WAITING)[:-1])
        assert bodies.held == 2 * size
        _, (refused,) = await lab.exchange(post(WAITING))
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        wire.close()
        await until(lambda: bodies.held == size)
        lab.gate.open.set()
        protocol.data_received(post(WAITING)[-1:])
        await lab.settle()
        assert bodies.held == 0


async def test_the_client_leaves_before_its_body_is_whole(lab: Lab) -> None:
    """What has come is dropped at once, not when Python collects cycles."""
    protocol, wire = lab.connect()
    protocol.data_received(post(BODY + PADDING)[:-1])
    assert protocol.post is not None
    body = protocol.post._body
    protocol.connection_lost(ConnectionResetError())
    assert sys.getrefcount(body) == 2
    assert not wire.written


@pytest.mark.parametrize("size", [10_000, 700_000, 2**21])
async def test_a_large_body_passes_the_parser(lab: Lab, size: int) -> None:
    """Wherever it is cut; it is answered as ever, and so are the requests around it."""
    large, tiny = post(BODY + PADDING), post()
    _, found = await lab.exchange(*cut(tiny + large + tiny + large, size))
    assert [product(answer) for answer in found] == [[[19.0, 22.0], [43.0, 50.0]]] * 4


async def test_the_client_leaves_within_a_large_body(lab: Lab) -> None:
    """What has come is dropped at once here, too, and the share of the bytes in flight is free."""
    protocol, wire = lab.connect()
    wire.feed(post(BODY + PADDING)[:300_000])
    assert isinstance(wire.protocol, BodyReceiver)
    bodies = lab.app.state.service.bodies
    assert bodies.held
    paused = []
    for tell in (wire.protocol.pause_writing, wire.protocol.resume_writing):
        tell()
        paused.append(protocol.flow.write_paused)
    assert paused == [True, False]
    assert not wire.protocol.eof_received()
    wire.protocol.connection_lost(ConnectionResetError())
    assert not bodies.held
    assert protocol not in lab.server.connections
    assert not wire.written


async def test_a_large_body_that_stays_away_is_late(lab: Lab) -> None:
    """408, though another protocol waits for it."""
    protocol, wire = lab.connect()
    wire.feed(post(BODY + PADDING)[:300_000])
    protocol.check(asyncio.get_running_loop().time() + 1e6)
    (answer,) = answers(bytes(wire.written))
    assert answer.status_code == 408
    assert wire.closed


async def test_shutdown_waits_for_a_call(lab: Lab) -> None:
    """The call is answered, the client told that the connection closes, and it is closed."""
    protocol, wire = lab.connect()
    protocol.data_received(post(WAITING))
    await lab.gate.wait()
    protocol.shutdown()
    assert not wire.closed
    lab.gate.open.set()
    await lab.settle()
    (answer,) = answers(bytes(wire.written))
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert wire.closed


async def test_shutdown_waits_for_a_body(lab: Lab) -> None:
    """A request that has begun is answered, by the connection's last answer."""
    protocol, wire = lab.connect()
    protocol.data_received(post()[:-1])
    protocol.shutdown()
    assert not wire.closed
    protocol.data_received(post()[-1:])
    (answer,) = answers(bytes(wire.written))
    assert answer.headers["connection"] == "close"
    assert wire.closed


@pytest.mark.parametrize("before", [b"", post()], ids=["fresh", "served"])
async def test_shutdown_closes_idle_connections(lab: Lab, before: bytes) -> None:
    """At once."""
    protocol, wire = lab.connect()
    protocol.data_received(before)
    protocol.shutdown()
    assert wire.closed


class Refuser:
    """Stands for a parser that must not be asked."""

    def feed_data(self, data: bytes) -> None:
        """Fail."""
        pytest.fail(f"{data[:20]!r} was parsed")


OTHER_BODY = b'{"a": [[1, 2], [3, 4]], "b": [[50, 60], [7, 8]], "output": "flat"}'


async def test_a_head_like_the_one_before_is_not_parsed(lab: Lab) -> None:
    """Whatever the length of the body; the answers are those that a parser leads to."""
    protocol, wire = lab.connect()
    protocol.data_received(post())
    protocol.parser = cast("HttpRequestParser", Refuser())
    for body in (BODY, OTHER_BODY):
        await asyncio.sleep(0)
        protocol.data_received(post(body))
    await asyncio.sleep(0)
    first, second, third = answers(bytes(wire.written))
    _, (expected,) = await lab.exchange(post(OTHER_BODY))
    assert product(first) == product(second)
    assert product(third) == product(expected)
    assert len({each.headers["x-request-id"] for each in (first, second, third)}) == 3


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(post(path="/norm"), id="another path"),
        pytest.param(post(accept="application/json"), id="one more header"),
        pytest.param(post()[:-1], id="not whole"),
        pytest.param(post() + b"P", id="more than one"),
        pytest.param(post(content_length=f"+{len(BODY)}"), id="no digits"),
        pytest.param(post(content_length=f"{len(BODY):011}"), id="many digits"),
        pytest.param(post(b" " * (MAX_BODY + 1)), id="too large"),
        pytest.param(post()[:30], id="a part of the head"),
    ],
)
async def test_any_other_head_is_parsed(lab: Lab, data: bytes) -> None:
    """It goes to the parser as it came."""
    protocol, _ = lab.connect()
    protocol.data_received(post())
    given: list[bytes] = []

    class Listener:
        def feed_data(self, data: bytes) -> None:
            given.append(data)

    protocol.parser = cast("HttpRequestParser", Listener())
    await asyncio.sleep(0)
    protocol.data_received(data)
    assert given == [data]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([post(x_request_id="mine")], id="an id of its own"),
        pytest.param([post() + post()], id="two in one piece"),
        pytest.param([post()[:9], post()[9:]], id="in two pieces"),
        pytest.param([post(padding="x" * 3000)], id="a long head"),
        pytest.param([post(content_length=f"{len(BODY)} ")], id="a space behind the length"),
        pytest.param([post(b"", "/health/live", "GET", content_length="")], id="another route"),
    ],
)
async def test_a_head_that_is_not_kept(lab: Lab, before: list[bytes]) -> None:
    """What is not one plain request in one piece, or says more than a head should, is forgotten."""
    protocol, wire = lab.connect()
    for piece in before:
        protocol.data_received(piece)
        await asyncio.sleep(0)
    await lab.settle()
    assert protocol._head is None
    protocol.data_received(post())
    await asyncio.sleep(0)
    assert product(answers(bytes(wire.written))[-1]) == [[19, 22], [43, 50]]


async def test_a_head_like_the_one_before_while_no_call_is_taken(lab: Lab) -> None:
    """It is parsed, and refused as any other."""
    protocol, wire = lab.connect()
    protocol.data_received(post())
    lab.app.state.service.phase = "draining"
    protocol.data_received(post())
    await lab.settle()
    lab.app.state.service.phase = "ready"
    assert [each.status_code for each in answers(bytes(wire.written))] == [200, 503]


async def test_the_calls_of_a_turn_are_answered_together(lab: Lab) -> None:
    """All are computed before the first answer is sent, but for one that is alone."""
    opened = [lab.connect() for _ in range(40)]
    alone = opened[0]

    def writes(*received: tuple[Protocol, Wire]) -> list[int]:
        before = [wire.writes for _, wire in opened]
        for protocol, _ in received:
            protocol.data_received(post())
        return [wire.writes - count for (_, wire), count in zip(opened, before, strict=True)]

    assert writes(*opened) == [1] + [0] * 39, "after no turn, the first waits for no other"
    await asyncio.sleep(0)
    assert {wire.writes for _, wire in opened} == {1}
    assert writes(*opened) == [0] * 40, "after a turn of many, all of them wait"
    await asyncio.sleep(0)
    assert {wire.writes for _, wire in opened} == {2}
    assert writes(alone) == [0] * 40
    await asyncio.sleep(0)
    assert writes(alone) == [1] + [0] * 39, "after a turn of one, the first waits for no other"
    await asyncio.sleep(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"], ids=["inline", "on a slot"])
async def test_a_fault_is_told_by_its_request_id(
    lab: Lab, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets the id, the log the reason; the connection goes on."""
    failing = post(square("fail", dtype=dtype), x_request_id="f-1")
    wire, (answer, after) = await lab.exchange(failing, post())
    assert (answer.status_code, after.status_code) == (500, 200)
    assert answer.json()["detail"] == "request f-1 failed"
    assert answer.headers["x-request-id"] == "f-1"
    assert "ZeroDivisionError" in caplog.text
    assert b"fault" not in wire.written


@pytest.mark.parametrize("padding", [b"", PADDING], ids=["inline", "on a slot"])
@pytest.mark.parametrize(
    ("body", "code"),
    [(b'{"a": [1], "b": [null]}', "invalid-element"), (BODY[:-1], "malformed-json")],
)
async def test_a_refusal_is_a_problem(lab: Lab, padding: bytes, body: bytes, code: str) -> None:
    """Wherever the body was decoded, and the connection goes on."""
    _, (answer, after) = await lab.exchange(post(body + padding), post())
    assert answer.json()["code"] == code
    assert answer.headers["content-type"] == "application/problem+json"
    assert after.status_code == 200


async def test_a_call_without_a_place_is_turned_away() -> None:
    """With one slot and no queue, while another call runs."""
    async with laboratory(slots=1, queue=0) as lab:
        protocol, _ = lab.connect()
        protocol.data_received(post(WAITING))
        await lab.gate.wait()
        other, wire = lab.connect()
        other.data_received(post(BODY + PADDING))
        await until(lambda: wire.written)
        (answer,) = answers(bytes(wire.written))
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1


async def test_memory_is_returned_when_nothing_runs(lab: Lab) -> None:
    """Not while a call does: it would only be taken again."""
    service = lab.app.state.service
    protocol, _ = lab.connect()
    protocol.data_received(post(WAITING))
    await lab.gate.wait()
    service.tidy()
    assert service._tidying
    lab.gate.open.set()
    await lab.settle()
    await until(lambda: not service._tidying)


async def test_a_call_that_is_late_is_told(lab: Lab) -> None:
    """504, though its slot is still taken."""
    body = square("wait", dtype="float64", deadline_ms=100)
    _, (answer,) = await lab.exchange(post(body))
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")


async def test_a_large_answer_goes_out_in_pieces(lab: Lab) -> None:
    """Its text is not copied into one."""
    ones = [[1.0] * 150] * 150
    body = json.dumps({"a": ones, "b": ones}).encode()
    wire, (answer,) = await lab.exchange(post(body))
    assert wire.writes > 1
    assert product(answer) == [[150.0] * 150] * 150


@pytest.mark.parametrize(
    "text",
    [
        b"NOTHTTP\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        post(version="2.5"),
        post(content_length="many"),
        post(content_length="-1"),
        post(content_length="9" * 5000),
        post(Content_Length="5"),
        post(transfer_encoding="chunked"),
        post(b"many\r\n", content_length="", transfer_encoding="chunked"),
        b"CONNECT lab:80 HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "words", "TLS", "version", "length in words", "negative length", "long length",
        "two lengths", "length and chunks", "length of a chunk", "a proxy's method",
    ],
)  # fmt: skip
async def test_what_is_no_http_is_a_problem(lab: Lab, text: bytes) -> None:
    """The connection is closed after it, and what was answered before stays."""
    for before in (b"", post()):
        wire, found = await lab.exchange(before + text)
        assert wire.closed
        assert len(found) == bool(before) + 1
        assert (found[-1].status_code, found[-1].json()["code"]) == (400, "malformed-request")
        assert found[-1].headers["connection"] == "close"
        assert found[-1].headers["x-request-id"]


async def test_nothing_is_written_behind_the_last_answer(lab: Lab) -> None:
    """Rubbish behind a call that waits ends the connection without its answer."""
    protocol, wire = lab.connect()
    protocol.data_received(post(WAITING))
    await lab.gate.wait()
    protocol.data_received(b"\0")
    assert wire.closed
    lab.gate.open.set()
    await lab.settle()
    (answer,) = answers(bytes(wire.written))
    assert answer.status_code == 400


CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def offering(text: bytes, connection: bytes = b"Upgrade, HTTP2-Settings") -> bytes:
    """A request that offers HTTP/2 as well."""
    lines = b"\r\nConnection: %b\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" % connection
    return text.replace(b"\r\n", lines, 1)


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize(
    ("text", "status"),
    [
        (offering(post()), 200),
        (offering(post(path="/matmul?strategy=torch")), 200),
        (offering(post(CHUNKED, content_length="", transfer_encoding="chunked")), 200),
        (offering(post(path="/matmul/plan")), 200),
        (offering(post(b"", "/health/live", "GET", content_length="")), 200),
        (post(b"", "/health/live", "GET", connection="Upgrade", upgrade="websocket"), 200),
        (offering(post(b"{")), 400),
    ],
    ids=["plain", "query", "chunked", "plan", "get", "websocket", "refused"],
)
async def test_an_offer_to_upgrade_is_declined(
    lab: Lab, text: bytes, status: int, size: int
) -> None:
    """The request is served, with its body; the connection goes on as it is."""
    wire, found = await lab.exchange(*cut(text + post() + text, size))
    assert [each.status_code for each in found] == [status, 200, status]
    assert essence(found[0]) == essence(found[2])
    assert not wire.closed


async def test_an_offer_of_the_last_request_is_declined(lab: Lab) -> None:
    """HTTP/1.0, and a client that closes the connection, stay what they are."""
    for text in (offering(post(version="1.0")), offering(post(), b"Upgrade, close")):
        wire, (answer,) = await lab.exchange(text)
        assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]
        assert answer.headers["connection"] == "close"
        assert wire.closed


@pytest.mark.parametrize("target", ["/matmul", "/", "lab:80", "http://lab/matmul"])
@pytest.mark.parametrize("behind", [b"", b"tunnelled", BODY])
async def test_no_tunnel_is_opened(lab: Lab, target: str, behind: bytes) -> None:
    """CONNECT is answered once, by a refusal, and the connection closes."""
    for length in ("", str(len(behind))):
        text = post(b"", target, "CONNECT", content_length=length)
        wire, (answer,) = await lab.exchange(text + behind)
        assert answer.status_code in (400, 404, 405)
        assert wire.closed


async def test_many_offers_are_declined(lab: Lab) -> None:
    """As many as come in one piece."""
    _, found = await lab.exchange(offering(post(b"")) * 2000)
    assert [each.status_code for each in found] == [400] * 2000


def operand(count: int) -> bytes:
    """A vector of ones."""
    return json.dumps({"x": [1.0] * count}).encode()


def npy_head(values: list[float]) -> bytes:
    """The body of an npy file."""
    return npy_of(np.array(values, np.float32))


RAGGED = b'{"x": [%b]}' % b",".join([b"[1, 2]", *[b"[1]"] * 40])
UNKNOWN = json.dumps({f"field {number}": 1 for number in range(60)}).encode()
SUM = b'{"operands": [[[1, 2]], [[3], [4]]], "op": "add"}'
TRACE = b'{"equation": "ii", "operands": [[[1, 2], [3, 4]]]}'
FILL = b'{"operands": [0.5], "to": [%d]}'
FORM = "application/x-www-form-urlencoded"
# Requests that are answered from the parser's callback, or by a task of their own, and others.
INFER = "/v2/models/matmul/infer"
HEADER = "inference_header_content_length"
INFERENCE = json.dumps(as_json({"a": np.eye(2), "b": np.ones((2, 2))}, "float32")).encode()
BINARY, BINARY_HEADERS = as_bytes(
    {"a": np.eye(2), "b": np.ones((2, 2))}, "float32", parameters={"binary_data_output": True}
)
BEFORE_DATA = {name.replace("-", "_").lower(): value for name, value in BINARY_HEADERS.items()}
PLAIN = {
    "infer": post(INFERENCE, INFER),
    "infer by a version": post(INFERENCE, "/v2/models/matmul/versions/dot/infer"),
    "infer from bytes": post(BINARY, INFER, **BEFORE_DATA),
    "infer from gzip": post(gzip.compress(INFERENCE), INFER, content_encoding="gzip"),
    "infer refused": post(b"{", INFER),
    "infer from a query": post(INFERENCE, f"{INFER}?strategy=dot"),
    "product": post(),
    "norm": post(NORM, "/norm"),
    "einsum": post(TRACE, "/einsum"),
    "broadcast": post(SUM, "/broadcast"),
    "query": post(path="/matmul?strategy=dot&output=flat"),
    "escapes in the query": post(path="/matmul?strategy=d%6Ft&%6futput=flat"),
    "empty query": post(path="/matmul?"),
    "second question mark": post(path="/matmul?strategy=dot?"),
    "query twice": post(path="/matmul?strategy=torch&strategy=torch"),
    "unknown in query": post(path="/matmul?strategie=torch"),
    "body and query": post(b'{"x": [1], "ord": 1}', "/norm?ord=1"),
    "JSON in query": post(NORM, "/norm?dim=[0]"),
    "keep-alive": post(connection="keep-alive"),
    "names in capitals": post(Content_Type=JSON, ACCEPT=RAW),
    "two of a header": post(Accept=RAW, accept=JSON),
    "empty": post(b""),
    "no fields": post(b"{}"),
    "not JSON": post(b"{"),
    "not an object": post(b"[1, 2]"),
    "not UTF-8": post(b'{"a": "\xff"}'),
    "bare NaN": post(b'{"x": [NaN]}', "/norm"),
    "key twice": post(b'{"x": [1], "x": [2]}', "/norm"),
    "ragged": post(RAGGED, "/norm"),
    "many places": post(UNKNOWN, "/norm"),
    "a long problem, compressed": post(UNKNOWN, "/norm", accept_encoding="gzip"),
    "mismatch": post(b'{"a": [[1, 2]], "b": [[1, 2]]}'),
    "unknown field": post(b'{"x": [1], "order": 2}', "/norm"),
    "unknown strategy": post(b'{"x": [1], "strategy": "fast"}', "/norm"),
    "no such device": post(b'{"x": [1], "device": "cuda:7"}', "/norm"),
    "deadline": post(b'{"x": [1], "deadline_ms": 1000}', "/norm"),
    "deadline of nothing": post(b'{"x": [1], "deadline_ms": 0}', "/norm"),
    "too many elements": post(FILL % 10**12, "/broadcast"),
    "overflow": post(b'{"operands": [100, 100], "op": "mul", "dtype": "int8"}', "/broadcast"),
    "summary": post(b'{"x": [[1, 2]], "output": "summary"}', "/norm"),
    "as bytes": post(accept=RAW),
    "as safetensors": post(accept=SAFETENSORS),
    "as npy": post(accept=NPY),
    "the better of two": post(accept=f"{JSON};q=0.5, {NPY}"),
    "a dtype that npy lacks": post(
        b'{"operands": [1], "to": [2], "dtype": "bfloat16"}', "/broadcast", accept=NPY
    ),
    "output beside bytes": post(b'{"x": [1], "output": "flat"}', "/norm", accept=RAW),
    "npy": post(npy_head([3, 4]), "/norm", content_type=NPY),
    "no npy": post(b"NUMPY", "/norm", content_type=NPY),
    "compressed": post(gzip.compress(NORM), "/norm", content_encoding="gzip"),
    "badly compressed": post(NORM, "/norm", content_encoding="gzip"),
    "compressed answer": post(FILL % 1000, "/broadcast", accept_encoding="gzip"),
    "short compressed answer": post(NORM, "/norm", accept_encoding="gzip"),
    "padded": post(BODY + PADDING),
    "padded, infer": post(INFERENCE + PADDING, INFER),
    "padded, compressed": post(gzip.compress(BODY + PADDING, 0), content_encoding="gzip"),
    "padded, cut off": post(BODY[:-1] + PADDING),
    "padded, ragged": post(b'{"a": [[1, 2], [3]], "b": [[1]]}' + PADDING),
    "padded, not UTF-8": post(b'{"a": [[1]], "b": "\xff"}' + PADDING),
    "padded, a byte order mark": post(b"\xef\xbb\xbf" + BODY + PADDING),
    "padded, a key twice": post(b'{"a": [[1]], "\\u0061": [[1]], "b": [[1]]}' + PADDING),
    "padded, deep": post(b'{"a": ' + b"[" * 99 + b"]" * 99 + b', "b": 1}' + PADDING),
    "padded, nothing": post(PADDING),
    "on a slot": post(operand(30_000), "/norm"),
    "large answer": post(FILL % 30_000, "/broadcast"),
    "large bytes": post(FILL % 30_000, "/broadcast", accept=RAW),
}
OTHER = {
    "infer form": post(INFERENCE, INFER, content_type="application/x-www-form-urlencoded"),
    "infer without a length": post(BINARY, INFER, **(BEFORE_DATA | {HEADER: "x"})),
    "infer by no version": post(INFERENCE, "/v2/models/matmul/versions/1/infer"),
    "infer, get": post(b"", INFER, method="GET", content_length=""),
    "HTTP/1.0": post(version="1.0"),
    "HTTP/1.0 that stays": post(version="1.0", connection="keep-alive"),
    "close": post(connection="close"),
    "refused close": post(b"{", connection="close"),
    "expect": post(expect="100-continue"),
    "chunked": post(CHUNKED, content_length="", transfer_encoding="chunked"),
    "no length": post(b"", content_length=""),
    "too large": post(content_length=str(2**40)),
    "get": post(b"", method="GET", content_length=""),
    "head": post(b"", method="HEAD", content_length=""),
    "options": post(b"", method="OPTIONS", content_length=""),
    "put": post(method="PUT"),
    "fragment": post(path="/matmul?strategy=torch#here"),
    "fragment alone": post(path="/matmul#here"),
    "whole address": post(path="http://lab/matmul?strategy=torch"),
    "escaped path": post(path="/mat%6Dul"),
    "slash at the end": post(path="/matmul/"),
    "unknown path": post(path="/matmull"),
    "plan": post(path="/matmul/plan"),
    "health": post(b"", "/health/ready", "GET", content_length=""),
    "head of health": post(b"", "/health/ready", "HEAD", content_length=""),
    "form": post(content_type=FORM),
    "text": post(content_type="text/plain; charset=utf-8"),
    "unknown coding": post(content_encoding="br"),
    "not acceptable": post(accept="image/png"),
}
VARYING = ("date", "server-timing", "x-request-id", "content-length", "x-envelope")


def essence(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], Any]:
    """An answer without what differs from one to the next."""
    headers = sorted(each for each in answer.headers.multi_items() if each[0] not in VARYING)
    kind = answer.headers.get("content-type", "")
    if kind == SAFETENSORS:
        start = 8 + int.from_bytes(answer.content[:8], "little")
        return answer.status_code, headers, answer.content[start:]
    if "json" not in kind or not answer.content:
        return answer.status_code, headers, answer.content
    body = answer.json()
    for name in ("request_id", "instance", "timing", "strategies"):
        body.pop(name, None)
    return answer.status_code, headers, body


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
async def test_both_ways_answer_alike(whole: Lab, name: str) -> None:
    """Whatever is sent, status, headers and body are those of the app under uvicorn alone."""
    text = (PLAIN | OTHER)[name]
    other, expected = await whole.exchange(text, kind=HttpToolsProtocol)
    wire, found = await whole.exchange(text)
    assert [*map(essence, found)] == [*map(essence, expected)]
    assert found
    assert wire.closed == other.closed


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
async def test_the_shorter_way_is_for_plain_posts(whole: Lab, name: str) -> None:
    """The table above is about both ways."""
    protocol, wire = whole.connect()
    protocol.data_received((PLAIN | OTHER)[name])
    assert (protocol.post is not None) == (name in PLAIN)
    await whole.settle()
    assert wire.written


async def test_the_app_answers_alike(whole: Lab) -> None:
    """The same as over any other server: here none at all."""
    hops = ("connection", "transfer-encoding", "content-length", "expect")
    transport = httpx.ASGITransport(app=whole.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
        for name in ("query", "not JSON", "as bytes", "many places", "chunked", "form", "close"):
            text = (PLAIN | OTHER)[name]
            _, (answer,) = await whole.exchange(text)
            head, _, body = text.partition(b"\r\n\r\n")
            request, *lines = head.decode().split("\r\n")
            method, path, _ = request.split()
            headers = httpx.Headers(dict(line.split(": ", 1) for line in lines))
            for hop in hops:
                headers.pop(hop, None)
            sent = BODY if name == "chunked" else body
            expected = await client.request(method, path, headers=headers, content=sent)
            answer.headers.pop("connection", None)
            assert essence(answer) == essence(expected), name


SHORT = {
    name: text
    for name, text in (PLAIN | OTHER).items()
    if len(text) < 2000
    and name not in ("head", "head of health", "too large")
    and b"HTTP/1.0" not in text
    and b"close" not in text
}


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(SHORT)), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 600), min_size=1, max_size=5),
)
async def test_any_requests_in_any_pieces(whole: Lab, names: list[str], sizes: list[int]) -> None:
    """One after the other on a connection, each is answered as alone, and in its turn."""
    expected: list[object] = []
    for name in names:
        _, alone = await whole.exchange(SHORT[name], kind=HttpToolsProtocol)
        expected += map(essence, alone)
    _, found = await whole.exchange(*cut(b"".join(SHORT[name] for name in names), *sizes))
    assert [*map(essence, found)] == expected


@settings(max_examples=25, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(SHORT)), min_size=2, max_size=8))
async def test_any_whole_requests(whole: Lab, names: list[str]) -> None:
    """Each in one piece, one of them again and again: parsed or not, each is answered as alone."""
    expected: list[object] = []
    names = [each for name in names for each in (name, names[0])]
    for name in names:
        _, alone = await whole.exchange(SHORT[name], kind=HttpToolsProtocol)
        expected += map(essence, alone)
    _, found = await whole.exchange(*(SHORT[name] for name in names))
    assert [*map(essence, found)] == expected


async def test_warming_and_draining_take_no_calls() -> None:
    """Each says which it is."""
    async with laboratory() as lab:
        for phase, code in (("warming", "warming-up"), ("draining", "draining")):
            lab.app.state.service.phase = phase
            _, (answer,) = await lab.exchange(post())
            assert (answer.status_code, answer.json()["code"]) == (503, code)
            assert int(answer.headers["retry-after"]) >= 1


def test_a_post_is_not_asked_for_more_than_a_cycle_has() -> None:
    """uvicorn's own cycle has every attribute that its protocol uses of a Post."""
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    used = {"disconnected", "keep_alive", "message_event", "response_complete"}
    assert used <= set(FastRequest.__slots__)
    assert used <= set(RequestResponseCycle.__init__.__code__.co_names)


async def answer_of(reader: asyncio.StreamReader) -> httpx.Response:
    """The next answer on a connection."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = int(answers(head)[0].headers["content-length"])
    (answer,) = answers(head + await reader.readexactly(length))
    return answer


@asynccontextmanager
async def live(gate: Gate) -> AsyncIterator[tuple[Server, FastAPI]]:
    """A server on a port of its own, which is ready; it ends in order."""
    app = create_app(Settings(), registry=gated(gate), rates=CostModel())
    config = Config(
        app,
        "127.0.0.1",
        0,
        http=Protocol,
        log_config=None,
        lifespan="on",
        ws="none",
        timeout_keep_alive=60,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        await app.state.service.warmed_up()
        yield server, app
    finally:
        gate.open.set()
        server.should_exit = True
        await asyncio.wait_for(serving, 20)


async def life(gate: Gate) -> None:
    """Calls that wait, clients that leave, large bodies, and the end of a server."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: failures.append(found))
    async with live(gate) as (server, app):
        address = server.servers[0].sockets[0].getsockname()
        lane, connections = app.state.service.lane, server.server_state.connections
        reader, writer = await asyncio.open_connection(*address)

        writer.write(post(WAITING) + post() * 4)
        await gate.wait()
        gate.open.set()
        found = [await answer_of(reader) for _ in range(5)]
        assert [product(each)[0][0] for each in found] == [3.0, 19.0, 19.0, 19.0, 19.0]

        size = 400
        square = [[1.0] * size] * size
        writer.write(post(json.dumps({"a": square, "b": square}).encode()))
        assert product(await answer_of(reader)) == [[float(size)] * size] * size

        # Behind a call that waits nothing is read: the server learns that the client left later.
        for behind in (b"", post()):
            gate.shut()
            _, leaving = await asyncio.open_connection(*address)
            leaving.write(post(WAITING) + behind)
            await gate.wait()
            leaving.transport.abort()
            if not behind:
                await until(lambda: len(connections) == 1)
            gate.open.set()
            await until(lambda: len(connections) == 1 and not lane.active_calls)

        gate.shut()
        writer.write(post(WAITING))
        await gate.wait()
        server.should_exit = True
        await until(lambda: not server.servers[0].is_serving())
        gate.open.set()
        last = await answer_of(reader)
        assert product(last) == [[3.0] * 3] * 3
        assert last.headers["connection"] == "close"
        assert await reader.read() == b""
        writer.close()
    assert not failures


def test_a_server_lives_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """On the event loop of the service, over real connections; nothing is logged as an error."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(life(Gate()), 60))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
