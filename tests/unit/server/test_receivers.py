"""After an answer before the end of its body: nothing goes on, and the answer can be read."""

import asyncio

import pytest

from service.http.auth import key_hash
from service.server import receivers
from service.server.receivers import DRAIN_BYTES, Drain
from tests.rigs.connections import BODY, CHUNKED, PADDING, get, post, responses
from tests.rigs.laboratory import MAX_BODY, WAITING, Lab, laboratory
from tests.rigs.waiting import until

HUGE = str(MAX_BODY + 1)
CHUNK = b"10000\r\n" + b" " * 2**16 + b"\r\n"


def chunked(path: str = "/matmul", **headers: str) -> bytes:
    """Return the head of a POST in chunks."""
    return post(b"", path, content_length="", transfer_encoding="chunked", **headers)


EARLY = {
    "413, stated": (post(b"", content_length=HUGE), 413),
    "413, stated plan": (post(b"", "/matmul/plan", content_length=HUGE), 413),
    "413, chunked": (chunked() + CHUNK * (MAX_BODY // 2**16 + 1), 413),
    "413, chunked race": (chunked("/matmul/compare") + CHUNK * (MAX_BODY // 2**16 + 1), 413),
    "415, stated": (post(b"", content_length="70000", content_type="text/plain"), 415),
    "404, chunked": (chunked("/matmull"), 404),
    "405, stated": (post(b"", method="PUT", content_length=HUGE), 405),
    "406, expected": (
        post(b"", content_length="9", accept="image/png", expect="100-continue"),
        406,
    ),
}


@pytest.mark.parametrize("name", EARLY)
async def test_an_early_answer_is_the_last(lab: Lab, name: str) -> None:
    """It says so; what the client still sends is dropped, and not taken for a request."""
    text, status = EARLY[name]
    transport, (answer,) = await lab.exchange(text)
    assert (answer.status_code, answer.headers["connection"]) == (status, "close")
    assert transport.is_half_closed
    assert isinstance(transport.protocol, Drain)
    transport.feed(b"0\r\n\r\n" + get("/health/live"))
    await lab.settle()
    assert len(responses(transport.written)) == 1
    assert not transport.closed
    assert lab.service.inflight.held == 0


@pytest.mark.parametrize("head", [post(b"", content_length=HUGE), chunked()])
async def test_a_client_without_a_key_is_not_listened_to(head: bytes) -> None:
    """Its body is as little received as one that is too large."""
    async with laboratory(api_keys=key_hash(b"right")) as lab:
        transport, (answer,) = await lab.exchange(head)
        assert (answer.status_code, answer.headers["connection"]) == (401, "close")
        assert isinstance(transport.protocol, Drain)


async def test_a_drain_ends_after_a_megabyte(lab: Lab) -> None:
    """Up to there the client may read the answer; the parser sees nothing of it."""
    transport, _ = await lab.exchange(post(b"", content_length=HUGE))
    transport.feed(b" " * (DRAIN_BYTES - 1))
    assert not transport.aborted
    transport.feed(b" ")
    assert transport.aborted


async def test_a_drain_ends_in_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends little, and does not close, is given a second."""
    monkeypatch.setattr(receivers, "DRAIN_S", 0.05)
    transport, _ = await lab.exchange(post(b"", content_length=HUGE))
    transport.feed(b" ")
    assert not transport.aborted
    await until(lambda: transport.aborted)


async def test_a_drain_ends_with_its_client(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """No timer is left."""
    monkeypatch.setattr(receivers, "DRAIN_S", 0.05)
    transport, _ = await lab.exchange(post(b"", content_length=HUGE))
    assert isinstance(transport.protocol, Drain)
    assert not transport.protocol.eof_received(), "the transport closes by itself"
    transport.close()
    await asyncio.sleep(0.1)
    assert not transport.aborted
    assert not lab.server.connections


async def test_an_answer_that_is_not_taken_is_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is received meanwhile, and the monitor ends it."""
    monkeypatch.setattr(receivers, "DRAIN_S", 0.05)
    transport, _ = await lab.exchange(post(b"", content_length=HUGE))
    transport.unsent = 1
    transport.feed(b" " * DRAIN_BYTES)
    assert (transport.paused, transport.aborted) == (True, False)
    await asyncio.sleep(0.1)
    assert not transport.aborted
    transport.unsent = 0
    await until(lambda: transport.aborted)


async def test_a_refused_request_gives_back_its_memory(lab: Lab) -> None:
    """At once, and not only when the connection is closed."""
    protocol, transport = lab.connect()
    transport.feed(post(BODY + PADDING)[:300_000])
    assert lab.service.inflight.held
    protocol.check(asyncio.get_running_loop().time() + 1e6)
    await asyncio.sleep(0)
    assert lab.service.inflight.held == 0
    assert protocol.cycle is None
    assert not transport.closed


SMALL = {
    "406": (post(accept="image/png"), 406),
    "404": (post(path="/matmull"), 404),
    "a full 64 KiB": (post(b" " * 65_536, accept="image/png"), 406),
}


@pytest.mark.parametrize("name", SMALL)
async def test_the_rest_of_a_short_body_is_received(lab: Lab, name: str) -> None:
    """Many clients send it after the head. The connection is kept, and later requests served."""
    text, status = SMALL[name]
    head = text.index(b"\r\n\r\n") + 4
    protocol, transport = lab.connect()
    transport.feed(text[:head])
    await lab.settle()
    transport.feed(text[head:] + post())
    await lab.settle()
    found = responses(transport.written)
    assert [each.status_code for each in found] == [status, 200]
    assert not any("connection" in each.headers for each in found)
    assert not protocol.has_ended()


async def test_the_rest_of_a_short_body_is_not_answered_again() -> None:
    """A connection on which it does not come is closed without a word."""
    async with laboratory(request_s=100.0) as lab:
        protocol, transport = lab.connect()
        transport.feed(post(path="/matmull")[:-1])
        await lab.settle()
        protocol.check(asyncio.get_running_loop().time() + 101)
        (answer,) = responses(transport.written)
        assert answer.status_code == 404
        assert transport.is_half_closed


async def test_a_whole_long_body_keeps_its_connection(lab: Lab) -> None:
    """In chunks, or with its length, if it was received before the answer begins."""
    text = chunked(accept="image/png") + CHUNKED
    texts = (text, post(b" " * 70_000, accept="image/png"), post())
    _, found = await lab.exchange(b"".join(texts))
    assert [each.status_code for each in found] == [406, 406, 200]
    assert not any("connection" in each.headers for each in found)


async def test_a_shutdown_is_not_forgotten_at_the_end_of_a_body(lab: Lab) -> None:
    """The answer to a request that had begun before is the last."""
    protocol, transport = lab.connect()
    text = chunked() + CHUNKED
    transport.feed(text[:-5])
    await asyncio.sleep(0)
    protocol.shutdown()
    transport.feed(text[-5:])
    await lab.settle()
    (answer,) = responses(transport.written)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert transport.closed


CALL = b"%x\r\n%b\r\n0\r\n\r\n" % (len(WAITING), WAITING)
UNDER_WAY = {
    "a call": chunked() + CALL,
    "a call before another": chunked() + CALL + get("/health/live"),
    "the last call": chunked() + CALL + get("/health/live"),
    "100 Continue": chunked(expect="100-continue"),
}


@pytest.mark.parametrize("name", UNDER_WAY)
async def test_nothing_follows_a_refusal(
    lab: Lab, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the answer to a call that is under way, nor `100 Continue`, nor a fault."""
    lab.state["monitor"].is_ending = name == "the last call"
    protocol, transport = lab.connect()
    transport.feed(UNDER_WAY[name])
    if name != "100 Continue":
        await lab.gate.wait()
    transport.feed(b"\0")
    lab.gate.open.set()
    await lab.settle()
    (answer,) = responses(transport.written)
    assert answer.status_code == 400
    assert transport.is_half_closed
    assert not transport.closed
    assert protocol.cycle is None
    assert not [each for each in caplog.records if each.exc_info]


async def test_nothing_follows_the_last_answer(lab: Lab) -> None:
    """What comes after it in the same piece is not even refused."""
    protocol, transport = lab.connect()
    transport.feed(post()[:-1])
    protocol.shutdown()
    transport.feed(post()[-1:] + b"\0")
    (answer,) = responses(transport.written)
    assert answer.status_code == 200
    assert transport.closed
