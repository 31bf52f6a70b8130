"""uvicorn's protocol with the fast path: requests in pieces, pipelined, large, and malformed."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.rigs.apps import running
from tests.rigs.connections import (
    BODY,
    CHUNKED,
    PADDING,
    cut,
    essence,
    get,
    post,
    product,
    responses,
)
from tests.rigs.laboratory import DATE, WAITING, Gate, Lab, gated_app, laboratory


async def test_a_request_in_one_piece(lab: Lab) -> None:
    """The response is one write, with the common headers and those of the server."""
    transport, (answer,) = await lab.exchange(post(x_request_id="mine-1"))
    assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]
    assert transport.writes == 1
    assert answer.headers["date"] == DATE.decode()
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "connection" not in answer.headers
    assert not transport.closed
    assert lab.server.total_requests == 1


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_a_request_in_pieces(lab: Lab, size: int) -> None:
    """A request may be cut anywhere."""
    _, (answer,) = await lab.exchange(*cut(post(), size))
    assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]


@pytest.mark.parametrize("given", ["a b", "a" * 65, "ä", ""])
@pytest.mark.parametrize("body", [BODY, b"{"], ids=["result", "problem"])
async def test_an_invalid_id_is_replaced(lab: Lab, body: bytes, given: str) -> None:
    """The new id is unique."""
    text = post(body, x_request_id=given or " ")
    _, (one, other) = await lab.exchange(text + text)
    ids = [each.headers["x-request-id"] for each in (one, other)]
    assert given not in ids
    assert len({*ids}) == 2


async def test_pipelined_requests_are_answered_in_order(lab: Lab) -> None:
    """Several requests come in one piece, one of another route among them."""
    bodies = [b'{"a": [[%d]], "b": [[1]]}' % n for n in range(5)]
    texts = [*map(post, bodies[:2]), get("/health/live"), *map(post, bodies[2:])]
    _, found = await lab.exchange(b"".join(texts))
    assert [a.status_code for a in found] == [200] * 6
    assert [product(a)[0][0] for a in (*found[:2], *found[3:])] == [0.0, 1.0, 2.0, 3.0, 4.0]


async def test_requests_after_one_that_waits(lab: Lab) -> None:
    """They are answered after it, none is lost, and other connections do not wait."""
    protocol, transport = lab.connect()
    protocol.data_received(post(WAITING) + post() + post())
    await lab.gate.wait()
    protocol.data_received(post())
    assert not transport.written
    other, at_once = lab.connect()
    other.data_received(post())
    await asyncio.sleep(0)
    assert at_once.written.startswith(b"HTTP/1.1 200")
    lab.gate.open.set()
    await lab.settle()
    found = responses(transport.written)
    assert product(found[0]) == [[3.0] * 3] * 3
    assert [product(each)[0][0] for each in found[1:]] == [19.0] * 3
    protocol.data_received(post())
    assert len(responses(transport.written)) == 5


async def test_requests_whose_answers_are_not_read_wait(lab: Lab) -> None:
    """No call is computed while its client does not read."""
    protocol, transport = lab.connect()
    protocol.data_received(post())
    protocol.pause_writing()
    protocol.data_received(post())
    await asyncio.sleep(0.01)
    protocol.data_received(post() * 3)
    assert len(responses(transport.written)) == 1
    assert transport.paused
    protocol.resume_writing()
    await lab.settle()
    assert len(responses(transport.written)) == 5
    assert not transport.paused


async def test_a_body_without_memory_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """It is refused, and has no share of the bytes in flight."""
    huge = 2**61
    app = gated_app(Gate(), max_body_bytes=2**62, max_inflight_bytes=2**62)
    async with running(app):
        _, (refused,) = await Lab(app).exchange(post(content_length=str(huge)))
        assert (refused.status_code, refused.json()["code"]) == (503, "out-of-memory")
        assert app.state.service.inflight.held == 0
    assert not [each for each in caplog.records if each.exc_info]


async def test_a_fault_while_a_request_is_received(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """The fault is logged; the response has no more than an id."""

    class Faulty:
        def negotiate(self, headers: Mapping[bytes, bytes]) -> None:
            raise ZeroDivisionError("a secret")

    lab.state["application"] = replace(lab.app.state.application, endpoints={b"/matmul": Faulty()})
    transport, (answer,) = await lab.exchange(post())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert transport.has_ended
    (record,) = (each for each in caplog.records if each.exc_info)
    assert answer.headers["x-request-id"] in record.message
    assert "a secret" in caplog.text
    assert b"a secret" not in transport.written


@pytest.mark.parametrize("size", [10_000, 700_000, 2**21])
async def test_a_large_body_passes_the_parser(lab: Lab, size: int) -> None:
    """It may be cut anywhere, and the requests around it are answered."""
    large, tiny = post(BODY + PADDING), post()
    _, found = await lab.exchange(*cut(tiny + large + tiny + large, size))
    assert [product(answer) for answer in found] == [[[19.0, 22.0], [43.0, 50.0]]] * 4


async def test_a_large_body_that_does_not_come_is_late(lab: Lab) -> None:
    """The response is a 408, although another protocol receives the body."""
    protocol, transport = lab.connect()
    transport.feed(post(BODY + PADDING)[:300_000])
    protocol.check(asyncio.get_running_loop().time() + 1e6)
    (answer,) = responses(transport.written)
    assert answer.status_code == 408
    assert transport.has_ended


async def test_shutdown_waits_for_a_call(lab: Lab) -> None:
    """The call is answered with `Connection: close`, and the connection is closed."""
    protocol, transport = lab.connect()
    protocol.data_received(post(WAITING))
    await lab.gate.wait()
    protocol.shutdown()
    assert not transport.closed
    lab.gate.open.set()
    await lab.settle()
    (answer,) = responses(transport.written)
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert transport.closed


async def test_shutdown_waits_for_a_body(lab: Lab) -> None:
    """A request that has begun is answered by the last response of the connection."""
    protocol, transport = lab.connect()
    protocol.data_received(post()[:-1])
    protocol.shutdown()
    assert not transport.closed
    protocol.data_received(post()[-1:])
    (answer,) = responses(transport.written)
    assert answer.headers["connection"] == "close"
    assert transport.closed


@pytest.mark.parametrize("before", [b"", post()], ids=["fresh", "served"])
async def test_shutdown_closes_idle_connections(lab: Lab, before: bytes) -> None:
    """They are closed at once."""
    protocol, transport = lab.connect()
    protocol.data_received(before)
    protocol.shutdown()
    assert transport.closed


async def test_a_large_response_is_sent_in_pieces(lab: Lab) -> None:
    """Its chunks are not joined."""
    ones = [[1.0] * 150] * 150
    body = json.dumps({"a": ones, "b": ones}).encode()
    transport, (answer,) = await lab.exchange(post(body))
    assert transport.writes > 1
    assert product(answer) == [[150.0] * 150] * 150


@pytest.mark.parametrize(
    "text",
    [
        b"NOTHTTP\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        post(version="1.10"),
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
    """The connection is closed after a 400; requests before it are answered."""
    for before in (b"", post()):
        transport, found = await lab.exchange(before + text)
        assert transport.has_ended
        assert len(found) == bool(before) + 1
        assert (found[-1].status_code, found[-1].json()["code"]) == (400, "malformed-request")
        assert found[-1].headers["connection"] == "close"
        assert found[-1].headers["x-request-id"]


@pytest.mark.parametrize("version", ["0.9", "2.0", "2.5", "3.0"])
@pytest.mark.parametrize("path", ["/matmul", "/health/live"])
async def test_another_major_version_is_refused(lab: Lab, version: str, path: str) -> None:
    """Nothing is computed, and the connection is closed; requests before it are answered."""
    for before in (b"", post()):
        transport, found = await lab.exchange(before + post(path=path, version=version))
        assert transport.has_ended
        assert len(found) == bool(before) + 1
        assert found[-1].status_code == 505
        assert found[-1].json()["code"] == "http-version-not-supported"
        assert f"HTTP/{version} " in found[-1].json()["detail"]


async def test_a_later_minor_version_is_served(lab: Lab) -> None:
    """As HTTP/1.1, with the connection kept, after an offer to upgrade as well."""
    offer = offering(post(version="1.2"))
    transport, found = await lab.exchange(post(version="1.2"), offer, post(version="1.9"))
    assert [product(each) for each in found] == [[[19.0, 22.0], [43.0, 50.0]]] * 3
    assert not transport.has_ended


async def test_nothing_is_written_after_the_last_response(lab: Lab) -> None:
    """Invalid bytes after a call that waits end the connection without its response."""
    protocol, transport = lab.connect()
    protocol.data_received(post(WAITING))
    await lab.gate.wait()
    protocol.data_received(b"\0")
    assert transport.has_ended
    lab.gate.open.set()
    await lab.settle()
    (answer,) = responses(transport.written)
    assert answer.status_code == 400


def offering(text: bytes, connection: bytes = b"Upgrade, HTTP2-Settings") -> bytes:
    """Return a request that offers HTTP/2 as well."""
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
        (offering(get("/health/live")), 200),
        (post(b"", "/health/live", "GET", connection="Upgrade", upgrade="websocket"), 200),
        (offering(post(b"{")), 400),
    ],
    ids=["plain", "query", "chunked", "plan", "get", "websocket", "refused"],
)
async def test_an_offer_to_upgrade_is_declined(
    lab: Lab, text: bytes, status: int, size: int
) -> None:
    """The request is served, with its body, and the connection stays open."""
    transport, found = await lab.exchange(*cut(text + post() + text, size))
    assert [each.status_code for each in found] == [status, 200, status]
    assert essence(found[0]) == essence(found[2])
    assert not transport.closed


async def test_an_offer_of_the_last_request_is_declined(lab: Lab) -> None:
    """The connection closes after HTTP/1.0 and after `Connection: close`."""
    for text in (offering(post(version="1.0")), offering(post(), b"Upgrade, close")):
        transport, (answer,) = await lab.exchange(text)
        assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]
        assert answer.headers["connection"] == "close"
        assert transport.closed


@pytest.mark.parametrize("target", ["/matmul", "/", "lab:80", "http://lab/matmul"])
@pytest.mark.parametrize("rest", [b"", b"tunnelled", BODY])
async def test_no_tunnel_is_opened(lab: Lab, target: str, rest: bytes) -> None:
    """CONNECT is refused once, and the connection closes."""
    for length in ("", str(len(rest))):
        text = post(b"", target, "CONNECT", content_length=length)
        transport, (answer,) = await lab.exchange(text + rest)
        assert answer.status_code in (400, 404, 405)
        assert transport.has_ended


async def test_many_offers_are_declined(lab: Lab) -> None:
    """All offers in one piece are declined."""
    _, found = await lab.exchange(offering(post(b"")) * 2000)
    assert [each.status_code for each in found] == [400] * 2000


async def test_warming_and_draining_take_no_calls() -> None:
    """The error code names the phase."""
    async with laboratory() as lab:
        for phase, code in (("warming", "warming-up"), ("draining", "draining")):
            lab.service.state = phase
            _, (answer,) = await lab.exchange(post())
            assert (answer.status_code, answer.json()["code"]) == (503, code)
            assert int(answer.headers["retry-after"]) >= 1


async def test_while_the_server_ends_each_response_is_the_last(lab: Lab) -> None:
    """Requests of other routes than operations are answered, and the connection closes."""
    lab.state["monitor"].is_ending = True
    transport, (answer,) = await lab.exchange(get("/health/live"))
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert transport.closed


async def test_the_last_response_may_come_before_the_end_of_its_body(lab: Lab) -> None:
    """While the server ends, even a short body is not waited for before the connection ends."""
    lab.state["monitor"].is_ending = True
    lab.service.state = "draining"
    try:
        _, transport = lab.connect()
        transport.feed(post()[:-1])
        await lab.settle()
        (answer,) = responses(transport.written)
        assert answer.status_code == 503
        assert answer.headers["connection"] == "close"
        assert transport.is_half_closed
        assert not transport.closed
    finally:
        lab.service.state = "ready"
        lab.state["monitor"].is_ending = False


@pytest.mark.parametrize("length", [900, 1001, 70_000])
async def test_a_limit_below_what_is_counted(length: int) -> None:
    """A small `SERVICE_MAX_BODY_BYTES` holds for the first request and for the same head again."""
    async with laboratory(max_body_bytes=1000) as lab:
        body = BODY + b" " * (length - len(BODY))
        transport, first = lab.connect()[1], 413 if length > 1000 else 200
        for text in (post(), post(), post(body), post(body)):
            transport.feed(text)
            await asyncio.sleep(0.01)
            await lab.settle()
        found = [each.status_code for each in responses(transport.written)]
        assert found == [200, 200, first, first]
