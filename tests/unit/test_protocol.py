"""uvicorn's protocol with the shorter way: what it answers equals what the ASGI app answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import httpx
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from service.api.app import App, create_app
from service.api.protocol import Post, Protocol
from service.call import Tensor
from service.dtypes import NUMBERS
from service.operations import matmul
from service.rates import Rates
from service.registry import Op, Registry
from service.settings import Settings
from service.strategies.matmul import by_batch, native

BODY = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
DATE = b"Tue, 24 Nov 2026 08:00:00 GMT"
MAX_BODY = 400_000


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self.closed = False
        self.paused = False

    def write(self, data: Any) -> None:
        """Keep it."""
        self.written += data
        self.writes += 1

    def close(self) -> None:
        """Remember it."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

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


@dataclass
class Lab:
    """An app, and connections to it."""

    app: App
    config: Config
    state: dict[str, Any]
    server: ServerState
    gate: Gate

    def connect(self) -> tuple[Protocol, Wire]:
        """A new connection."""
        protocol, wire = Protocol(self.config, self.server, self.state), Wire()
        protocol.connection_made(wire)
        return protocol, wire

    async def settle(self) -> None:
        """Wait until nothing runs."""
        for _ in range(400):
            if not self.server.tasks:
                return
            await asyncio.sleep(0.01)
        pytest.fail("a call is still running")

    async def exchange(self, *pieces: bytes) -> tuple[Wire, list[httpx.Response]]:
        """What a new connection answers to these pieces."""
        protocol, wire = self.connect()
        for piece in pieces:
            protocol.data_received(piece)
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
        understand=plain.understand,
        prove=plain.prove,
        auto=("torch",),
        samples=(),
        refusals=(),
        probes=plain.probes[:1],
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
async def laboratory(**settings: Any) -> AsyncIterator[Lab]:
    """A warm app, with the state that its lifespan gives to connections."""
    gate = Gate()
    app = create_app(
        Settings(max_body_bytes=MAX_BODY, **settings), registry=gated(gate), rates=Rates()
    )
    config = Config(app, log_level="critical", lifespan="off")
    config.load()
    server = ServerState()
    server.default_headers = [(b"date", DATE)]
    async with app.router.lifespan_context(app) as state:
        await app.state.service.warmed_up()
        yield Lab(app, config, dict(state or {}), server, gate)
        gate.open.set()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A laboratory."""
    async with laboratory() as found:
        yield found


SQUARE = json.dumps({"a": [[1.0] * 3] * 3, "b": [[1.0] * 3] * 3})


def square(strategy: str, **fields: Any) -> bytes:
    """The body of a product of 3 x 3."""
    return json.dumps(json.loads(SQUARE) | {"strategy": strategy} | fields).encode()


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


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_a_request_in_pieces(lab: Lab, size: int) -> None:
    """It does not matter where the network cuts a request."""
    text = post()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    _, (answer,) = await lab.exchange(*pieces)
    assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]


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
    protocol.data_received(post(square("wait", dtype="float64")) + post() + post())
    await asyncio.to_thread(lab.gate.entered.wait, 10)
    assert not wire.written
    other, at_once = lab.connect()
    other.data_received(post())
    assert at_once.written.startswith(b"HTTP/1.1 200")
    lab.gate.open.set()
    for _ in range(400):
        await asyncio.sleep(0.01)
        if wire.written.count(b"HTTP/1.1 200") == 3:
            break
    found = answers(bytes(wire.written))
    assert product(found[0]) == [[3.0] * 3] * 3
    assert [product(each)[0][0] for each in found[1:]] == [19.0, 19.0]


async def test_the_client_leaves_while_its_call_runs(lab: Lab) -> None:
    """Nothing is written, and the connection is forgotten."""
    protocol, wire = lab.connect()
    protocol.data_received(post(square("wait", dtype="float64")))
    await asyncio.to_thread(lab.gate.entered.wait, 10)
    protocol.connection_lost(None)
    lab.gate.open.set()
    await lab.settle()
    assert not wire.written
    assert protocol not in lab.server.connections


async def test_shutdown_waits_for_a_call(lab: Lab) -> None:
    """The call is answered, the client told that the connection closes, and it is closed."""
    protocol, wire = lab.connect()
    protocol.data_received(post(square("wait", dtype="float64")))
    await asyncio.to_thread(lab.gate.entered.wait, 10)
    protocol.shutdown()
    assert not wire.closed
    lab.gate.open.set()
    await lab.settle()
    (answer,) = answers(bytes(wire.written))
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert wire.closed


@pytest.mark.parametrize("dtype", ["float32", "float64"], ids=["inline", "on a slot"])
async def test_a_fault_is_told_by_its_request_id(
    lab: Lab, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets the id, the log the reason."""
    _, (answer,) = await lab.exchange(post(square("fail", dtype=dtype), x_request_id="f-1"))
    assert answer.status_code == 500
    assert answer.json()["detail"] == "request f-1 failed"
    assert "ZeroDivisionError" in caplog.text


async def test_a_large_answer_goes_out_in_pieces(lab: Lab) -> None:
    """Its text is not copied into one."""
    ones = [[1.0] * 150] * 150
    body = json.dumps({"a": ones, "b": ones}).encode()
    wire, (answer,) = await lab.exchange(post(body))
    assert wire.writes > 1
    assert product(answer) == [[150.0] * 150] * 150


async def test_what_is_no_http_is_a_problem(lab: Lab) -> None:
    """The connection is closed after it."""
    wire, (answer,) = await lab.exchange(b"NOTHTTP\r\n\r\n")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert wire.closed


CASES = {
    "plain": post(),
    "query": post(path="/matmul?strategy=torch"),
    "query twice": post(path="/matmul?strategy=torch&strategy=torch"),
    "body and query": post(square("torch"), "/matmul?strategy=torch"),
    "http 1.0": post(version="1.0"),
    "close": post(connection="close"),
    "expect": post(expect="100-continue"),
    "chunked": post(
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), content_length="", transfer_encoding="chunked"
    ),
    "no length": post(b"", content_length=""),
    "empty": post(b""),
    "get": post(b"", method="GET", content_length=""),
    "options": post(b"", method="OPTIONS", content_length=""),
    "put": post(method="PUT"),
    "unknown path": post(path="/matmull"),
    "escaped path": post(path="/mat%6Dul"),
    "health": post(b"", "/health/ready", "GET", content_length=""),
    "form": post(content_type="application/x-www-form-urlencoded"),
    "not acceptable": post(accept="image/png"),
    "raw bytes": post(accept="application/octet-stream"),
    "too large": post(b" " * (MAX_BODY + 1)),
    "not JSON": post(b"{"),
    "ragged": post(b'{"a": [[1, 2], [3]], "b": [1]}'),
    "mismatch": post(b'{"a": [[1, 2]], "b": [[1, 2]]}'),
    "float64": post(square("torch", dtype="float64")),
    "unknown strategy": post(square("fast")),
    "deadline": post(square("torch", deadline_ms=1000)),
    "padded": post(BODY + b" " * 70_000),
    "plan": post(path="/matmul/plan"),
}
VARYING = ("date", "server-timing", "x-request-id", "content-length", "connection", "x-envelope")


def essence(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """An answer without what differs from one to the next."""
    headers = {k: v for k, v in answer.headers.items() if k not in VARYING}
    if "json" not in answer.headers.get("content-type", ""):
        return answer.status_code, headers, answer.content
    body = answer.json()
    for name in ("request_id", "instance", "timing", "strategies"):
        body.pop(name, None)
    return answer.status_code, headers, body


async def test_both_ways_answer_alike(lab: Lab) -> None:
    """Whatever is sent, status, headers and body are those of the app under any server."""
    transport = httpx.ASGITransport(app=lab.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
        for name, text in CASES.items():
            _, found = await lab.exchange(text)
            head, _, body = text.partition(b"\r\n\r\n")
            request, *lines = head.decode().split("\r\n")
            method, path, _ = request.split()
            headers = dict(line.split(": ", 1) for line in lines)
            if name == "chunked":
                body = BODY
            for hop in ("expect", "transfer-encoding", "connection", "content-length"):
                headers.pop(hop, None)
            expected = await client.request(method, path, headers=headers, content=body)
            answer = next(each for each in found if each.status_code != 100)
            assert essence(answer) == essence(expected), name


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
    assert used <= set(Post.__slots__)
    assert used <= set(RequestResponseCycle.__init__.__code__.co_names)
